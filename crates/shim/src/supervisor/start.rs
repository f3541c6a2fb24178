//! Starts the container's init and further processes in it: collects descriptors, makes pipes, calls the runtime.

use super::descriptors::{Staged, invalid};
use super::process::Process;
use super::request::{internal, not_running};
use super::{Container, Status, Supervisor};
use crate::log::{JsonLog, Timestamp};
use crate::stream::{Ends, Streams};
use crate::zygote::complain;
use gantry_runtime::{Document, ExecPlan, Plan, Stdio, Target, Tolerate};
use gantry_shim_protocol::{Attach, Event, Exec, Failure, FailureKind, FdRole, Reply, Run};
use gantry_sys::fdpass;
use gantry_sys::namespace::Kind;
use rustix::pipe::PipeFlags;
use std::os::fd::OwnedFd;

type Result<T = Reply> = std::result::Result<T, Failure>;

/// What the host may refuse without an error: nobody asked for it by name. Limits are there only if somebody named them.
const TOLERATE: Tolerate = Tolerate {
    rlimits: false,
    oom_score_adj: true,
    cgroup: false,
};

impl Supervisor {
    /// Creates the container and starts its program.
    pub(super) fn run_container(&mut self, run: &Run) -> Result {
        let mut staged = self.staged.take()?;
        if self.container.is_some() || self.leaves_at.is_some() {
            return Err(invalid("this shim has its container already"));
        }
        if let Some(listener) = staged.optional(&FdRole::Listener) {
            self.control.listen(listener);
        }
        let run_dir = staged.required(&FdRole::RunDir)?;
        let log = JsonLog::open(&run.log, staged.optional(&FdRole::LogDir))
            .map_err(|error| internal("open the container's log", error))?;
        let clients = clients(&mut staged, &run.attach)?;
        let (plan, ends) = self.plan(run, &mut staged)?;
        let joins_pids = plan.namespaces.iter().any(|(kind, _)| *kind == Kind::Pid);

        let init = gantry_runtime::run(plan).map_err(failure)?;
        for warning in &init.warnings {
            complain(&format!("{}: {warning}", run.id));
        }
        let started_at_ns = Timestamp::now().0;
        let own_pids = init.namespaces & u64::from(libc::CLONE_NEWPID.unsigned_abs()) != 0;
        let pid = init.pid;
        let streams = streams(ends, init.terminal, run.open_stdin, run.stdin_once)?;
        let held = staged.all(|role| (*role == FdRole::Held).then_some(()));
        self.container = Some(Container {
            status: Status::Running,
            pidfd: init.pidfd,
            namespaces: init.namespaces,
            mount_namespace: init.mount_namespace,
            cgroup: Some(init.cgroup),
            run_dir,
            held: held.into_iter().map(|((), fd)| fd).collect(),
            log,
            oom: None,
            oom_kills: 0,
            shares_pids: joins_pids || !own_pids,
            started_at_ns,
            exit: None,
        });
        self.supervise(None, pid, streams, clients);
        Ok(Reply::Started { pid, started_at_ns })
    }

    /// Starts another process in the container.
    pub(super) fn exec(&mut self, exec: &Exec) -> Result {
        let mut staged = self.staged.take()?;
        let id_is_a_name = !exec.id.is_empty()
            && exec
                .id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !id_is_a_name {
            return Err(invalid(&format!("invalid exec id {:?}", exec.id)));
        }
        if self
            .processes
            .iter()
            .any(|process| process.exec.as_deref() == Some(&exec.id))
        {
            return Err(invalid(&format!("exec {} exists already", exec.id)));
        }
        if self.running()?.status == Status::Paused {
            // The new process would be frozen before it could be executed, and we would wait for it forever.
            return Err(invalid("container is paused"));
        }
        let clients = clients(&mut staged, &exec.attach)?;
        let process = Document::File(staged.required(&FdRole::Process)?);
        let (stdio, ends) = self.stdio(exec.terminal, exec.open_stdin)?;
        let seccomp_filter = staged.optional(&FdRole::SeccompFilter);
        let plan = ExecPlan {
            process,
            stdio,
            seccomp_filter,
            tolerate: TOLERATE,
            preserve_fds: 0,
        };
        let container = self.running()?;
        let cgroup = container.cgroup.as_ref().ok_or_else(not_running)?;
        let target = Target {
            pidfd: std::os::fd::AsFd::as_fd(&container.pidfd),
            cgroup,
            namespaces: container.namespaces,
        };
        let child = gantry_runtime::exec(&target, plan).map_err(failure)?;
        for warning in &child.warnings {
            complain(&format!("exec {}: {warning}", exec.id));
        }
        let started_at_ns = Timestamp::now().0;
        let streams = streams(ends, child.terminal, exec.open_stdin, true)?;
        self.supervise(Some(exec.id.clone()), child.pid, streams, clients);
        Ok(Reply::Started {
            pid: child.pid,
            started_at_ns,
        })
    }

