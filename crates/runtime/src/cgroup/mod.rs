//! Control groups: where the hierarchies are, one container's groups in them, limits, freezing, killing, counters, removal.
//!
//! Works through directory descriptors that [`Roots::open`] takes once, so it goes on working in a forked shim whose mount
//! namespace shows no cgroup file system. Knows v1, v2, the hybrid of both, and machines (rootless) with neither.
//! Does no mounts; a container's own view of the hierarchies is mounted from [`Cgroup::open_dirs`] by the root file system code.
//! Start reading at [`Roots::create`]; `resources` sends each limit to `legacy` or `unified`, `device` has the device rules.

mod device;
mod dir;
mod freezer;
mod legacy;
mod mounts;
mod oom;
mod path;
mod process;
mod remove;
mod resources;
mod stats;
#[cfg(test)]
mod tests;
mod unified;

pub use oom::OomEvents;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use gantry_base::{Context, Error, Result};
use gantry_oci::runtime::Resources;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use dir::Dir;
use mounts::Mount;
use resources::Occasion;

/// How the controllers are spread over hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Controllers on v1 hierarchies; perhaps a v2 hierarchy beside them (hybrid).
    Legacy,
    /// One v2 hierarchy.
    Unified,
    /// No hierarchy is mounted.
    Absent,
}

/// One mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    /// Name of the mount point's directory: `cpu,cpuacct`, `memory`, `systemd`, `unified`; empty for the v2 hierarchy of [`Layout::Unified`].
    pub name: String,
    /// Its controllers; `name=systemd` for a v1 hierarchy without. Of v2, what its root offers.
    pub controllers: Vec<String>,
    /// Whether it is v2.
    pub unified: bool,
    /// The mounted root.
    pub root: OwnedFd,
    /// Where it was mounted when it was opened; for messages.
    pub(crate) point: String,
    /// The cgroup of the process that opened it, without a leading slash.
    pub(crate) own: String,
}

/// The machine's hierarchies. Opened once; inherited by forks.
#[derive(Debug)]
pub struct Roots {
    hierarchies: Vec<Hierarchy>,
    layout: Layout,
    /// Not root of the machine: some of what follows will be refused, and need not be an error.
    rootless: bool,
    /// Limits are dropped instead of refused.
    ignore_limits: bool,
}

/// A container's cgroups: one directory in each hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) roots: Arc<Roots>,
    /// Per hierarchy (same order as in `roots`): path below its root without a leading slash; none where it has no cgroup.
    paths: Vec<Option<String>>,
}

