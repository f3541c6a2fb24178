//! Starts another process in a running container: joins all its namespaces and cgroups, and is as limited as its init.

use gantry_oci::runtime::Process;
use gantry_sys::namespace::{self, Kind};
use gantry_sys::{clone, fdpass, pidfd, process as sys_process};
use rustix::fs::{Mode, OFlags};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::create::in_pid_namespace;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::plan::{Document, ExecPlan, Stdio, Target};
use crate::procfs::Proc;
use crate::program::{self, Program};
use crate::sync::{self, Report};
use crate::{identity, init, lsm, outline, settings, terminal};

/// A process that was started in a container.
#[derive(Debug)]
pub struct Child {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// The process.
    pub pidfd: OwnedFd,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// What was approximated.
    pub warnings: Vec<String>,
}

/// Starts a process and returns once its program was executed.
pub fn exec(target: &Target<'_>, plan: ExecPlan) -> Result<Child> {
    if pidfd::has_ended(target.pidfd)? {
        return Err(Error::new(
            ErrorKind::NoSuchProcess,
            "cannot exec in a stopped container",
        ));
    }
    let (ours, theirs) = fdpass::pair().context("cannot make a socket pair")?;
    let unified = target.cgroup.clone_target().ok().flatten();
    let options = clone::Clone {
        namespaces: 0,
        cgroup: unified.as_ref().map(AsFd::as_fd),
    };
    let entry = Entry {
        target,
        plan: &plan,
        sync: theirs.as_fd(),
        in_unified: unified.is_some(),
    };
    let own_pids = target.namespaces & Kind::Pid.flag() != 0;
    let child = in_pid_namespace(own_pids.then_some(target.pidfd), || {
        #[expect(unsafe_code, reason = "the one clone of a process in a container")]
        // SAFETY: the caller of this crate is single-threaded, as the crate demands.
        let child = unsafe { clone::spawn(&options, || main(&entry)) };
        child.context("cannot clone")
    })?;
    drop(theirs);
    drop(plan);
    let mut child = Child {
        pid: child.pid,
        pidfd: child.pidfd,
        terminal: None,
        warnings: Vec::new(),
    };
    match converse(&ours, &mut child) {
        Ok(()) => Ok(child),
        Err(error) => {
            let _ = pidfd::send_signal(&child.pidfd, libc::SIGKILL);
            let _ = pidfd::wait(&child.pidfd);
            Err(error)
        }
    }
}

fn converse(socket: &OwnedFd, child: &mut Child) -> Result<()> {
    loop {
        match sync::receive(socket)? {
            None => return Ok(()),
            Some(Report::Failed(error)) => return Err(error),
            Some(Report::Warning(text)) => child.warnings.push(text),
            Some(Report::Terminal(master)) => child.terminal = Some(master),
            Some(_) => {}
        }
    }
}

struct Entry<'a> {
    target: &'a Target<'a>,
    plan: &'a ExecPlan,
    sync: BorrowedFd<'a>,
    in_unified: bool,
}

fn main(entry: &Entry<'_>) -> i32 {
    match entry.run() {
        Ok(never) => never,
        Err(error) => {
            let _ = sync::send(entry.sync, &Report::Failed(error));
            1
        }
    }
}

