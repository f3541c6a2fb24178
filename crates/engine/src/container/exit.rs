//! What follows the end of a run: the outcome row, and everything given back that only a run needs.

use super::Shared;
use super::record::ContainerRecord;
use super::start::Outcome;
use crate::clock::now_ns;
use gantry_base::ContainerId;
use gantry_shim_protocol::Exit;
use gantry_state::{Durability, sql_error};
use std::os::fd::OwnedFd;

/// Exit code of a container whose supervisor died with it.
const SUPERVISOR_DIED: i32 = 137;

/// Reads `exit.json`; none if the shim did not write one.
pub(super) fn read(shared: &Shared, id: &ContainerId) -> Option<Exit> {
    let text = std::fs::read(shared.layout.container_run(id).join("exit.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The connection to the shim ended without an exit event: its file says how, else the shim was killed and its container is now.
pub(super) fn after_shim_death(shared: &Shared, id: &ContainerId, init: Option<&OwnedFd>) -> Exit {
    if let Some(exit) = read(shared, id) {
        return exit;
    }
    tracing::error!(container = %id, "the shim died; killing its container");
    if let Some(init) = init {
        // An error means that init is gone already.
        let _ = rustix::process::pidfd_send_signal(init, rustix::process::Signal::KILL);
    }
    crate::workload::rootfs::remove_cgroups_later(shared.cgroup_path(id));
    Exit {
        exit_code: SUPERVISOR_DIED,
        oom_killed: false,
        finished_at_ns: now_ns(),
        log_bytes_dropped: 0,
    }
}

/// Writes the outcome and gives addresses and ports back, behind the caller's back and in order.
pub(super) fn release(shared: &Shared, record: &ContainerRecord, run: Outcome) {
    let (record, id) = (record.clone(), record.id.clone());
    let networks = shared.networks.clone();
    let key = id.clone();
    shared.db.enqueue(
        Durability::Normal,
        move |tx| {
            record.update(tx)?;
            tx.prepare_cached("DELETE FROM endpoint WHERE container = ?1")
                .and_then(|mut statement| statement.execute([key.as_str()]))
                .map_err(sql_error)?;
            Ok(())
        },
        move |result| {
            if let Err(error) = result {
                tracing::error!(container = %id, %error, "cannot record the end of a container");
            }
            networks.release(id.as_str(), run.claims);
        },
    );
}