impl Roots {
    /// Finds and opens the hierarchies that are mounted in the caller's mount namespace.
    ///
    /// The descriptors belong to mounts of that namespace: for `open_tree` of them call this in the namespace that clones them, or see [`Roots::rehome`].
    pub fn open() -> Result<Self> {
        let mounts = mounts::read().context("cannot find the cgroup hierarchies")?;
        let mut hierarchies = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::open(&mount.point, flags, Mode::empty()) {
                Ok(root) => hierarchies.push(Hierarchy::new(mount, root)?),
                // Mounted over or not for us.
                Err(Errno::NOENT | Errno::ACCESS) => {}
                Err(error) => {
                    return Err(Error::from(io::Error::from(error))
                        .prefixed(format!("open {}", mount.point)));
                }
            }
        }
        Ok(Self::from_hierarchies(hierarchies, is_rootless()))
    }

    /// No cgroups at all: every operation of the containers' cgroups does nothing, limits are dropped.
    pub fn absent() -> Self {
        Self {
            ignore_limits: true,
            ..Self::from_hierarchies(Vec::new(), true)
        }
    }

    fn from_hierarchies(mut hierarchies: Vec<Hierarchy>, rootless: bool) -> Self {
        let controllers = hierarchies.iter().any(|hierarchy| {
            !hierarchy.unified
                && hierarchy
                    .controllers
                    .iter()
                    .any(|name| !name.starts_with("name="))
        });
        let unified = hierarchies.iter().any(|hierarchy| hierarchy.unified);
        let layout = match (controllers, unified) {
            (true, _) => Layout::Legacy,
            (false, true) => Layout::Unified,
            (false, false) => Layout::Absent,
        };
        if layout == Layout::Unified {
            // A named v1 hierarchy beside a whole v2 is a leftover that nobody looks at.
            hierarchies.retain(|hierarchy| hierarchy.unified);
            for hierarchy in &mut hierarchies {
                hierarchy.name.clear();
            }
        }
        Self {
            hierarchies,
            layout,
            rootless,
            ignore_limits: false,
        }
    }

    /// Exchanges each root's descriptor for another one of the same directory, as in another mount namespace's mount.
    pub fn rehome(
        &mut self,
        mut exchange: impl FnMut(&Hierarchy) -> Result<OwnedFd>,
    ) -> Result<()> {
        self.hierarchies.iter_mut().try_for_each(|hierarchy| {
            hierarchy.root = exchange(hierarchy)?;
            Ok(())
        })
    }

    /// How the controllers are spread.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The hierarchies, in the order of their mounts.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Makes a container's cgroups and sets its limits. `path` is the specification's `cgroupsPath`;
    /// if that is relative, it is below the caller's own cgroup (v2: beside it). On an error nothing is left.
    pub fn create(self: &Arc<Self>, path: &str, resources: &Resources) -> Result<Cgroup> {
        let (absolute, path) = path::clean(path)?;
        if self.layout == Layout::Absent
            && !self.ignore_limits
            && resources::wants_limits(resources)
        {
            return Err(Error::not_implemented(
                "cannot set limits: no cgroup hierarchy is mounted",
            ));
        }
        let mut cgroup = Cgroup {
            roots: Arc::clone(self),
            paths: vec![None; self.hierarchies.len()],
        };
        let mut made = Vec::new();
        let result = cgroup.make_dirs(absolute, &path, resources, &mut made);
        let result = result.and_then(|()| resources::set(&cgroup, resources, Occasion::Creation));
        match result {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                for (at, path) in cgroup.paths.iter_mut().enumerate() {
                    path.take_if(|_| !made.contains(&at));
                }
                // The first error is the one to report.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// The cgroups that [`Cgroup::paths`] described; asks no kernel whether they exist.
    pub fn find(self: &Arc<Self>, paths: &[(String, String)]) -> Cgroup {
        let known = |hierarchy: &Hierarchy| paths.iter().find(|(name, _)| *name == hierarchy.name);
        let path = |hierarchy: &Hierarchy| {
            known(hierarchy)
                .map(|(_, path)| path.trim_matches('/').to_owned())
                .filter(|path| !path.is_empty())
        };
        Cgroup {
            roots: Arc::clone(self),
            paths: self.hierarchies.iter().map(path).collect(),
        }
    }
}

impl Hierarchy {
    fn new(mount: Mount, root: OwnedFd) -> Result<Self> {
        let name = mount
            .point
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let mut hierarchy = Self {
            name,
            controllers: mount.controllers,
            unified: mount.unified,
            root,
            point: mount.point,
            own: mount.own,
        };
        if hierarchy.unified {
            let listed = Dir::new(&hierarchy, "").read("cgroup.controllers")?;
            hierarchy.controllers = listed.split_whitespace().map(str::to_owned).collect();
        }
        Ok(hierarchy)
    }
}

impl Cgroup {
    /// Hierarchy name and absolute path in it, for [`Roots::find`] in another process.
    pub fn paths(&self) -> Vec<(String, String)> {
        self.dirs()
            .map(|dir| (dir.hierarchy.name.clone(), format!("/{}", dir.path)))
            .collect()
    }

    /// Hierarchy name and a directory of the container's cgroup (`O_PATH`), for the container's own view.
    pub fn open_dirs(&self) -> Result<Vec<(String, OwnedFd)>> {
        self.dirs()
            .map(|dir| Ok((dir.hierarchy.name.clone(), dir.open_self(OFlags::PATH)?)))
            .collect()
    }

    /// What the container is to see at `/sys/fs/cgroup`, by hierarchy name, as detached mounts: of a hybrid machine the v1 part,
    /// which is what programs look for there. None where the mounts of [`Roots`] are not in the caller's mount namespace.
    pub fn clone_view(&self) -> Vec<(String, OwnedFd)> {
        let unified = self.roots.layout == Layout::Unified;
        let shown = self.dirs().filter(|dir| dir.hierarchy.unified == unified);
        let tree = |dir: Dir<'_>| {
            let path = std::path::Path::new(dir.path);
            let tree = gantry_sys::mount::clone_at(&dir.hierarchy.root, path).ok()?;
            Some((dir.hierarchy.name.clone(), tree))
        };
        shown.map(tree).collect::<Option<_>>().unwrap_or_default()
    }

    /// For `CLONE_INTO_CGROUP`: the directory in the v2 hierarchy, if there is one (also on hybrid machines).
    pub fn clone_target(&self) -> Result<Option<OwnedFd>> {
        self.unified_dir()
            .map(|dir| dir.open_self(OFlags::PATH))
            .transpose()
    }

    /// Moves the calling, single-threaded process into the v1 cgroups (and into v2's, if `into_unified`,
    /// for callers that were not cloned with [`Cgroup::clone_target`]). To be called before the cgroup namespace is unshared.
    ///
    /// A lone thread that moves itself through `tasks` spares the grace period of RCU that `cgroup.procs` costs.
    pub fn join_self(&self, into_unified: bool) -> Result<()> {
        const WHAT: &str = "unable to apply cgroup configuration";
        for dir in self.dirs() {
            if dir.hierarchy.unified {
                if into_unified {
                    dir.write("cgroup.procs", 0).context(WHAT)?;
                }
                continue;
            }
            match dir.try_write("tasks", "0") {
                Ok(()) => {}
                // A cpuset without processors or memory nodes takes nobody in.
                Err(error) if dir::is(&error, Errno::NOSPC) => {
                    legacy::fill_cpuset(dir.hierarchy, dir.path)
                        .map_err(|error| dir.write_error("tasks", "0", error))
                        .context(WHAT)?;
                    dir.write("tasks", 0).context(WHAT)?;
                }
                Err(error) => return Err(dir.write_error("tasks", "0", error)).context(WHAT),
            }
        }
        Ok(())
    }

    /// Changes limits; absent ones stay as they are.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        resources::set(self, resources, Occasion::Update)
    }

    /// Stops every process and waits until all are stopped.
    pub fn freeze(&self) -> Result<()> {
        freezer::freeze(self)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        freezer::thaw(self)
    }

    /// Whether [`Cgroup::freeze`] is in force.
    pub fn is_frozen(&self) -> Result<bool> {
        freezer::is_frozen(self)
    }

    /// Kills every process, in nested cgroups too; does not wait until they are gone.
    /// False: there are no cgroups, so the caller has to find the processes otherwise.
    pub fn kill_all(&self) -> Result<bool> {
        process::kill(self)
    }

    /// Sends `signal` to every process.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        process::signal(self, signal)
    }

    /// All processes, in nested cgroups too, in the caller's pid namespace; sorted.
    pub fn procs(&self) -> Result<Vec<i32>> {
        Ok(process::list(self)?.into_iter().collect())
    }

    /// Raw counters: file name and content. The names of v1's files begin with their controller's name, v2's are those of its one directory.
    pub fn stats(&self) -> Vec<(String, String)> {
        stats::read(self)
    }

    /// How many processes the kernel has killed here for want of memory.
    pub fn oom_kill_count(&self) -> Result<u64> {
        oom::kill_count(self)
    }

    /// A descriptor that tells of OOM kills; none without a memory controller.
    pub fn oom_events(&self) -> Result<Option<OomEvents>> {
        oom::events(self)
    }

    /// Removes the directories, nested ones too. Retries for a while while the last processes vanish.
    pub fn remove(&self) -> Result<()> {
        remove::all(self)
    }

    fn dirs(&self) -> impl Iterator<Item = Dir<'_>> {
        self.roots
            .hierarchies
            .iter()
            .zip(&self.paths)
            .filter_map(|(hierarchy, path)| Some(Dir::new(hierarchy, path.as_deref()?)))
    }

    fn unified_dir(&self) -> Option<Dir<'_>> {
        self.dirs().find(|dir| dir.hierarchy.unified)
    }

    /// The directory in the hierarchy with this controller, named as in v1; v1 is preferred.
    fn controller(&self, name: &str) -> Result<Dir<'_>> {
        let unified_name = match name {
            "blkio" => "io",
            other => other,
        };
        let legacy = self.dirs().find(|dir| {
            !dir.hierarchy.unified && dir.hierarchy.controllers.iter().any(|one| one == name)
        });
        let in_unified = |dir: &Dir<'_>| {
            // Device rules are programs there, which need no controller.
            (name == "devices" && self.roots.layout == Layout::Unified)
                || dir
                    .hierarchy
                    .controllers
                    .iter()
                    .any(|one| one == unified_name)
        };
        legacy
            .or_else(|| self.unified_dir().filter(in_unified))
            .ok_or_else(|| {
                Error::not_implemented(format!(
                    "cannot set {name} limit: container could not join or create cgroup"
                ))
            })
    }

    /// Makes the directory in every hierarchy; those that were not there before are noted in `made`.
    fn make_dirs(
        &mut self,
        absolute: bool,
        path: &str,
        resources: &Resources,
        made: &mut Vec<usize>,
    ) -> Result<()> {
        let roots = Arc::clone(&self.roots);
        for (at, hierarchy) in roots.hierarchies.iter().enumerate() {
            let path = path::resolve(hierarchy, absolute, path);
            match make_dir(hierarchy, &path) {
                Ok(true) => made.push(at),
                Ok(false) => refuse_inhabited(&Dir::new(hierarchy, &path))?,
                // An unprivileged user who asked for nothing gets along without.
                Err(error) if roots.rootless && !absolute && is_permission(&error) => {
                    if resources::wants_limits(resources) && roots.layout == Layout::Unified {
                        let error = Error::from(error)
                            .prefixed(format!("mkdir {}", Dir::new(hierarchy, &path).shown("")));
                        return Err(error.prefixed("rootless needs no limits + no cgrouppath when no permission is granted for cgroups"));
                    }
                    continue;
                }
                Err(error) => {
                    return Err(Error::from(error)
                        .prefixed(format!("mkdir {}", Dir::new(hierarchy, &path).shown(""))));
                }
            }
            // On hybrid machines v2 is joined for its way of killing; a controller there is turned on only for a limit.
            let wanted = roots.layout == Layout::Unified
                || (resources::wants_limits(resources) && !hierarchy.controllers.is_empty());
            if hierarchy.unified && wanted {
                unified::enable_controllers(hierarchy, &path)?;
            }
            self.paths[at] = Some(path);
        }
        Ok(())
    }
}

