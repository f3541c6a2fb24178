//! The container's file system: attaches the root, its mounts and devices, hides what must be hidden, and makes it the root.
//!
//! All targets are resolved beneath the root's descriptor; all sources are detached mounts. Order: [`Rootfs::attach`],
//! [`Rootfs::mount_all`], [`Rootfs::set_up_dev`], `mask`, then [`Rootfs::enter`].
//! `options` sorts mount options, `mounts` makes mounts, `dev` the devices, `mask` hides paths, `cgroup_view` shows cgroups.

mod cgroup_view;
mod copy_up;
mod dev;
mod keep;
mod mask;
mod mounts;
mod options;

use gantry_oci::runtime::{Linux, Spec};
use gantry_sys::beneath::Root;
use gantry_sys::mount::{self, Attributes, Change, Propagation};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub(crate) use cgroup_view::CgroupView;
use keep::Kept;

use crate::error::{Context, Error, Result};
use crate::plan::Plan;

/// The root file system while it is put together.
pub(crate) struct Rootfs<'a> {
    root: Root,
    plan: &'a Plan,
    spec: &'a Spec,
    linux: &'a Linux,
    cgroup: CgroupView<'a>,
    place: Place,
    /// Whether device nodes can be made here.
    can_mknod: bool,
    /// Mounts made so far that later steps refer to.
    placed: Vec<Placed>,
    /// Mounts that become read-only at the end, since something is still put into them.
    read_only_later: Vec<OwnedFd>,
    /// A procfs that was mounted before, for the container's `/proc`.
    prepared_proc: Option<OwnedFd>,
    /// The inode that hides files.
    null: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

/// Where the root file system is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Over `/` of the container's own mount namespace, where [`Rootfs::enter`] pivots.
    OwnNamespace,
    /// Nowhere: it stays detached and is only the process's root directory, so that the mount namespace that the container
    /// shares with others is left alone. Needs Linux 6.15, which mounts on detached mounts.
    Detached,
}

/// A mount that was put at a place.
struct Placed {
    destination: PathBuf,
    kind: String,
    /// The mount's root.
    fd: Kept,
    is_bind: bool,
}

impl<'a> Rootfs<'a> {
    /// Begins with the root file system where `place` says.
    pub(crate) fn attach(
        plan: &'a Plan,
        spec: &'a Spec,
        linux: &'a Linux,
        cgroup: CgroupView<'a>,
        can_mknod: bool,
        place: Place,
    ) -> Result<Self> {
        if place == Place::OwnNamespace {
            put_over_root(plan, linux)?;
        }
        let root = Root::from_fd(plan.rootfs.try_clone()?);
        Ok(Self {
            root,
            plan,
            spec,
            linux,
            cgroup,
            place,
            can_mknod,
            placed: Vec::new(),
            read_only_later: Vec::new(),
            prepared_proc: None,
            null: None,
            warnings: Vec::new(),
        })
    }

    /// Takes a procfs that was made with [`proc_for`], to be mounted at `/proc`.
    pub(crate) fn use_proc(&mut self, proc: OwnedFd) {
        self.prepared_proc = Some(proc);
    }

    /// The mount that was made at exactly this place last.
    fn placed_at(&self, destination: &str) -> Option<&Placed> {
        self.placed
            .iter()
            .rev()
            .find(|placed| placed.destination == Path::new(destination))
    }