impl Entry<'_> {
    fn run(&self) -> Result<i32> {
        self.isolate()?;
        let process: ManuallyDrop<Process> = ManuallyDrop::new(match &self.plan.process {
            Document::File(file) => outline::parse_file(file)?,
            Document::Parsed(process) => (**process).clone(),
        });
        validate(&process)?;
        let mut environment = program::environment(&process)?;
        let filter = self
            .plan
            .seccomp_filter
            .as_ref()
            .map(init::read_filter)
            .transpose()?;
        // The process is in the container's pid namespace already, but still where a new procfs may be mounted.
        let proc = Proc::mount().ok().map(ManuallyDrop::new);
        let mut warnings = settings::set_rlimits(None, &process.rlimits, self.plan.tolerate)?;
        if let (Some(score), Some(proc)) = (process.oom_score_adj, &proc) {
            settings::set_oom_score_adj(proc, "self", score, self.plan.tolerate)?;
        }
        self.join()?;
        let proc = match proc {
            Some(proc) => Some(proc),
            None => Proc::of_host().ok().map(ManuallyDrop::new),
        };
        let proc = proc.as_deref();
        if let Some(scheduler) = &process.scheduler {
            settings::set_scheduler(scheduler)?;
        }
        if let Some(priority) = &process.io_priority {
            settings::set_io_priority(priority)?;
        }
        self.set_streams(&process)?;
        warnings.extend(set_labels(&process, proc)?);
        program::add_home(&mut environment, process.user.uid);
        warnings.extend(identity::assume(
            &process,
            proc,
            filter.is_some() && !process.no_new_privileges,
        )?);
        for warning in warnings {
            sync::send(self.sync, &Report::Warning(warning))?;
        }
        let program = Program::find(&process, environment)?;
        let first = 3_i32.saturating_add(i32::try_from(self.plan.preserve_fds).unwrap_or(0));
        sys_process::close_on_exec_from(first).context("cannot mark descriptors close-on-exec")?;
        if let Some(filter) = &filter {
            gantry_sys::seccomp::install(filter)?;
        }
        Ok(program.execute())
    }

    fn isolate(&self) -> Result<()> {
        // Before anything else: the container's processes see this one, and could trace it.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        let mut keep = self.plan.fds();
        keep.extend([self.sync.as_raw_fd(), self.target.pidfd.as_raw_fd()]);
        keep.extend(
            self.target
                .cgroup
                .roots
                .hierarchies()
                .iter()
                .map(|hierarchy| hierarchy.root.as_raw_fd()),
        );
        #[expect(
            unsafe_code,
            reason = "the creator's descriptors must not be reachable from the container"
        )]
        // SAFETY: this process never returns to its creator's frames, and what it owns itself was opened by nobody yet.
        unsafe {
            sys_process::close_all_but(&mut keep).context("cannot close descriptors")?;
        }
        sys_process::reset_signals();
        rustix::thread::set_name(c"gantry-exec")?;
        rustix::process::setsid().context("setsid")?;
        self.target
            .cgroup
            .join_self(!self.in_unified)
            .context("cannot join the cgroup")?;
        Ok(())
    }

    fn join(&self) -> Result<()> {
        if self.target.namespaces & Kind::Mount.flag() == 0 {
            return Err(Error::unsupported(
                "exec in a container without a mount namespace is not supported",
            ));
        }
        let flags = self.target.namespaces & !Kind::Pid.flag();
        if flags == 0 {
            return Ok(());
        }
        namespace::join_process(self.target.pidfd, flags)
            .context("cannot join the container's namespaces")?;
        if flags & Kind::User.flag() != 0 {
            init::become_root()?;
        }
        Ok(())
    }

    fn set_streams(&self, process: &Process) -> Result<()> {
        match &self.plan.stdio {
            Stdio::Inherit => Ok(()),
            Stdio::Fds([stdin, stdout, stderr]) => terminal::set_streams(stdin, stdout, stderr),
            Stdio::Terminal => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let devpts =
                    rustix::fs::open("/dev/pts", flags, Mode::empty()).context("open /dev/pts")?;
                let ends = terminal::open(&devpts, process.console_size.as_ref())?;
                terminal::control(&ends.slave)?;
                terminal::set_streams(&ends.slave, &ends.slave, &ends.slave)?;
                sync::send(self.sync, &Report::Terminal(ends.master))
            }
        }
    }
}

fn set_labels(process: &Process, proc: Option<&Proc>) -> Result<Vec<String>> {
    let Some(proc) = proc else {
        let is_plain = process.apparmor_profile.is_empty() && process.selinux_label.is_empty();
        return if is_plain {
            Ok(Vec::new())
        } else {
            Err(Error::internal(
                "labels need a procfs, and the container has none",
            ))
        };
    };
    let labels = [
        lsm::set_apparmor(proc, &process.apparmor_profile)?,
        lsm::set_selinux(proc, &process.selinux_label)?,
    ];
    Ok(labels.into_iter().flatten().collect())
}

fn validate(process: &Process) -> Result<()> {
    if process.args.is_empty() {
        return Err(Error::invalid("process args cannot be empty"));
    }
    if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
        return Err(Error::invalid("Cwd must be an absolute path"));
    }
    Ok(())
}
