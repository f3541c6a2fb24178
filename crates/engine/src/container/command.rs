//! What can be asked of a container's actor, and the options of the verbs.

use super::config::Attachment;
use super::update::ContainerUpdate;
use crate::network::Network;
use gantry_base::{ContainerName, Error, ExecId, Result};
use gantry_shim_protocol as protocol;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// A command to the actor of one container. Reads never come here.
pub(crate) enum Command {
    Start(Reply<Start>),
    Stop {
        options: StopOptions,
        for_restart: bool,
        reply: Reply<Stop>,
    },
    Kill {
        signal: i32,
        reply: Reply<()>,
    },
    Pause(Reply<()>),
    Unpause(Reply<()>),
    Rename {
        name: ContainerName,
        reply: Reply<()>,
    },
    Remove {
        options: RemoveOptions,
        reference: String,
        reply: Reply<()>,
    },
    Wait {
        condition: WaitCondition,
        reply: oneshot::Sender<oneshot::Receiver<ExitStatus>>,
    },
    Attach {
        attach: protocol::Attach,
        /// Written before anything else once the client is registered: only then may it start the container.
        head: Vec<u8>,
        socket: OwnedFd,
        reply: Reply<()>,
    },
    Resize {
        exec: Option<String>,
        rows: u16,
        columns: u16,
        reply: Reply<()>,
    },
    Exec {
        start: ExecStart,
        reply: Reply<i32>,
    },
    KillExec(ExecId),
    ExecCheck {
        reply: Reply<()>,
    },
    Network {
        change: NetworkChange,
        reply: Reply<()>,
    },
    Update {
        update: Box<ContainerUpdate>,
        reply: Reply<()>,
    },
    Processes(Reply<Vec<i32>>),
    Stats(Reply<Vec<(String, String)>>),
}

/// A change of the networks that a container is in.
pub(crate) enum NetworkChange {
    Connect {
        network: Arc<Network>,
        asked: Box<Attachment>,
    },
    Disconnect {
        network: String,
    },
}

/// A process to start in the container.
pub(crate) struct ExecStart {
    pub(crate) exec: protocol::Exec,
    /// A file with the OCI process document.
    pub(crate) process: OwnedFd,
    /// The container's system call filter.
    pub(crate) seccomp: Option<OwnedFd>,
    /// One socket for each of `exec.attach`.
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) exited: oneshot::Sender<i32>,
}

/// What a start found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It was started.
    Started,
    /// It ran already (HTTP 304).
    AlreadyRunning,
}

/// What a stop found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It was stopped.
    Stopped,
    /// It did not run (HTTP 304).
    AlreadyStopped,
}

/// How to stop.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Name or number; none: the container's stop signal.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; none: the container's; negative: never.
    pub timeout_s: Option<i64>,
}

/// How to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill it if it runs.
    pub force: bool,
    /// Remove its anonymous volumes too.
    pub volumes: bool,
    /// Remove a link, not the container.
    pub link: bool,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run.
    NotRunning,
    /// It ends the next time.
    NextExit,
    /// It is removed.
    Removed,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExitStatus {
    /// 0 to 255.
    pub code: i32,
    /// Why it could not be removed, for the condition `removed`.
    pub error: Option<String>,
}

/// The actor has ended: the container is gone.
pub(crate) fn gone(reference: &str) -> Error {
    Error::not_found(format!("No such container: {reference}"))
}
