//! Boot: what the rows say against what exists → what to do. `decide` is pure; the rest gathers facts and acts.

use super::actor::Actor;
use super::config::RestartPolicy;
use super::phase::Phase;
use super::record::{self, ContainerRecord};
use super::start::{Outcome, Running};
use super::{Shared, exit, remove, restart, start};
use crate::clock::now_ns;
use crate::network::change::Sandboxed;
use crate::network::{Claims, published_views, reopen_resolver};
use crate::workload::shim::BlockingShim;
use gantry_base::{ContainerId, Result};
use gantry_shim_protocol::{Exit, Reply, Request, State};
use gantry_state::{Durability, sql_error};
use gantry_sys::{fdpass, memfd};
use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a shim may take to answer a booting daemon.
const SHIM_TIMEOUT: Duration = Duration::from_secs(2);
/// Docker's exit code for containers that a reboot ended.
const LOST_IN_REBOOT: i32 = 255;

/// What was found of a container's last run.
#[derive(Debug, Clone, PartialEq)]
enum Observed {
    /// Nothing: no shim answers, no exit was written.
    Nothing,
    /// `exit.json`
    Ended(Exit),
    /// A shim answers, and its payload runs.
    Alive { paused: bool },
}

/// What boot does with a row.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    /// Nothing to do.
    Keep,
    /// Take the run over.
    Adopt,
    /// A start that never came to a process, or a process without its supervisor: settle with this code.
    Settle { phase: Phase, exit_code: i32 },
    /// Take the outcome that the shim wrote.
    Record(Exit),
}

fn decide(phase: Phase, ran_before: bool, same_boot: bool, observed: &Observed) -> Action {
    match (phase, observed) {
        (Phase::Created | Phase::Exited, _) => Action::Keep,
        (_, _) if !same_boot => Action::Settle {
            phase: Phase::Exited,
            exit_code: LOST_IN_REBOOT,
        },
        (Phase::Starting | Phase::Running | Phase::Paused, Observed::Alive { .. }) => Action::Adopt,
        (Phase::Starting | Phase::Running | Phase::Paused, Observed::Ended(exit)) => {
            Action::Record(exit.clone())
        }
        (Phase::Starting, Observed::Nothing) => Action::Settle {
            phase: if ran_before {
                Phase::Exited
            } else {
                Phase::Created
            },
            exit_code: 128,
        },
        (Phase::Running | Phase::Paused, Observed::Nothing) => Action::Settle {
            phase: Phase::Exited,
            exit_code: 137,
        },
        (Phase::Restarting, _) => Action::Settle {
            phase: Phase::Exited,
            exit_code: 0,
        },
    }
}

/// Settles every row, starts the actors, and gives the containers that their policy starts now.
pub(crate) fn run(shared: &Arc<Shared>) -> Result<Vec<ContainerId>> {
    let records = shared.db.read(record::load_all)?;
    let uses = records
        .iter()
        .map(|record| {
            (
                record.id.as_str().to_owned(),
                super::volumes::names(&record.config),
            )
        })
        .collect();
    shared.volumes.reconcile(&uses)?;
    let mut to_start = Vec::new();
    let mut kept = HashSet::new();
    for record in records {
        if let Some(record) = settle(shared, record)? {
            kept.insert(record.id.as_str().to_owned());
            if record.wants_start {
                to_start.push(record.id);
            }
        }
    }
    sweep(shared, &kept)?;
    Ok(to_start)
}

struct Settled {
    id: ContainerId,
    wants_start: bool,
}

