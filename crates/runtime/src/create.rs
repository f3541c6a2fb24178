//! The creator's side of a container's start: cgroups, the clone, id maps, hooks, and the conversation with init.
//!
//! Reads little and remembers little, since the creator is the shim that lives as long as the container.
//! What happens in the new process is in [`crate::init`].

use gantry_sys::namespace::{self, Kind};
use gantry_sys::{clone, fdpass, pidfd};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::cgroup::{Cgroup, Layout, Roots};
use crate::error::{Context, Error, Result};
use crate::hooks::{self, HookState};
use crate::init;
use crate::outline::{Annotations, Outline};
use crate::plan::{Plan, Start};
use crate::rootfs::CgroupView;
use crate::sync::{self, Report};
use crate::userns;
use gantry_oci::runtime::{Hooks, Namespace};
use std::sync::Arc;

/// A created or running container, as its creator sees it. Dropping it leaves the container alone.
#[derive(Debug)]
pub struct Init {
    /// Of the first process, in the caller's pid namespace.
    pub pid: i32,
    /// The first process.
    pub pidfd: OwnedFd,
    /// Holds the mounts: to be dropped after the end was reported, since unmounting takes time.
    pub mount_namespace: Option<OwnedFd>,
    /// Its cgroups.
    pub cgroup: Cgroup,
    /// Its namespaces (`CLONE_NEW…` bits) that are not the creator's.
    pub namespaces: u64,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// What was approximated.
    pub warnings: Vec<String>,
    sync: OwnedFd,
}

impl Init {
    /// Executes the program of a container made with [`Start::OnMessage`]; returns once that happened.
    pub fn start(&mut self) -> Result<()> {
        sync::send_continue(&self.sync).context("cannot start a container that has stopped")?;
        loop {
            match sync::receive(&self.sync)? {
                None => return Ok(()),
                Some(Report::Failed(error)) => return Err(error),
                Some(Report::Warning(text)) => self.warnings.push(text),
                Some(_) => {}
            }
        }
    }
}

/// What [`Starting::step`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Init goes on.
    Pending,
    /// Init waits for the start.
    Created,
    /// The program was executed.
    Running,
}

/// A container on its way. Dropped before its end is reached, it is killed and its cgroups are removed.
#[derive(Debug)]
pub struct Starting {
    init: Option<Init>,
    hooks: Option<(Hooks, HookState)>,
}

/// Creates a container and waits until its program was executed.
pub fn run(plan: Plan) -> Result<Init> {
    let mut starting = spawn(plan)?;
    loop {
        match starting.step()? {
            Progress::Running => return Ok(starting.into_init()),
            Progress::Created => starting.continue_start()?,
            Progress::Pending => {}
        }
    }
}

/// Creates a container and waits until init is ready to execute the program.
pub fn create(plan: Plan) -> Result<Init> {
    let mut starting = spawn(plan)?;
    loop {
        match starting.step()? {
            Progress::Running | Progress::Created => return Ok(starting.into_init()),
            Progress::Pending => {}
        }
    }
}

/// The other side of [`Start::OnConnect`]: with a connection to the socket on which init waits, returns once the program was
/// executed.
pub fn wait_for_start(connection: &OwnedFd) -> Result<()> {
    loop {
        match sync::receive(connection)? {
            None => return Ok(()),
            Some(Report::Failed(error)) => return Err(error),
            Some(_) => {}
        }
    }
}

/// Clones a container's init and returns at once; see [`Starting`].
pub fn spawn(plan: Plan) -> Result<Starting> {
    let outline = Outline::of(&plan.config)?;
    let linux = outline.linux.unwrap_or_default();
    let spaces = Spaces::new(&plan, &linux.namespaces)?;
    let process = outline.process.unwrap_or_default();
    let maps = userns::Maps::new(
        &linux.uid_mappings,
        &linux.gid_mappings,
        spaces.new & Kind::User.flag() != 0,
    )?;
    let cgroup = make_cgroup(
        &plan,
        &linux.cgroups_path,
        &linux.resources.unwrap_or_default(),
    )?;
    let mut cgroup = RemoveOnDrop(Some(cgroup));
    let (ours, theirs) = fdpass::pair().context("cannot make a socket pair")?;
    let child = clone_init(&plan, &spaces, cgroup.get(), &theirs)?;
    drop(theirs);
    let mount_namespace = spaces.mount_namespace(&child, &plan);
    let cgroup = cgroup.0.take().expect("was set above");
    let hooks = outline.hooks.map(|hooks| {
        (
            hooks,
            hook_state(&plan, child.pid, outline.annotations.unwrap_or_default()),
        )
    });
    let init = Init {
        pid: child.pid,
        pidfd: child.pidfd,
        mount_namespace,
        cgroup,
        namespaces: spaces.all(),
        terminal: None,
        warnings: Vec::new(),
        sync: ours,
    };
    let starting = Starting {
        init: Some(init),
        hooks,
    };
    if let Some(maps) = maps {
        let init = starting.init();
        maps.write(init.pid, plan.host_proc.as_ref())?;
        userns::apply_privileged(init.pid, &process, &plan)?;
        sync::send_continue(&init.sync).context("container init ended early")?;
    }
    Ok(starting)
}