/// Whether the directory was made, rather than found.
fn make_dir(hierarchy: &Hierarchy, path: &str) -> io::Result<bool> {
    let mkdir = |path: &str| rustix::fs::mkdirat(&hierarchy.root, path, Mode::from_raw_mode(0o755));
    match mkdir(path) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => return Ok(false),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    for end in path.match_indices('/').map(|(end, _)| end) {
        match mkdir(&path[..end]) {
            Err(Errno::EXIST) => continue,
            other => other?,
        }
        if hierarchy.controllers.iter().any(|name| name == "cpuset") && !hierarchy.unified {
            // Children then begin with what their parent has, which spares each container's start the copying.
            legacy::fill_cpuset(hierarchy, &path[..end])?;
            Dir::new(hierarchy, &path[..end]).try_write("cgroup.clone_children", "1")?;
        }
    }
    match mkdir(path) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Two containers in one cgroup would be killed and frozen together.
fn refuse_inhabited(dir: &Dir<'_>) -> Result<()> {
    let processes = dir.read("cgroup.procs")?.lines().count();
    if processes == 0 {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "container's cgroup is not empty: {processes} process(es) found"
    )))
}

fn is_permission(error: &io::Error) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS]
        .into_iter()
        .any(|errno| dir::is(error, errno))
}

/// Not root, or root of a user namespace other than the machine's.
fn is_rootless() -> bool {
    let whole = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    !rustix::process::geteuid().is_root()
        || !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(whole)
}