fn settle(shared: &Arc<Shared>, mut record: ContainerRecord) -> Result<Option<Settled>> {
    let same_boot = record.boot == shared.host.boot_id;
    let was_live = !matches!(record.phase, Phase::Created | Phase::Exited);
    let (observed, shim) = if was_live && same_boot {
        observe(shared, &record.id)
    } else {
        (Observed::Nothing, None)
    };
    let ran_before = record.status.started_ns.is_some();
    let mut adopted = None;
    match decide(record.phase, ran_before, same_boot, &observed) {
        Action::Keep => {}
        Action::Adopt => {
            adopted = shim
                .map(|(shim, state)| adopt(shared, &record, shim, &state))
                .transpose()?;
        }
        Action::Record(exit) => settle_ended(shared, &mut record, Phase::Exited, &exit)?,
        Action::Settle { phase, exit_code } => {
            let code = if record.phase == Phase::Restarting {
                record.status.exit_code
            } else {
                exit_code
            };
            let exit = Exit {
                exit_code: code,
                oom_killed: false,
                finished_at_ns: now_ns(),
                log_bytes_dropped: 0,
            };
            settle_ended(shared, &mut record, phase, &exit)?;
        }
    }
    let policy: &RestartPolicy = &record.config.restart;
    let down = adopted.is_none();
    let wants_start = down
        && record.phase == Phase::Exited
        && (was_live || same_boot_start(policy))
        && restart::at_boot(
            policy,
            record.status.stopped_by_hand,
            record.status.exit_code,
        );
    let remove_now = down && record.config.auto_remove && record.phase == Phase::Exited;
    let (id, name) = (record.id.clone(), record.name.clone());
    if remove_now {
        let key = id.clone();
        shared
            .db
            .write(Durability::Normal, move |tx| record::delete(tx, &key))?;
        return Ok(None);
    }
    let handle = Actor::spawn(shared.clone(), record, adopted.map(Box::new));
    shared.containers.insert(&id, name.as_str(), handle);
    Ok(Some(Settled { id, wants_start }))
}

/// `always` starts also what was down before the daemon stopped.
fn same_boot_start(policy: &RestartPolicy) -> bool {
    policy.name == super::config::RestartCondition::Always
}

fn settle_ended(
    shared: &Shared,
    record: &mut ContainerRecord,
    phase: Phase,
    exit: &Exit,
) -> Result<()> {
    let id = record.id.clone();
    if phase == Phase::Created {
        record.status.exit_code = exit.exit_code;
        record.status.error = "the daemon was killed while it started the container".into();
    } else {
        record.status.exit_code = exit.exit_code;
        record.status.oom_killed = exit.oom_killed;
        record.status.finished_ns = Some(exit.finished_at_ns);
    }
    kill_leftover(shared, record);
    record.status.pid = 0;
    record.phase = phase;
    record.boot.clone_from(&shared.host.boot_id);
    let row = record.clone();
    shared.db.write(Durability::Normal, move |tx| {
        row.update(tx)?;
        tx.execute("DELETE FROM endpoint WHERE container = ?1", [id.as_str()])
            .map_err(sql_error)?;
        Ok(())
    })
}

/// No supervisor answers: whatever is left of the container must go. Its cgroup names its processes without doubt.
fn kill_leftover(shared: &Shared, record: &ContainerRecord) {
    if shared.layout.container_run(&record.id).exists() {
        crate::workload::rootfs::remove_cgroups(&shared.container_cgroup(record));
    }
}

fn observe(shared: &Shared, id: &ContainerId) -> (Observed, Option<(BlockingShim, State)>) {
    if let Some(exit) = exit::read(shared, id) {
        return (Observed::Ended(exit), None);
    }
    match ask_state(&shared.layout.container_run(id)) {
        Ok((shim, state)) if matches!(state.status.as_str(), "running" | "paused") => (
            Observed::Alive {
                paused: state.status == "paused",
            },
            Some((shim, state)),
        ),
        Ok((
            _,
            State {
                exit: Some(exit), ..
            },
        )) => (Observed::Ended(exit), None),
        // It ended between the two looks, or never came to a payload.
        Ok(_) | Err(_) => match exit::read(shared, id) {
            Some(exit) => (Observed::Ended(exit), None),
            None => (Observed::Nothing, None),
        },
    }
}

fn ask_state(run_dir: &Path) -> Result<(BlockingShim, State)> {
    // Through the descriptor: the path of a socket has at most 107 bytes.
    let directory = std::fs::File::open(run_dir)?;
    let socket = fdpass::connect(&Path::new(&memfd::path(&directory)).join("shim.sock"))?;
    let mut shim = BlockingShim::greet(socket, SHIM_TIMEOUT)?;
    match shim.ask(Request::State).map_err(gantry_base::Error::from)? {
        Reply::State(state) => Ok((shim, state)),
        other => Err(gantry_base::Error::internal(format!(
            "the shim answered {other:?} to a question for its state"
        ))),
    }
}

