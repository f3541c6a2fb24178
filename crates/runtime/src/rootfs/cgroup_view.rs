//! What a container sees of its cgroups: a mount of type `cgroup` in the configuration.
//!
//! With v1 a tmpfs with one directory a hierarchy, each showing the container's own cgroup as its root; with v2 that cgroup.

use gantry_oci::runtime::Mount;
use gantry_sys::mount::{self, Attributes, Change};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

use super::options::Options;
use super::{Rootfs, clean};
use crate::cgroup::{Hierarchy, Layout};
use crate::error::{Context, Result};

impl Rootfs<'_> {
    pub(super) fn mount_cgroup(&mut self, mount: &Mount, options: &Options) -> Result<()> {
        let path = clean(&mount.destination);
        let target = self.root.mkdir_all(&path, 0o755)?;
        if self.plan.cgroups.layout() == Layout::Unified
            && let Some((name, dir)) = self.cgroup.open_dirs()?.into_iter().next()
        {
            let fd = self.own_cgroup(&name, &dir, &target, options)?;
            return self.place(mount, options, fd, &target, false);
        }
        let wanted = options.set.without(Attributes::READ_ONLY);
        let tmpfs =
            mount::new_filesystem("tmpfs", Some("tmpfs"), &[("mode", Some("755"))], wanted)?;
        let mut dirs = self.cgroup.open_dirs()?;
        // Of a hybrid layout only the v1 part is shown, which is what programs look for there.
        let hierarchies = self.plan.cgroups.hierarchies();
        dirs.retain(|(name, _)| {
            hierarchies
                .iter()
                .any(|hierarchy| hierarchy.name == *name && !hierarchy.unified)
        });
        for (name, _) in &dirs {
            rustix::fs::mkdirat(&tmpfs, name, Mode::from_raw_mode(0o755))?;
            // `cpu,cpuacct` is also found as `cpu` and as `cpuacct`.
            for part in name.split(',').filter(|part| part != name) {
                rustix::fs::symlinkat(name, &tmpfs, part)?;
            }
        }
        self.place(mount, options, tmpfs.try_clone()?, &target, false)?;
        for (name, dir) in &dirs {
            let place = rustix::fs::openat(
                &tmpfs,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let fd = self
                .own_cgroup(name, dir, &place, options)
                .with_context(|| format!("cgroup {name}"))?;
            mount::attach(&fd, &place)?;
        }
        if options.set.contains(Attributes::READ_ONLY) {
            self.read_only_later.push(tmpfs);
        }
        Ok(())
    }

    /// A detached mount of the container's cgroup in one hierarchy. `place` is where it will be.
    fn own_cgroup(
        &self,
        name: &str,
        dir: &OwnedFd,
        place: &OwnedFd,
        options: &Options,
    ) -> Result<OwnedFd> {
        let change = Change {
            set: options.set,
            clear: options.clear,
            ..Change::default()
        };
        // Works if the descriptor's mount is in this mount namespace.
        let copy = match mount::clone_fd(dir, false) {
            Ok(copy) => copy,
            Err(_) => self.fresh_cgroup(name, place)?,
        };
        mount::change(&copy, &change)?;
        Ok(copy)
    }

    /// The same from a new mount of the hierarchy, for runtimes whose mount namespace does not have it.
    fn fresh_cgroup(&self, name: &str, place: &OwnedFd) -> Result<OwnedFd> {
        let hierarchies = self.plan.cgroups.hierarchies();
        let hierarchy = hierarchies
            .iter()
            .find(|hierarchy| hierarchy.name == name)
            .ok_or_else(|| crate::Error::internal("the hierarchy is not known"))?;
        let whole = mount_hierarchy(hierarchy)?;
        let paths = self.cgroup.paths();
        let path = paths
            .iter()
            .find(|(other, _)| other == name)
            .map_or("/", |(_, path)| path.as_str());
        let relative = path.trim_start_matches('/');
        // In a cgroup namespace of its own, the container's cgroup is the root already.
        if relative.is_empty() || self.has_cgroup_namespace() {
            return Ok(whole);
        }
        let below = |root: &OwnedFd| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(root.as_fd(), relative, flags, Mode::empty())
        };
        // Copying a part of a detached mount is possible since 6.15; before that it has to be attached for the moment.
        if let Ok(copy) = mount::clone_fd(below(&whole)?, false) {
            return Ok(copy);
        }
        mount::attach(&whole, place)?;
        let copy = mount::clone_fd(below(&whole)?, false);
        rustix::process::fchdir(&whole)?;
        rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")?;
        Ok(copy?)
    }

    fn has_cgroup_namespace(&self) -> bool {
        self.linux
            .namespaces
            .iter()
            .any(|namespace| namespace.kind == "cgroup")
    }
}

fn mount_hierarchy(hierarchy: &Hierarchy) -> Result<OwnedFd> {
    if hierarchy.unified {
        return Ok(mount::new_filesystem(
            "cgroup2",
            Some("cgroup2"),
            &[],
            Attributes::NONE,
        )?);
    }
    let mut options: Vec<(&str, Option<&str>)> = Vec::new();
    for controller in &hierarchy.controllers {
        match controller.strip_prefix("name=") {
            Some(name) => options.extend([("none", None), ("name", Some(name))]),
            None => options.push((controller, None)),
        }
    }
    Ok(mount::new_filesystem(
        "cgroup",
        Some("cgroup"),
        &options,
        Attributes::NONE,
    )?)
}
