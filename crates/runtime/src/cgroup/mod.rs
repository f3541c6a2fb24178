//! Control groups: where the hierarchies are, one container's groups in them, limits, freezing, killing, counters, removal.
//!
//! Works through directory descriptors that [`Roots::open`] takes once, so it goes on working in a forked shim whose mount
//! namespace shows no cgroup file system. Knows v1, v2, the hybrid of both, and machines (rootless) with neither.
//! Does no mounts; a container's own view of the hierarchies is mounted from [`Roots::hierarchies`] by the root file system code.
//! Start reading at [`Roots::create`].

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use gantry_base::{Error, Result};
use gantry_oci::runtime::Resources;

/// How the controllers are spread over hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Controllers on v1 hierarchies; perhaps a v2 hierarchy beside them (hybrid).
    Legacy,
    /// One v2 hierarchy.
    Unified,
    /// No hierarchy is mounted or none may be written (rootless without delegation).
    Absent,
}

/// One mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    /// Name of the mount point's directory: `cpu,cpuacct`, `memory`, `systemd`, `unified`; empty for the v2 hierarchy of [`Layout::Unified`].
    pub name: String,
    /// Its controllers; `name=systemd` for a named v1 hierarchy. Empty for v2.
    pub controllers: Vec<String>,
    /// Whether it is v2.
    pub unified: bool,
    pub(crate) root: OwnedFd,
    pub(crate) own: String,
}

/// The machine's hierarchies. Opened once; inherited by forks.
#[derive(Debug)]
pub struct Roots {
    pub(crate) hierarchies: Vec<Hierarchy>,
    pub(crate) layout: Layout,
}

/// A container's cgroups: one directory in each hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) roots: Arc<Roots>,
    /// Per hierarchy (same order as in `roots`): path below its root without a leading slash; none where it has no cgroup.
    pub(crate) paths: Vec<Option<String>>,
}

/// A descriptor for epoll that becomes readable when memory ran out or the cgroup is going away.
#[derive(Debug)]
pub struct OomEvents {
    pub(crate) fd: OwnedFd,
}

impl Roots {
    /// Finds and opens the hierarchies that are mounted in the caller's mount namespace.
    pub fn open() -> Result<Self> {
        Err(Error::not_implemented("cgroups are not built yet"))
    }
    /// No cgroups at all: every operation of the containers' cgroups does nothing.
    pub fn absent() -> Self {
        Self { hierarchies: Vec::new(), layout: Layout::Absent }
    }
    /// How the controllers are spread.
    pub fn layout(&self) -> Layout {
        self.layout
    }
    /// The hierarchies, in the order of their mounts; for a container's `/sys/fs/cgroup` see [`Cgroup::open_dirs`].
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }
    /// Makes a container's cgroups and sets its limits. `path` is the specification's `cgroupsPath`;
    /// if that is relative, it is below the caller's own cgroup. On an error nothing is left.
    pub fn create(self: &Arc<Self>, path: &str, resources: &Resources) -> Result<Cgroup> {
        let _ = (path, resources);
        Err(Error::not_implemented("cgroups are not built yet"))
    }
    /// The cgroups that [`Cgroup::paths`] described; asks no kernel whether they exist.
    pub fn find(self: &Arc<Self>, paths: &[(String, String)]) -> Cgroup {
        let _ = paths;
        Cgroup { roots: Arc::clone(self), paths: Vec::new() }
    }
}

impl Cgroup {
    /// Hierarchy name and absolute path in it, for [`Roots::find`] in another process.
    pub fn paths(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    /// Hierarchy name and an open directory of the container's cgroup, for the container's own view.
    pub fn open_dirs(&self) -> Result<Vec<(String, OwnedFd)>> {
        Ok(Vec::new())
    }
    /// For `CLONE_INTO_CGROUP`: the directory in the v2 hierarchy, if there is one (also on hybrid machines).
    pub fn clone_target(&self) -> Result<Option<OwnedFd>> {
        Ok(None)
    }
    /// Moves the calling, single-threaded process into the v1 cgroups (and into v2's, if `into_unified`,
    /// for callers that were not cloned with [`Cgroup::clone_target`]). To be called before the cgroup namespace is unshared.
    pub fn join_self(&self, into_unified: bool) -> Result<()> {
        let _ = into_unified;
        Ok(())
    }
    /// Changes limits; absent ones stay as they are.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let _ = resources;
        Ok(())
    }
    /// Stops every process and waits until all are stopped.
    pub fn freeze(&self) -> Result<()> {
        Ok(())
    }
    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        Ok(())
    }
    /// Whether they are stopped.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(false)
    }
    /// Kills every process, in nested cgroups too. False: there are no cgroups, so the caller has to find the processes otherwise.
    pub fn kill_all(&self) -> Result<bool> {
        Ok(false)
    }
    /// Sends `signal` to every process.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        let _ = signal;
        Ok(())
    }
    /// All processes, in nested cgroups too, in the caller's pid namespace; sorted.
    pub fn procs(&self) -> Result<Vec<i32>> {
        Ok(Vec::new())
    }
    /// Raw counters: file name (prefixed by the controller where ambiguous) and content.
    pub fn stats(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    /// How many processes the kernel has killed here for want of memory.
    pub fn oom_kill_count(&self) -> Result<u64> {
        Ok(0)
    }
    /// A descriptor that tells of OOM kills; none without a memory controller.
    pub fn oom_events(&self) -> Result<Option<OomEvents>> {
        Ok(None)
    }
    /// Removes the directories, nested ones too. Retries for a while while the last processes vanish.
    pub fn remove(&self) -> Result<()> {
        Ok(())
    }
}

impl OomEvents {
    /// For epoll: readable on news.
    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.fd.as_fd()
    }
    /// Makes the descriptor quiet again. The caller then compares [`Cgroup::oom_kill_count`] with what it knew.
    pub fn drain(&self) -> Result<()> {
        Ok(())
    }
}
