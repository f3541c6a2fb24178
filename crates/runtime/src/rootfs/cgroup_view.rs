//! What a container sees of its cgroups: a mount of type `cgroup` in the configuration.
//!
//! With v1 a tmpfs with one directory a hierarchy, each showing the container's own cgroup as its root; with v2 that cgroup.

use gantry_oci::runtime::Mount;
use gantry_sys::mount::{self, Attributes, Change};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

use super::options::Options;
use super::{Place, Rootfs, clean};
use crate::cgroup::{Cgroup, Hierarchy, Layout};
use crate::error::{Context, Result};

/// A container's cgroups, and what of them it sees.
#[derive(Clone, Copy)]
pub(crate) struct CgroupView<'a> {
    pub(crate) cgroup: &'a Cgroup,
    /// By hierarchy name, from [`Cgroup::clone_view`]; empty where the creator could not make them.
    pub(crate) trees: &'a [(String, OwnedFd)],
}

impl Rootfs<'_> {
    pub(super) fn mount_cgroup(&mut self, mount: &Mount, options: &Options) -> Result<()> {
        let path = clean(&mount.destination);
        let target = self.root.mkdir_all(&path, 0o755)?;
        if self.plan.cgroups.layout() == Layout::Unified {
            let tree = match self.cgroup.trees {
                [(_, tree), ..] => tree.try_clone()?,
                [] => self.fresh_cgroup(&self.plan.cgroups.hierarchies()[0], &target)?,
            };
            self.place(mount, options, tree.try_clone()?, &target, false)?;
            return Ok(mount::change(&tree, &attributes(options))?);
        }
        let wanted = options.set.without(Attributes::READ_ONLY);
        let tmpfs =
            mount::new_filesystem("tmpfs", Some("tmpfs"), &[("mode", Some("755"))], wanted)?;
        if self.place == Place::OwnNamespace {
            self.place(mount, options, tmpfs.try_clone()?, &target, false)?;
        }
        for (name, tree) in self.cgroup.trees {
            make_entry(&tmpfs, name)?;
            self.attach_tree(tree, &tmpfs, name, options)
                .with_context(|| format!("cgroup {name}"))?;
        }
        if self.cgroup.trees.is_empty() {
            self.attach_fresh(&tmpfs, options)?;
        }
        let is_read_only = options.set.contains(Attributes::READ_ONLY);
        match self.place {
            Place::OwnNamespace if is_read_only => self.read_only_later.push(tmpfs),
            Place::OwnNamespace => {}
            // What is part of a detached tree cannot be changed any more, so it is filled and finished before.
            Place::Detached => {
                if is_read_only {
                    let read_only = Change {
                        set: Attributes::READ_ONLY,
                        ..Change::default()
                    };
                    mount::change(&tmpfs, &read_only)?;
                }
                self.place(mount, options, tmpfs, &target, false)?;
            }
        }
        Ok(())
    }

    /// Only once it is attached does the mount belong to this user namespace, which may change it then.
    fn attach_tree(
        &self,
        tree: &OwnedFd,
        tmpfs: &OwnedFd,
        name: &str,
        options: &Options,
    ) -> Result<()> {
        if self.place == Place::Detached {
            mount::change(tree, &attributes(options))?;
            return Ok(mount::attach_in(tree, tmpfs, name)?);
        }
        mount::attach_in(tree, tmpfs, name)?;
        Ok(mount::change(tree, &attributes(options))?)
    }

    /// For creators whose mount namespace does not have the hierarchies.
    fn attach_fresh(&self, tmpfs: &OwnedFd, options: &Options) -> Result<()> {
        let paths = self.cgroup.cgroup.paths();
        for hierarchy in self.plan.cgroups.hierarchies() {
            let name = &hierarchy.name;
            if hierarchy.unified || !paths.iter().any(|(joined, _)| joined == name) {
                continue;
            }
            make_entry(tmpfs, name)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = rustix::fs::openat(tmpfs, name, flags, Mode::empty())?;
            self.fresh_cgroup(hierarchy, &place)
                .and_then(|tree| self.attach_tree(&tree, tmpfs, name, options))
                .with_context(|| format!("cgroup {name}"))?;
        }
        Ok(())
    }

    /// The container's cgroup from a new mount of the hierarchy. `place` is where it will be.
    fn fresh_cgroup(&self, hierarchy: &Hierarchy, place: &OwnedFd) -> Result<OwnedFd> {
        let whole = mount_hierarchy(hierarchy)?;
        let paths = self.cgroup.cgroup.paths();
        let path = paths
            .iter()
            .find(|(name, _)| *name == hierarchy.name)
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

fn attributes(options: &Options) -> Change<'static> {
    Change {
        set: options.set,
        clear: options.clear,
        ..Change::default()
    }
}

/// The directory of one hierarchy; `cpu,cpuacct` is also found as `cpu` and as `cpuacct`.
fn make_entry(tmpfs: &OwnedFd, name: &str) -> Result<()> {
    rustix::fs::mkdirat(tmpfs, name, Mode::from_raw_mode(0o755))?;
    for part in name.split(',').filter(|part| *part != name) {
        rustix::fs::symlinkat(name, tmpfs, part)?;
    }
    Ok(())
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