    fn plan(&self, run: &Run, staged: &mut Staged) -> Result<(Plan, Ends)> {
        let config = Document::File(staged.required(&FdRole::Config)?);
        let rootfs = staged.required(&FdRole::Rootfs)?;
        let mut plan = Plan::new(
            run.id.as_str(),
            config,
            rootfs,
            self.inherited.roots.clone(),
        );
        plan.mounts = staged.all(|role| {
            if let FdRole::Mount { index } = role {
                Some(*index)
            } else {
                None
            }
        });
        let namespaces = staged.all(|role| {
            if let FdRole::Namespace { kind } = role {
                Some(kind.clone())
            } else {
                None
            }
        });
        for (name, fd) in namespaces {
            let kind = Kind::parse(&name)
                .ok_or_else(|| invalid(&format!("unknown namespace {name:?}")))?;
            plan.namespaces.push((kind, fd));
        }
        plan.seccomp_filter = staged.optional(&FdRole::SeccompFilter);
        plan.init = run.init;
        plan.tolerate = TOLERATE;
        plan.host_proc = Some(duplicate(&self.inherited.proc)?);
        let (stdio, ends) = self.stdio(run.terminal, run.open_stdin)?;
        plan.stdio = stdio;
        Ok((plan, ends))
    }

    /// The process's side of its streams for the runtime, and ours. A terminal comes back from the runtime.
    fn stdio(&self, terminal: bool, open_stdin: bool) -> Result<(Stdio, Ends)> {
        if terminal {
            return Ok((Stdio::Terminal, Ends::default()));
        }
        let mut ends = Ends::default();
        let stdin = if open_stdin {
            let (read, write) = pipe()?;
            ends.stdin = Some(nonblocking(write)?);
            read
        } else {
            duplicate(&self.inherited.null)?
        };
        let (stdout, stdout_write) = pipe()?;
        let (stderr, stderr_write) = pipe()?;
        ends.stdout = Some(nonblocking(stdout)?);
        ends.stderr = Some(nonblocking(stderr)?);
        Ok((Stdio::Fds([stdin, stdout_write, stderr_write]), ends))
    }

    fn supervise(
        &mut self,
        exec: Option<String>,
        pid: i32,
        mut streams: Streams,
        clients: Vec<(Attach, OwnedFd)>,
    ) {
        for (attach, socket) in clients {
            let mut detached = false;
            if !streams.attach(socket, &attach, true, &mut detached) {
                complain("a client's descriptor is no stream socket");
            }
            if detached {
                self.control.event(Event::Detached { exec: exec.clone() });
            }
        }
        self.next_key += 1;
        self.processes.push(Process {
            key: self.next_key,
            exec,
            pid,
            streams,
            end: None,
        });
    }
}

/// The clients' sockets in the order of `attach`.
fn clients(staged: &mut Staged, attach: &[Attach]) -> Result<Vec<(Attach, OwnedFd)>> {
    let find = |(index, attach): (usize, &Attach)| {
        Ok((attach.clone(), staged.required(&FdRole::Attach { index })?))
    };
    attach.iter().enumerate().map(find).collect()
}

fn streams(
    mut ends: Ends,
    terminal: Option<OwnedFd>,
    open_stdin: bool,
    closes_stdin: bool,
) -> Result<Streams> {
    let is_terminal = terminal.is_some();
    if let Some(master) = terminal {
        let master = nonblocking(master)?;
        if open_stdin {
            ends.stdin = Some(duplicate(&master)?);
        }
        ends.stdout = Some(master);
    }
    Ok(Streams::new(ends, is_terminal, closes_stdin))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|error| internal("make a pipe", std::io::Error::from(error)))
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    fdpass::set_nonblocking(&fd).map_err(|error| internal("prepare a stream", error))?;
    Ok(fd)
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone()
        .map_err(|error| internal("duplicate a descriptor", error))
}

fn failure(error: gantry_runtime::Error) -> Failure {
    use gantry_runtime::ErrorKind;
    let kind = match error.kind {
        ErrorKind::CommandNotFound => FailureKind::CommandNotFound,
        ErrorKind::CommandNotExecutable => FailureKind::CommandNotExecutable,
        ErrorKind::Invalid => FailureKind::Invalid,
        ErrorKind::NoSuchProcess => FailureKind::NoSuchProcess,
        ErrorKind::Unsupported => FailureKind::Unsupported,
        ErrorKind::Internal => FailureKind::Internal,
    };
    Failure {
        kind,
        message: error.message,
    }
}