    /// The procfs at `/proc`, if the configuration has one there.
    pub(crate) fn proc(&self) -> Option<BorrowedFd<'_>> {
        self.placed_at("/proc")
            .filter(|placed| placed.kind == "proc")
            .map(|placed| placed.fd.as_fd())
    }

    /// The devpts at `/dev/pts`.
    pub(crate) fn devpts(&self) -> Option<BorrowedFd<'_>> {
        self.placed_at("/dev/pts")
            .filter(|placed| placed.kind == "devpts")
            .map(|placed| placed.fd.as_fd())
    }

    /// Makes it the root of this namespace and this process.
    pub(crate) fn enter(&self, place: Place) -> Result<()> {
        if self.plan.no_pivot || place == Place::Detached {
            rustix::process::fchdir(&self.root)?;
            rustix::process::chroot(c".").context("error jailing process inside rootfs: chroot")?;
            rustix::process::chdir(c"/")?;
        } else {
            mount::pivot_root(&self.root)
                .context("error jailing process inside rootfs: pivot_root")?;
        }
        Ok(())
    }

    /// What has to come after everything was put in place: propagation of the root, and read-only mounts.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if let Some((kind, recursive)) = propagation(&self.linux.rootfs_propagation)? {
            let change = Change {
                propagation: Some(kind),
                recursive,
                ..Change::default()
            };
            mount::change(&self.root, &change).context("error setting rootfs propagation")?;
        }
        let read_only = Change {
            set: Attributes::READ_ONLY,
            ..Change::default()
        };
        for fd in &self.read_only_later {
            mount::change(fd, &read_only).context("error remounting a mount read-only")?;
        }
        if self.spec.root.as_ref().is_some_and(|root| root.readonly) {
            mount::change(&self.root, &read_only).context("error setting rootfs as readonly")?;
        }
        Ok(())
    }

    /// Makes the working directory if it is missing, as runc does.
    pub(crate) fn make_cwd(&self, cwd: &str) -> Result<()> {
        if cwd.is_empty() || cwd == "/" {
            return Ok(());
        }
        let failed = |errno: i32| {
            Error::from(std::io::Error::from_raw_os_error(errno)).prefixed(format!("mkdir {cwd}"))
        };
        match self
            .root
            .resolve(Path::new(cwd), OFlags::PATH | OFlags::DIRECTORY)
        {
            Ok(_) => Ok(()),
            // ELOOP is what a link of procfs gets, which leads to nothing that a container may work in.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                Err(failed(libc::ENOTDIR))
            }
            Err(_) => match self.root.mkdir_all(Path::new(cwd), 0o755) {
                Ok(_) => Ok(()),
                Err(error) => Err(failed(error.raw_os_error().unwrap_or(libc::EIO))),
            },
        }
    }
}

/// The procfs that the configuration wants at `/proc`, if it wants one of its own.
pub(crate) fn proc_for(spec: &Spec) -> Option<std::io::Result<OwnedFd>> {
    let mount = spec
        .mounts
        .iter()
        .find(|mount| mount.kind == "proc" && clean(&mount.destination) == Path::new("/proc"))?;
    let options = options::Options::parse(&mount.options);
    let is_plain = !options.remount && options.bind.is_none();
    is_plain.then(|| mounts::new_filesystem(mount, &options, options.set))
}

/// Attaches the root file system in a mount namespace that nothing done from here on leaves.
fn put_over_root(plan: &Plan, linux: &Linux) -> Result<()> {
    // Private only if asked for, as runc does: mounts of the host may come in, none goes out.
    let (kind, recursive) = match propagation(&linux.rootfs_propagation)? {
        Some((Propagation::Private | Propagation::Unbindable, recursive)) => {
            (Propagation::Private, recursive)
        }
        _ => (Propagation::Slave, true),
    };
    let change = Change {
        propagation: Some(kind),
        recursive,
        ..Change::default()
    };
    mount::change_at(Path::new("/"), &change)
        .context("error preparing rootfs: cannot change the propagation of /")?;
    mount::change(&plan.rootfs, &change)
        .context("error preparing rootfs: cannot change the propagation of the rootfs")?;
    mount::attach_at(&plan.rootfs, Path::new("/"))
        .context("error preparing rootfs: cannot attach the rootfs")
}

/// Parses `rootfsPropagation`.
fn propagation(text: &str) -> Result<Option<(Propagation, bool)>> {
    let plain = text.strip_prefix('r').unwrap_or(text);
    let kind = match plain {
        "" if text.is_empty() => return Ok(None),
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        "private" => Propagation::Private,
        "unbindable" => Propagation::Unbindable,
        _ => {
            return Err(Error::invalid(format!(
                "rootfsPropagation={text} is not supported"
            )));
        }
    };
    Ok(Some((kind, plain.len() != text.len())))
}

/// A destination without `.`, `..` and double slashes, absolute. Links are not looked at: it names, it does not resolve.
fn clean(path: &str) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            std::path::Component::Normal(name) => cleaned.push(name),
            std::path::Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_cleaned_and_propagation_is_parsed() {
        assert_eq!(clean("a//b/./../c/"), Path::new("/a/c"));
        assert_eq!(clean("/../../x"), Path::new("/x"));
        assert_eq!(
            propagation("rshared").expect("is valid"),
            Some((Propagation::Shared, true))
        );
        assert_eq!(
            propagation("slave").expect("is valid"),
            Some((Propagation::Slave, false))
        );
        assert_eq!(propagation("").expect("is valid"), None);
        assert!(propagation("r").is_err() && propagation("both").is_err());
    }
}
