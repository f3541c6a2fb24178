//! Prune: remove every container that does not run.

use super::view::{ContainerView, Status};
use super::{Containers, RemoveOptions};
use gantry_base::{ContainerId, Result};

/// What was removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// The containers.
    pub ids: Vec<ContainerId>,
    /// Bytes of their file systems.
    pub space_reclaimed_bytes: u64,
}

impl Containers {
    /// Removes every container that does not run and that `wanted` accepts.
    pub async fn prune(&self, wanted: impl Fn(&ContainerView) -> bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for view in self.list() {
            let ended = matches!(
                view.state.status,
                Status::Created | Status::Exited | Status::Dead
            );
            if !ended || !wanted(&view) {
                continue;
            }
            let (images, id) = (self.shared.images.clone(), view.id.clone());
            let bytes = tokio::task::spawn_blocking(move || images.snapshot_usage(&id))
                .await
                .unwrap_or(0);
            // One that was started or removed meanwhile is no failure of the prune.
            if self
                .remove(view.id.as_str(), RemoveOptions::default())
                .await
                .is_ok()
            {
                pruned.space_reclaimed_bytes += bytes;
                pruned.ids.push(view.id.clone());
            }
        }
        Ok(pruned)
    }
}
