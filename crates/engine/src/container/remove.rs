//! Removal: one transaction gives name, addresses and ports back; then the effects go, behind the reply.
//!
//! Crash safety: an effect without a row (snapshot, run directory, log directory) is swept at boot.

use super::Shared;
use super::command::RemoveOptions;
use super::record::{self, ContainerRecord};
use crate::volume;
use gantry_base::{ContainerId, Result};
use gantry_state::Durability;
use gantry_state::rusqlite::Transaction;
use indexmap::IndexMap;
use std::sync::Arc;

/// Deletes the row, calls `done`, publishes `destroy`, and cleans up. `automatic`: by `--rm`, whose result nobody was promised
/// to survive a power cut.
pub(super) fn finish(
    shared: &Arc<Shared>,
    record: &ContainerRecord,
    options: Option<RemoveOptions>,
    automatic: bool,
    attributes: IndexMap<String, String>,
    done: impl FnOnce(Result<()>) + Send + 'static,
) {
    let id = record.id.clone();
    let key = id.clone();
    let durability = if automatic {
        Durability::Normal
    } else {
        Durability::Full
    };
    let with_volumes = automatic || options.is_some_and(|options| options.volumes);
    let volumes = with_volumes.then(|| super::volumes::names(&record.config));
    let volumes: Vec<String> = volumes.into_iter().flatten().collect();
    let service = shared.clone();
    let after = move |result: Result<Vec<String>>| {
        let (result, volumes) = match result {
            Ok(volumes) => (Ok(()), volumes),
            Err(error) => (Err(error), Vec::new()),
        };
        if result.is_ok() {
            service.containers.remove(&id);
            service.execs.forget(&id);
            service
                .events
                .publish("container", "destroy", id.as_str(), attributes);
        }
        let clean = result.is_ok();
        done(result);
        if clean {
            clean_up(&service, id, volumes);
        }
    };
    let write = move |tx: &Transaction<'_>| {
        record::delete(tx, &key)?;
        let volumes = volume::record::begin_removals(tx, &volumes)?;
        gantry_base::failpoint!("remove.row");
        Ok(volumes)
    };
    shared.db.enqueue(durability, write, after);
}

/// Removes what has no row any more. Also called by boot for directories whose row is gone.
pub(super) fn clean_up(shared: &Arc<Shared>, id: ContainerId, volumes: Vec<String>) {
    let service = shared.clone();
    shared.cleaner.run(move || {
        if let Err(error) = remove_effects(&service, &id, &volumes) {
            tracing::warn!(container = %id, %error, "something of a removed container was left; the next start removes it");
        }
    });
}

fn remove_effects(shared: &Shared, id: &ContainerId, volumes: &[String]) -> Result<()> {
    gantry_base::failpoint!("remove.begin_effects");
    shared.images.remove_snapshot(id)?;
    gantry_base::failpoint!("remove.snapshot");
    crate::workload::rootfs::remove_cgroups(&shared.cgroup_path(id));
    gantry_base::failpoint!("remove.cgroup");
    remove_tree(&shared.layout.container(id))?;
    gantry_base::failpoint!("remove.logs");
    shared.volumes.finish_removals(volumes)?;
    // Last, as it is what boot finds a half-removed container by.
    remove_tree(&shared.layout.container_run(id))?;
    gantry_base::failpoint!("remove.run_dir");
    Ok(())
}

fn remove_tree(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(gantry_base::Error::from(error)
                .prefixed(format!("cannot remove {}", path.display())))
        }
        _ => Ok(()),
    }
}
