//! What the daemon asks for, one request after the other, each with one answer.

use super::descriptors::invalid;
use super::process::Process;
use super::{Container, Status, Supervisor};
use gantry_oci::runtime::Resources;
use gantry_runtime::cgroup::Cgroup;
use gantry_shim_protocol::{
    Attach, Event, Failure, FailureKind, Reply, Request, RequestPacket, State,
};
use gantry_sys::pidfd;
use std::os::fd::OwnedFd;

type Result<T = Reply> = std::result::Result<T, Failure>;

impl Supervisor {
    /// Does what `packet` asks, and answers.
    pub(super) fn request(&mut self, packet: RequestPacket, fds: Vec<OwnedFd>) {
        let seq = packet.seq;
        let result = match packet.request {
            Request::Descriptors { roles } => {
                self.staged.add(roles, fds);
                return;
            }
            Request::Run(run) => {
                let result = self.run_container(&run);
                if result.is_err() && self.container.is_none() {
                    self.give_up();
                }
                result
            }
            Request::Exec(exec) => self.exec(&exec),
            Request::Signal { exec, signal, all } => self.signal(exec.as_deref(), signal, all),
            Request::Attach(attach) => self.attach(&attach, fds),
            Request::Resize {
                exec,
                rows,
                columns,
            } => self.resize(exec.as_deref(), rows, columns),
            Request::Pause => self.freeze(true),
            Request::Resume => self.freeze(false),
            Request::Update { resources } => self.update(resources),
            Request::State => Ok(Reply::State(self.state())),
            Request::Processes => self
                .cgroup()
                .and_then(|cgroup| checked("list processes", cgroup.procs()))
                .map(Reply::Processes),
            Request::Stats => self.cgroup().map(|cgroup| Reply::Stats(cgroup.stats())),
            Request::ReopenLog => self.reopen_log(),
        };
        let has_started = matches!(result, Ok(Reply::Started { .. }));
        self.control
            .reply(seq, result.unwrap_or_else(Reply::Failed));
        if has_started {
            self.watch_memory();
        }
    }

    /// The container, while its init runs.
    pub(super) fn running(&mut self) -> Result<&mut Container> {
        let runs = self
            .processes
            .iter()
            .any(|process| process.exec.is_none() && process.runs());
        self.container
            .as_mut()
            .filter(|_| runs)
            .ok_or_else(not_running)
    }

    fn cgroup(&self) -> Result<&Cgroup> {
        self.container
            .as_ref()
            .and_then(|container| container.cgroup.as_ref())
            .ok_or_else(not_running)
    }

    fn process(&mut self, exec: Option<&str>) -> Result<&mut Process> {
        let found = self
            .processes
            .iter_mut()
            .find(|process| process.exec.as_deref() == exec && process.runs());
        found.ok_or_else(|| match exec {
            None => not_running(),
            Some(id) => Failure {
                kind: FailureKind::NoSuchProcess,
                message: format!("no running process {id}"),
            },
        })
    }

    fn signal(&mut self, exec: Option<&str>, signal: i32, all: bool) -> Result {
        if !(0..=64).contains(&signal) {
            return Err(invalid(&format!("invalid signal: {signal}")));
        }
        let result = if all {
            self.signal_all(signal)
        } else {
            self.signal_one(exec, signal)
        };
        if result.is_ok() && signal == libc::SIGKILL && self.is_paused() {
            // What is frozen by a v1 freezer does not even die, until it is thawed.
            self.freeze(false)?;
        }
        result
    }

    fn signal_one(&mut self, exec: Option<&str>, signal: i32) -> Result {
        let pid = self.process(exec)?.pid;
        // Ours, and not reaped yet: the number cannot belong to another process.
        match pidfd::open(pid).and_then(|pidfd| pidfd::send_signal(pidfd, signal)) {
            Ok(()) => Ok(Reply::Ok),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(not_running()),
            Err(error) => Err(internal("send a signal", error)),
        }
    }

    fn signal_all(&mut self, signal: i32) -> Result {
        if signal != libc::SIGKILL {
            let sent = self.cgroup()?.signal_all(signal);
            return checked("signal processes", sent).map(|()| Reply::Ok);
        }
        if checked("kill processes", self.cgroup()?.kill_all())? {
            return Ok(Reply::Ok);
        }
        // Without cgroups init has to do: the rest of its pid namespace dies with it.
        self.signal_one(None, signal)
    }