impl Starting {
    /// The container's init, so that it can be killed meanwhile.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.init().pidfd.as_fd()
    }

    /// Takes one report of init; blocks until there is one ([`AsFd`] becomes readable then).
    ///
    /// # Errors
    /// Why the start failed; init has ended and was reaped, its cgroups are removed.
    pub fn step(&mut self) -> Result<Progress> {
        let report = sync::receive(&self.init().sync);
        let result = match report {
            Ok(report) => self.take(report),
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.abandon();
        }
        result
    }

    /// Lets a container made with [`Start::OnMessage`] go on.
    pub fn continue_start(&mut self) -> Result<()> {
        sync::send_continue(&self.init().sync)
    }

    /// The container, once [`Progress::Created`] or [`Progress::Running`] was reached.
    ///
    /// # Panics
    /// After [`Starting::step`] failed.
    pub fn into_init(mut self) -> Init {
        self.init.take().expect("a failed start has no init")
    }

    fn init(&self) -> &Init {
        self.init.as_ref().expect("a failed start has no init")
    }

    fn take(&mut self, report: Option<Report>) -> Result<Progress> {
        let init = self
            .init
            .as_mut()
            .ok_or_else(|| Error::internal("the start has failed before"))?;
        match report {
            None => {
                if was_killed_for_memory(init) {
                    return Err(Error::internal(
                        "container init was OOM-killed (memory limit too low?)",
                    ));
                }
                if let Some((hooks, state)) = &self.hooks {
                    init.warnings.extend(hooks::run_poststart(hooks, state)?);
                }
                return Ok(Progress::Running);
            }
            Some(Report::Created) => return Ok(Progress::Created),
            Some(Report::Failed(error)) => return Err(error),
            Some(Report::Warning(text)) => init.warnings.push(text),
            Some(Report::Terminal(master)) => init.terminal = Some(master),
            Some(Report::Process(pid, pidfd)) => {
                (init.pid, init.pidfd) = (pid, pidfd);
            }
            Some(Report::Hooks) => {
                if let Some((hooks, state)) = &self.hooks {
                    hooks::run_runtime(hooks, state).context("error during container init")?;
                }
                sync::send_continue(&init.sync)?;
            }
        }
        Ok(Progress::Pending)
    }

    /// Ends, reaps and removes what there is.
    fn abandon(&mut self) {
        let Some(init) = self.init.take() else { return };
        let _ = pidfd::send_signal(&init.pidfd, libc::SIGKILL);
        let _ = pidfd::wait(&init.pidfd);
        let _ = init.cgroup.remove();
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.init().sync.as_fd()
    }
}

/// The end of the conversation means that the program was executed, unless the kernel killed init before that.
fn was_killed_for_memory(init: &Init) -> bool {
    pidfd::has_ended(&init.pidfd).unwrap_or(false) && init.cgroup.oom_kill_count().unwrap_or(0) > 0
}

/// Which namespaces are made and which are joined.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    /// `CLONE_NEW…` bits to make.
    pub(crate) new: u64,
    /// To join, in the order in which that has to happen.
    pub(crate) join: Vec<(Kind, OwnedFd)>,
}

impl Spaces {
    fn new(plan: &Plan, configured: &[Namespace]) -> Result<Self> {
        let mut spaces = Self::default();
        let mut seen = 0;
        for namespace in configured {
            let kind = Kind::parse(&namespace.kind).ok_or_else(|| {
                Error::invalid(format!("namespace {:?} does not exist", namespace.kind))
            })?;
            if seen & kind.flag() != 0 {
                return Err(Error::invalid(format!(
                    "duplicated ns {:?}",
                    namespace.kind
                )));
            }
            seen |= kind.flag();
            let given = plan.namespaces.iter().any(|(other, _)| *other == kind);
            if given {
                continue;
            }
            if namespace.path.is_empty() {
                spaces.new |= kind.flag();
            } else {
                let fd = open_namespace(&PathBuf::from(&namespace.path))?;
                spaces.join.push((kind, fd));
            }
        }
        for (kind, fd) in &plan.namespaces {
            spaces.join.push((*kind, fd.try_clone()?));
        }
        spaces
            .join
            .sort_by_key(|(kind, _)| Kind::ALL.iter().position(|other| other == kind));
        Ok(spaces)
    }

    pub(crate) fn all(&self) -> u64 {
        self.join
            .iter()
            .fold(self.new, |flags, (kind, _)| flags | kind.flag())
    }

