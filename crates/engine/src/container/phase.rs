//! The phases of a container and which command is legal in which: pure, with Docker's refusals.

use super::view::Status;
use gantry_base::{ContainerId, Error, Result};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Never ran.
    Created,
    /// A start is on its way.
    Starting,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Ended, and to be started again by its restart policy.
    Restarting,
    /// Ended.
    Exited,
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Created,
            Self::Starting,
            Self::Running,
            Self::Paused,
            Self::Restarting,
            Self::Exited,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == text)
    }
    /// Docker's word; a start shows the phase before it.
    pub(crate) fn status(self, ran_before: bool) -> Status {
        match self {
            Self::Created => Status::Created,
            Self::Starting if ran_before => Status::Exited,
            Self::Starting => Status::Created,
            Self::Running => Status::Running,
            Self::Paused => Status::Paused,
            Self::Restarting => Status::Restarting,
            Self::Exited => Status::Exited,
        }
    }
}

/// What `start` does in a phase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OnStart {
    Begin,
    /// A start is on its way: share its result.
    Join,
    AlreadyRunning,
}

pub(crate) fn on_start(phase: Phase) -> Result<OnStart> {
    match phase {
        Phase::Created | Phase::Exited | Phase::Restarting => Ok(OnStart::Begin),
        Phase::Starting => Ok(OnStart::Join),
        Phase::Running => Ok(OnStart::AlreadyRunning),
        Phase::Paused => Err(Error::conflict(
            "cannot start a paused container, try unpause instead",
        )),
    }
}

pub(crate) fn check_pause(phase: Phase, id: &ContainerId) -> Result<()> {
    match phase {
        Phase::Running => Ok(()),
        Phase::Paused => Err(Error::conflict(format!("Container {id} is already paused"))),
        Phase::Restarting => Err(restarting(id)),
        Phase::Created | Phase::Starting | Phase::Exited => Err(not_running(id)),
    }
}

pub(crate) fn check_unpause(phase: Phase, id: &ContainerId) -> Result<()> {
    if phase == Phase::Paused {
        return Ok(());
    }
    // dockerd answers 500 here; the kind keeps to it.
    Err(Error::internal(format!("Container {id} is not paused")))
}

pub(crate) fn check_exec(phase: Phase, id: &ContainerId, name: &str) -> Result<()> {
    match phase {
        Phase::Running => Ok(()),
        Phase::Paused => Err(Error::conflict(format!(
            "Container {name} is paused, unpause the container before exec"
        ))),
        Phase::Restarting => Err(restarting(id)),
        Phase::Created | Phase::Starting | Phase::Exited => Err(not_running(id)),
    }
}

pub(crate) fn check_remove(phase: Phase, force: bool, reference: &str) -> Result<()> {
    let why = match phase {
        _ if force => return Ok(()),
        Phase::Running | Phase::Starting => {
            "container is running: stop the container before removing or force remove"
        }
        Phase::Paused => "container is paused and must be unpaused first",
        Phase::Restarting => {
            "container is restarting: stop the container before removing or force remove"
        }
        Phase::Created | Phase::Exited => return Ok(()),
    };
    Err(Error::conflict(format!(
        "cannot remove container \"{reference}\": {why}"
    )))
}

pub(crate) fn not_running(id: &ContainerId) -> Error {
    Error::conflict(format!("container {id} is not running"))
}

pub(crate) fn not_to_commit(id: &ContainerId, status: Status) -> Error {
    let state = match status {
        Status::Dead => "Dead",
        _ => "being removed",
    };
    Error::conflict(format!("You cannot commit container {id} which is {state}"))
}

pub(crate) fn restarting(id: &ContainerId) -> Error {
    Error::conflict(format!(
        "Container {id} is restarting, wait until the container is running"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 6] = [
        Phase::Created,
        Phase::Starting,
        Phase::Running,
        Phase::Paused,
        Phase::Restarting,
        Phase::Exited,
    ];

    #[test]
    fn every_phase_survives_its_row() {
        for phase in ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
        assert_eq!(Phase::parse("dead"), None);
    }

    #[test]
    fn force_removes_in_every_phase_and_only_ended_ones_go_without() {
        let free: Vec<_> = ALL
            .into_iter()
            .filter(|p| check_remove(*p, false, "x").is_ok())
            .collect();
        assert_eq!(free, [Phase::Created, Phase::Exited]);
        assert!(ALL.into_iter().all(|p| check_remove(p, true, "x").is_ok()));
    }

    #[test]
    fn only_running_containers_take_pause_and_exec() {
        let id = ContainerId::parse(&"ab".repeat(32)).expect("valid");
        for phase in ALL {
            assert_eq!(
                check_pause(phase, &id).is_ok(),
                phase == Phase::Running,
                "{phase:?}"
            );
            assert_eq!(
                check_exec(phase, &id, "n").is_ok(),
                phase == Phase::Running,
                "{phase:?}"
            );
            assert_eq!(
                check_unpause(phase, &id).is_ok(),
                phase == Phase::Paused,
                "{phase:?}"
            );
        }
    }
}