    fn is_paused(&self) -> bool {
        self.container
            .as_ref()
            .is_some_and(|container| container.status == Status::Paused)
    }

    fn attach(&mut self, attach: &Attach, fds: Vec<OwnedFd>) -> Result {
        let Ok([socket]) = <[OwnedFd; 1]>::try_from(fds) else {
            return Err(invalid("attach needs exactly one descriptor"));
        };
        let process = self.process(attach.exec.as_deref())?;
        let mut detached = false;
        if !process.streams.attach(socket, attach, false, &mut detached) {
            return Err(invalid("attach needs a stream socket"));
        }
        if detached {
            self.control.event(Event::Detached {
                exec: attach.exec.clone(),
            });
        }
        Ok(Reply::Ok)
    }

    fn resize(&mut self, exec: Option<&str>, rows: u16, columns: u16) -> Result {
        let process = self.process(exec)?;
        let Some(terminal) = process.streams.terminal() else {
            return Err(invalid("cannot resize: the process has no terminal"));
        };
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        checked(
            "resize the terminal",
            rustix::termios::tcsetwinsize(terminal, size).map_err(std::io::Error::from),
        )?;
        Ok(Reply::Ok)
    }

    fn freeze(&mut self, freeze: bool) -> Result {
        let container = self.running()?;
        let (wanted, status) = if freeze {
            (Status::Running, Status::Paused)
        } else {
            (Status::Paused, Status::Running)
        };
        if container.status != wanted {
            let message = if freeze {
                "container is already paused"
            } else {
                "container not paused"
            };
            return Err(invalid(message));
        }
        let cgroup = container.cgroup.as_ref().ok_or_else(not_running)?;
        let result = if freeze {
            cgroup.freeze()
        } else {
            cgroup.thaw()
        };
        checked(
            if freeze {
                "freeze the container"
            } else {
                "thaw the container"
            },
            result,
        )?;
        container.status = status;
        Ok(Reply::Ok)
    }

    fn update(&mut self, resources: serde_json::Value) -> Result {
        let resources: Resources = serde_json::from_value(resources)
            .map_err(|error| invalid(&format!("invalid resources: {error}")))?;
        checked(
            "update the container's limits",
            self.cgroup()?.apply(&resources),
        )?;
        Ok(Reply::Ok)
    }

    fn state(&self) -> State {
        let init = self
            .processes
            .iter()
            .find(|process| process.exec.is_none() && process.runs());
        let container = self.container.as_ref();
        let status = match container.map(|container| container.status) {
            None => "created",
            // Ended, but its last output is still being read.
            Some(_) if init.is_none() => "stopped",
            Some(Status::Running) => "running",
            Some(Status::Paused) => "paused",
            Some(Status::Stopped) => "stopped",
        };
        State {
            status: status.to_owned(),
            pid: init.map(|process| process.pid),
            started_at_ns: container.map(|container| container.started_at_ns),
            exit: container.and_then(|container| container.exit.clone()),
            execs: self
                .processes
                .iter()
                .filter(|process| process.runs())
                .filter_map(|process| Some((process.exec.clone()?, process.pid)))
                .collect(),
        }
    }

    fn reopen_log(&mut self) -> Result {
        match self
            .container
            .as_mut()
            .and_then(|container| container.log.as_mut())
        {
            Some(log) => checked("reopen the log", log.reopen()).map(|()| Reply::Ok),
            None => Err(invalid("the container has no log file")),
        }
    }
}

pub(super) fn not_running() -> Failure {
    Failure {
        kind: FailureKind::NoSuchProcess,
        message: "container is not running".to_owned(),
    }
}

pub(super) fn internal(what: &str, error: impl Into<gantry_base::Error>) -> Failure {
    let error = error.into();
    let kind = match error.kind() {
        gantry_base::ErrorKind::InvalidParameter => FailureKind::Invalid,
        gantry_base::ErrorKind::NotImplemented => FailureKind::Unsupported,
        _ => FailureKind::Internal,
    };
    Failure {
        kind,
        message: format!("cannot {what}: {error}"),
    }
}

fn checked<T, E: Into<gantry_base::Error>>(
    what: &str,
    result: std::result::Result<T, E>,
) -> Result<T> {
    result.map_err(|error| internal(what, error))
}