fn adopt(
    shared: &Shared,
    record: &ContainerRecord,
    shim: BlockingShim,
    state: &State,
) -> Result<Running> {
    let mut claims = shared.networks.adopt_claims(&record.id, &record.config)?;
    if let (Some(claims), Some(pid)) = (&mut claims, state.pid)
        && let Err(error) = take_networks_over(shared, record, claims, pid)
    {
        tracing::error!(container = %record.id, %error, "cannot go on with a container's networks");
    }
    let outcome = Outcome {
        pid: state.pid.unwrap_or(0),
        started_ns: state.started_at_ns.unwrap_or_else(now_ns),
        endpoints: start::running_views(shared, record, claims.as_ref()),
        ports: claims
            .as_ref()
            .map(|claims| published_views(&claims.published))
            .unwrap_or_default(),
        claims,
    };
    let mut row = record.clone();
    row.phase = if state.status == "paused" {
        Phase::Paused
    } else {
        Phase::Running
    };
    row.status.pid = outcome.pid;
    row.status.started_ns = Some(outcome.started_ns);
    shared
        .db
        .write(Durability::Normal, move |tx| row.update(tx))?;
    Ok(Running {
        shim,
        paused: state.status == "paused",
        outcome,
    })
}

/// Takes away what a connect or disconnect left that the earlier daemon did not finish, and goes on with its name server, from the
/// sockets that the shim kept: the parent of init.
fn take_networks_over(
    shared: &Shared,
    record: &ContainerRecord,
    claims: &mut Claims,
    pid: i32,
) -> Result<()> {
    let namespace: OwnedFd = std::fs::File::open(format!("/proc/{pid}/ns/net"))?.into();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let parent = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    let networks = &shared.networks;
    let sandbox = Sandboxed {
        id: &record.id,
        name: record.name.as_str(),
        config: &record.config,
        namespace: namespace.try_clone()?,
    };
    networks.finish_changes(&sandbox, claims)?;
    reopen_resolver(claims, namespace.as_fd(), parent)?;
    networks.announce(
        &record.id,
        record.name.as_str(),
        &record.config,
        claims,
        Some(namespace),
    );
    Ok(())
}

/// Removes run directories, log directories and snapshots without a row.
fn sweep(shared: &Arc<Shared>, kept: &HashSet<String>) -> Result<()> {
    let mut orphans = HashSet::new();
    for parent in [shared.layout.container_runs(), shared.layout.containers()] {
        let Ok(entries) = std::fs::read_dir(&parent) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| ContainerId::parse(name).ok())
            {
                orphans.insert(id);
            }
        }
    }
    orphans.extend(shared.images.snapshot_owners()?);
    for id in orphans {
        if !kept.contains(id.as_str()) {
            // A shim may still be waiting for its daemon, or run a container whose removal was recorded.
            if let Ok((mut shim, _)) = ask_state(&shared.layout.container_run(&id)) {
                let signal = Request::Signal {
                    exec: None,
                    signal: super::signal::KILL,
                    all: true,
                };
                let _ = shim.ask(signal);
            }
            remove::clean_up(shared, id, Vec::new());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit {
            exit_code: 3,
            oom_killed: false,
            finished_at_ns: 1,
            log_bytes_dropped: 0,
        }
    }

    #[test]
    fn every_phase_and_observation_has_its_action() {
        let nothing = Observed::Nothing;
        let alive = Observed::Alive { paused: false };
        let ended = Observed::Ended(exit());
        for observed in [&nothing, &alive, &ended] {
            assert_eq!(decide(Phase::Created, false, true, observed), Action::Keep);
            assert_eq!(decide(Phase::Exited, true, true, observed), Action::Keep);
            let lost = Action::Settle {
                phase: Phase::Exited,
                exit_code: 255,
            };
            assert_eq!(decide(Phase::Running, true, false, observed), lost);
        }
        for phase in [Phase::Starting, Phase::Running, Phase::Paused] {
            assert_eq!(decide(phase, true, true, &alive), Action::Adopt);
            assert_eq!(decide(phase, true, true, &ended), Action::Record(exit()));
        }
        assert_eq!(
            decide(Phase::Starting, false, true, &nothing),
            Action::Settle {
                phase: Phase::Created,
                exit_code: 128
            }
        );
        assert_eq!(
            decide(Phase::Running, true, true, &nothing),
            Action::Settle {
                phase: Phase::Exited,
                exit_code: 137
            }
        );
        assert_eq!(
            decide(Phase::Restarting, true, true, &nothing),
            Action::Settle {
                phase: Phase::Exited,
                exit_code: 0
            }
        );
    }
}
