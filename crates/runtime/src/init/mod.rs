//! A container's first process, from the clone to execve.
//!
//! Single-threaded, on the copied memory of its creator, so ordinary Rust is fine. Nothing here is ever dropped or returns:
//! the process executes the program or ends. Start reading at [`main`]. See clone(2), namespaces(7), pivot_root(2).

mod reaper;

use gantry_oci::runtime::{Linux, Process, Spec};
use gantry_sys::namespace::{self, Kind};
use gantry_sys::process as sys_process;
use rustix::fs::{Mode, OFlags};
use rustix::thread;
use std::fmt::Write as _;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::create::{Spaces, kept_fds};
use crate::error::{Context, Error, Result, quoted};
use crate::hooks::{self, HookState};
use crate::outline;
use crate::plan::{Document, Plan, Start, Stdio};
use crate::procfs::Proc;
use crate::program::{self, Program};
use crate::rootfs::{CgroupView, Place, Rootfs, proc_for};
use crate::sync::{self, Report};
use crate::{identity, lsm, settings, sysctl, terminal, validate};

/// How runc's texts begin for what fails before the container's identity is taken on.
const STAGE: &str = "error during container init";

/// What init gets from its creator's memory.
pub(crate) struct Setup<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) spaces: &'a Spaces,
    pub(crate) cgroup: CgroupView<'a>,
    pub(crate) sync: BorrowedFd<'a>,
    /// Whether the process was born in its v2 cgroup.
    pub(crate) in_unified: bool,
}

/// Runs in the new process; the result is its exit status.
pub(crate) fn main(setup: &Setup<'_>) -> i32 {
    // Descriptors that were closed behind their owners' backs must not be closed again.
    let mut outcome = ManuallyDrop::new(Outcome { report_to: None });
    match setup.run(&mut outcome) {
        Ok(code) => code,
        Err(error) => {
            let socket = outcome.report_to.as_ref().map_or(setup.sync, AsFd::as_fd);
            let _ = sync::send(socket, &Report::Failed(error));
            1
        }
    }
}

/// To whom a failure is reported.
struct Outcome {
    report_to: Option<OwnedFd>,
}