    pub(crate) fn joined(&self, kind: Kind) -> Option<BorrowedFd<'_>> {
        self.join
            .iter()
            .find(|(other, _)| *other == kind)
            .map(|(_, fd)| fd.as_fd())
    }

    /// The bits for clone3. A cgroup namespace has to wait until the cgroup was joined; a time namespace until its
    /// offsets are set.
    fn clone_flags(&self) -> u64 {
        self.new & !(Kind::Cgroup.flag() | Kind::Time.flag())
    }

    fn mount_namespace(&self, child: &clone::Child, plan: &Plan) -> Option<OwnedFd> {
        if self.new & Kind::Mount.flag() == 0 {
            return None;
        }
        match pidfd::mount_namespace(&child.pidfd) {
            Ok(fd) => Some(fd),
            // Before 6.11. That it is not held costs time at the end, nothing else.
            Err(_) => userns::host_proc(plan.host_proc.as_ref())
                .ok()
                .and_then(|proc| open_link(&proc, &format!("{}/ns/mnt", child.pid)).ok()),
        }
    }
}

fn open_link(dir: impl AsFd, path: &str) -> std::io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        dir,
        path,
        flags,
        rustix::fs::Mode::empty(),
    )?)
}

fn open_namespace(path: &std::path::Path) -> Result<OwnedFd> {
    open_link(rustix::fs::CWD, &path.to_string_lossy())
        .with_context(|| format!("invalid namespace path: open {}", path.display()))
        .map_err(|error| Error::invalid(error.message))
}

fn make_cgroup(
    plan: &Plan,
    path: &str,
    resources: &gantry_oci::runtime::Resources,
) -> Result<Cgroup> {
    let path = if path.is_empty() { &plan.id } else { path };
    if plan.cgroups.layout() == Layout::Absent {
        return Ok(plan.cgroups.find(&[]));
    }
    let made = plan.cgroups.create(path, resources);
    if made.is_err() && plan.tolerate.cgroup {
        return Ok(Arc::new(Roots::absent()).find(&[]));
    }
    made.map_err(Error::from)
}

fn clone_init(
    plan: &Plan,
    spaces: &Spaces,
    cgroup: &Cgroup,
    theirs: &OwnedFd,
) -> Result<clone::Child> {
    let target = cgroup.clone_target().ok().flatten();
    let options = clone::Clone {
        namespaces: spaces.clone_flags(),
        cgroup: target.as_ref().map(AsFd::as_fd),
    };
    let view = cgroup.clone_view();
    let context = init::Setup {
        plan,
        spaces,
        cgroup: CgroupView {
            cgroup,
            trees: &view,
        },
        sync: theirs.as_fd(),
        in_unified: target.is_some(),
    };
    in_pid_namespace(spaces.joined(Kind::Pid), || {
        #[expect(unsafe_code, reason = "the one clone of a container's init")]
        // SAFETY: the caller of this crate is single-threaded, as the crate demands.
        let child = unsafe { clone::spawn(&options, || init::main(&context)) };
        child.context("unable to start container process: cannot clone")
    })
}

/// Calls `make` so that the processes it makes are in another pid namespace.
pub(crate) fn in_pid_namespace<T>(
    namespace: Option<BorrowedFd<'_>>,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(namespace) = namespace else {
        return make();
    };
    let pid = i32::try_from(std::process::id()).expect("the kernel's pids fit");
    let own = pidfd::open(pid).context("cannot open a descriptor of this process")?;
    namespace::join(namespace, Kind::Pid).context("cannot join the pid namespace")?;
    let made = make();
    // Only what later children get was changed. Joining by the own pidfd needs no procfs.
    namespace::join_process(own.as_fd(), Kind::Pid.flag())
        .context("cannot return to the own pid namespace")?;
    made
}

fn hook_state(plan: &Plan, pid: i32, annotations: Annotations) -> HookState {
    HookState {
        id: plan.id.clone(),
        pid,
        bundle: plan.bundle.clone(),
        annotations,
    }
}

struct RemoveOnDrop(Option<Cgroup>);

impl RemoveOnDrop {
    fn get(&self) -> &Cgroup {
        self.0.as_ref().expect("is only taken at the end")
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            let _ = cgroup.remove();
        }
    }
}

/// Numbers of the descriptors that init keeps.
pub(crate) fn kept_fds(plan: &Plan, spaces: &Spaces, sync: BorrowedFd<'_>) -> Vec<i32> {
    let mut fds = plan.fds();
    fds.extend(spaces.join.iter().map(|(_, fd)| fd.as_raw_fd()));
    fds.push(sync.as_raw_fd());
    debug_assert!(
        !matches!(&plan.start, Start::OnConnect(listener) if !fds.contains(&listener.as_raw_fd()))
    );
    fds
}
