//! Sizes: what `ps -s` and `inspect -s` ask for. Measured anew each time, apart from the reads that never block.

use super::Containers;
use gantry_base::{Error, Result};

/// Bytes of a container's file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Of its own layer.
    pub rw_bytes: u64,
    /// Of its own layer and its image.
    pub rootfs_bytes: u64,
}

impl Containers {
    /// Measures a container's file system.
    pub async fn size(&self, reference: &str) -> Result<Size> {
        let view = self.get(reference)?;
        let images = self.shared.images.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let rw_bytes = images.snapshot_usage(&view.id);
            // An image that was removed by force counts as nothing.
            let image_bytes = images
                .get(view.image.as_str())
                .map_or(0, |image| image.size_bytes);
            Size {
                rw_bytes,
                rootfs_bytes: rw_bytes + image_bytes,
            }
        });
        measured
            .await
            .map_err(|_| Error::internal("measuring the container ended unexpectedly"))
    }
}