impl Setup<'_> {
    fn run(&self, outcome: &mut Outcome) -> Result<i32> {
        self.isolate().context(STAGE)?;
        let spec = ManuallyDrop::new(self.read_config()?);
        let default = ManuallyDrop::new(Linux::default());
        let linux = spec.linux.as_ref().unwrap_or(&default);
        let process = spec
            .process
            .as_ref()
            .ok_or_else(|| Error::invalid("the configuration has no process"))?;
        validate::validate(&spec, linux, process, self.spaces.all())?;
        let filter = self.read_filter()?;
        let environment = program::environment(process).context(STAGE)?;
        let proc = self.prepare(&spec, linux, process).context(STAGE)?;
        let program = self.settle(
            process,
            environment,
            &proc,
            filter.is_some() && !process.no_new_privileges,
        )?;
        self.wait_for_start(outcome)?;
        if let Some(hooks) = &spec.hooks {
            hooks::run_start_container(hooks, &self.hook_state(&spec))?;
        }
        self.finish(&program, filter.as_deref())
    }

    /// Namespaces, settings and the file system.
    fn prepare(&self, spec: &Spec, linux: &Linux, process: &Process) -> Result<ManuallyDrop<Proc>> {
        self.join_namespaces(linux)?;
        self.set_keyring()?;
        let (proc, for_container) = self.open_proc(spec)?;
        self.apply_settings(process, linux, &proc)?;
        self.set_up_network_and_names(spec)?;
        self.build(spec, linux, process, &proc, for_container)?;
        Ok(proc)
    }

    /// Cuts what the process has of its creator: descriptors, signals, the way to be traced.
    fn isolate(&self) -> Result<()> {
        // A container's user with ptrace could otherwise look into this process before execve.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        let mut keep = kept_fds(self.plan, self.spaces, self.sync);
        keep.extend(self.cgroup.trees.iter().map(|(_, tree)| tree.as_raw_fd()));
        #[expect(
            unsafe_code,
            reason = "the creator's descriptors must not be reachable from the container"
        )]
        // SAFETY: this process never returns to its creator's frames, and what it owns itself was opened by nobody yet.
        unsafe {
            sys_process::close_all_but(&mut keep).context("cannot close descriptors")?;
        }
        sys_process::reset_signals();
        rustix::process::umask(Mode::empty());
        thread::set_name(c"gantry-init")?;
        rustix::process::setsid().context("setsid")?;
        // As long as the ids are the host's: afterwards the files of the hierarchies belong to somebody else.
        self.cgroup
            .cgroup
            .join_self(!self.in_unified)
            .context("cannot join the cgroup")?;
        if self.spaces.new & Kind::User.flag() != 0 {
            sync::wait_continue(self.sync)?;
            become_root()?;
        }
        Ok(())
    }

    fn read_config(&self) -> Result<Spec> {
        match &self.plan.config {
            Document::File(file) => outline::parse_file(file),
            Document::Parsed(spec) => Ok((**spec).clone()),
        }
    }

    fn read_filter(&self) -> Result<Option<Vec<u8>>> {
        self.plan
            .seccomp_filter
            .as_ref()
            .map(read_filter)
            .transpose()
    }

    fn join_namespaces(&self, linux: &Linux) -> Result<()> {
        for (kind, fd) in &self.spaces.join {
            match kind {
                // The clone has put the process there.
                Kind::Pid => {}
                Kind::User => {
                    namespace::join(fd.as_fd(), *kind).context("cannot join the user namespace")?;
                    become_root()?;
                }
                _ => namespace::join(fd.as_fd(), *kind)
                    .with_context(|| format!("cannot join the {} namespace", kind.name()))?,
            }
        }
        let late = self.spaces.new & (Kind::Cgroup.flag() | Kind::Time.flag());
        if late != 0 {
            namespace::unshare(late).context("cannot make namespaces")?;
        }
        debug_assert!(
            linux.time_offsets.is_empty() || late & Kind::Time.flag() != 0,
            "was validated"
        );
        Ok(())
    }

    fn set_keyring(&self) -> Result<()> {
        if self.plan.no_new_keyring {
            return Ok(());
        }
        match sys_process::join_session_keyring(&format!("_ses.{}", self.plan.id)) {
            Ok(()) => Ok(()),
            // Kernels without keyrings, and hosts that refuse them to everybody in a sandbox.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOSYS | libc::EPERM | libc::EDQUOT)
                ) =>
            {
                Ok(())
            }
            Err(error) => {
                Err(error).context("unable to join session keyring: unable to create session key")
            }
        }
    }

    /// A procfs to work with, and the same for the container if it gets one.
    fn open_proc(&self, spec: &Spec) -> Result<(ManuallyDrop<Proc>, Option<OwnedFd>)> {
        if let Some(Ok(fd)) = proc_for(spec) {
            let proc = Proc::from_mount(fd.try_clone()?);
            return Ok((ManuallyDrop::new(proc), Some(fd)));
        }
        let proc = Proc::mount().or_else(|error| self.fallback_proc(error))?;
        Ok((ManuallyDrop::new(proc), None))
    }

    /// A user namespace without a visible procfs may not mount another one.
    fn fallback_proc(&self, error: Error) -> Result<Proc> {
        match &self.plan.host_proc {
            Some(fd) if self.spaces.all() & Kind::Pid.flag() == 0 => Proc::from_fd(fd.try_clone()?),
            _ => Proc::of_host().map_err(|_| error),
        }
    }

    fn apply_settings(&self, process: &Process, linux: &Linux, proc: &Proc) -> Result<()> {
        let mut warnings = Vec::new();
        // In a new user namespace the creator has done what needs privileges on the host.
        if self.spaces.new & Kind::User.flag() == 0 {
            warnings.extend(settings::set_rlimits(
                None,
                &process.rlimits,
                self.plan.tolerate,
            )?);
            if let Some(score) = process.oom_score_adj {
                settings::set_oom_score_adj(proc, "self", score, self.plan.tolerate)?;
            }
        }
        if self.spaces.new & Kind::Time.flag() != 0 {
            if !linux.time_offsets.is_empty() {
                write_time_offsets(linux, proc)?;
            }
            enter_time_namespace(proc)?;
        }
        if let Some(personality) = &linux.personality {
            settings::set_personality(personality)?;
        }
        if let Some(scheduler) = &process.scheduler {
            settings::set_scheduler(scheduler)?;
        }
        if let Some(priority) = &process.io_priority {
            settings::set_io_priority(priority)?;
        }
        self.warn(warnings)
    }

    fn set_up_network_and_names(&self, spec: &Spec) -> Result<()> {
        if self.spaces.new & Kind::Network.flag() != 0 {
            namespace::bring_up_loopback().context("cannot bring up the loopback device")?;
        }
        if self.spaces.new & Kind::Uts.flag() != 0 || self.spaces.joined(Kind::Uts).is_some() {
            if !spec.hostname.is_empty() {
                rustix::system::sethostname(spec.hostname.as_bytes()).context("sethostname")?;
            }
            if !spec.domainname.is_empty() {
                namespace::set_domain_name(&spec.domainname).context("setdomainname")?;
            }
        }
        Ok(())
    }

    /// Puts the file system together and enters it; the terminal is made on the way, since it lives in there.
    fn build(
        &self,
        spec: &Spec,
        linux: &Linux,
        process: &Process,
        proc: &Proc,
        for_container: Option<OwnedFd>,
    ) -> Result<()> {
        let has_mounts = self.spaces.all() & Kind::Mount.flag() != 0;
        let place = if has_mounts {
            Place::OwnNamespace
        } else {
            Place::Detached
        };

        let in_user_namespace = self.spaces.all() & Kind::User.flag() != 0;
        let mut rootfs = ManuallyDrop::new(Rootfs::attach(
            self.plan,
            spec,
            linux,
            self.cgroup,
            !in_user_namespace,
            place,
        )?);
        if let Some(fd) = for_container {
            rootfs.use_proc(fd);
        }
        rootfs.mount_all()?;
        rootfs.set_up_dev()?;
        if let Some(hooks) = &spec.hooks {
            self.run_hooks(hooks, spec)?;
        }
        self.set_streams(&rootfs, process)?;
        sysctl::write_all(proc, &linux.sysctl)?;
        rootfs.make_cwd(&process.cwd)?;
        rootfs.hide()?;
        rootfs.enter(place)?;
        rootfs.finish()?;
        self.warn(std::mem::take(&mut rootfs.warnings))
    }

    fn run_hooks(&self, hooks: &gantry_oci::runtime::Hooks, spec: &Spec) -> Result<()> {
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            sync::send(self.sync, &Report::Hooks)?;
            sync::wait_continue(self.sync)?;
        }
        hooks::run_create_container(hooks, &self.hook_state(spec))
    }

    fn hook_state(&self, spec: &Spec) -> HookState {
        HookState {
            id: self.plan.id.clone(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            bundle: self.plan.bundle.clone(),
            annotations: spec
                .annotations
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    fn set_streams(&self, rootfs: &Rootfs<'_>, process: &Process) -> Result<()> {
        match &self.plan.stdio {
            Stdio::Inherit => Ok(()),
            Stdio::Fds([stdin, stdout, stderr]) => terminal::set_streams(stdin, stdout, stderr),
            Stdio::Terminal => {
                let devpts = rootfs
                    .devpts()
                    .ok_or_else(|| Error::invalid("a terminal needs a devpts mount at /dev/pts"))?;
                let ends = terminal::open(devpts, process.console_size.as_ref())?;
                rootfs.mount_console(ends.slave.as_fd())?;
                terminal::control(&ends.slave)?;
                terminal::set_streams(&ends.slave, &ends.slave, &ends.slave)?;
                let master = Report::Terminal(ends.master);
                sync::send(self.sync, &master)
            }
        }
    }

    /// Everything after the new root: labels, identity, the program's file.
    fn settle(
        &self,
        process: &Process,
        mut environment: Vec<(String, String)>,
        proc: &Proc,
        keep_admin: bool,
    ) -> Result<Program> {
        let labels = [
            lsm::set_apparmor(proc, &process.apparmor_profile)?,
            lsm::set_selinux(proc, &process.selinux_label)?,
        ];
        let mut warnings: Vec<String> = labels.into_iter().flatten().collect();
        program::add_home(&mut environment, process.user.uid);
        warnings.extend(identity::assume(process, Some(proc), keep_admin)?);
        self.warn(warnings)?;
        Program::find(process, environment)
    }

    fn wait_for_start(&self, outcome: &mut Outcome) -> Result<()> {
        match &self.plan.start {
            Start::AtOnce => Ok(()),
            Start::OnMessage => {
                sync::send(self.sync, &Report::Created)?;
                sync::wait_continue(self.sync)
            }
            Start::OnConnect(listener) => {
                sync::send(self.sync, &Report::Created)?;
                let connection =
                    rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC)
                        .context("cannot wait for the start")?;
                outcome.report_to = Some(connection);
                Ok(())
            }
        }
    }

    /// Installs the filter and executes; with `init`, forks before that and stays as the reaper.
    fn finish(&self, program: &Program, filter: Option<&[u8]>) -> Result<i32> {
        let first = 3_i32.saturating_add(i32::try_from(self.plan.preserve_fds).unwrap_or(0));
        sys_process::close_on_exec_from(first).context("cannot mark descriptors close-on-exec")?;
        if self.plan.init {
            return reaper::run(program, filter);
        }
        if let Some(filter) = filter {
            gantry_sys::seccomp::install(filter)?;
        }
        Ok(program.execute())
    }

    fn warn(&self, warnings: Vec<String>) -> Result<()> {
        for warning in warnings {
            sync::send(self.sync, &Report::Warning(warning))?;
        }
        Ok(())
    }
}

/// The bytes of a compiled filter.
pub(crate) fn read_filter(file: &OwnedFd) -> Result<Vec<u8>> {
    // The most that the kernel takes, and our record of flags.
    const FILTER_BYTES_MAX: usize = 4097 * 8;
    let map = gantry_sys::file_map::FileMap::open(file.as_fd(), FILTER_BYTES_MAX)
        .context("cannot read the seccomp filter")?;
    Ok(map.bytes().to_vec())
}

/// In a user namespace everything is made by its root; the creator's ids are nobody there.
pub(crate) fn become_root() -> Result<()> {
    use rustix::fs::{Gid, Uid};
    match thread::set_thread_groups(&[]) {
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error).context("setgroups"),
    }
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    thread::set_thread_res_gid(Some(gid), Some(gid), Some(gid))
        .context("cannot become root of the user namespace")?;
    thread::set_thread_res_uid(Some(uid), Some(uid), Some(uid))
        .context("cannot become root of the user namespace")
}

/// A time namespace that was made by unshare is for children; execve enters it since Linux 6.3 only.
fn enter_time_namespace(proc: &Proc) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = proc.open("self/ns", OFlags::PATH | OFlags::DIRECTORY)?;
    let space = rustix::fs::openat(folder, "time_for_children", flags, Mode::empty())?;
    namespace::join(space.as_fd(), Kind::Time).context("cannot enter the time namespace")
}

fn write_time_offsets(linux: &Linux, proc: &Proc) -> Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let mut text = String::new();
    for (clock, offset) in &linux.time_offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::invalid(format!(
                "invalid time offset clock {}",
                quoted(clock)
            )));
        }
        let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    // The files of a process that cannot be dumped belong to the host's root.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    let written = proc
        .write("self/timens_offsets", &text)
        .context("failed to update /proc/self/timens_offsets");
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    written
}
