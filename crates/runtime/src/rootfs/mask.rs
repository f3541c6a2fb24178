//! Paths that the container must not see or must not write.
//!
//! What lies in a procfs or sysfs that was mounted here is reached from that mount's own root, with no way for anybody to
//! put something in between; everything else beneath the container's root. Only a missing path is passed over.

use gantry_sys::mount::{self, Attributes, Change};
use rustix::fs::{AtFlags, FileType, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::keep::Kept;
use super::{Rootfs, clean};
use crate::error::{Context, Result};

/// A path to hide.
enum Place<'a> {
    /// In a procfs or sysfs of ours, whose own entries nobody can change: `dir` is its root.
    Kernel(BorrowedFd<'a>, PathBuf),
    /// Anywhere else.
    Found(Kept),
}

impl Rootfs<'_> {
    /// Makes `readonlyPaths` read-only and covers `maskedPaths`.
    pub(crate) fn hide(&mut self) -> Result<()> {
        let linux = self.linux;
        for path in &linux.readonly_paths {
            self.make_read_only(path)
                .with_context(|| format!("can't make {path} read-only"))?;
        }
        let mut empty = None;
        for path in &linux.masked_paths {
            self.mask(path, &mut empty)
                .with_context(|| format!("can't mask path {path}"))?;
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Result<Option<Place<'_>>> {
        let path = clean(path);
        let nearest = self
            .placed
            .iter()
            .rev()
            .find(|placed| path.starts_with(&placed.destination));
        if let Some(placed) = nearest
            && matches!(placed.kind.as_str(), "proc" | "sysfs")
            && !placed.is_bind
            && let Ok(rest) = path.strip_prefix(&placed.destination)
            && !rest.as_os_str().is_empty()
            && !self
                .placed
                .iter()
                .any(|placed| placed.destination.starts_with(&path))
        {
            return Ok(Some(Place::Kernel(placed.fd.as_fd(), rest.to_path_buf())));
        }
        found(self.root.resolve(&path, OFlags::PATH))
            .map(|fd| fd.map(|fd| Place::Found(Kept::new(fd))))
    }

    /// Covers a path with a read-only copy of itself.
    fn make_read_only(&self, path: &str) -> Result<()> {
        let read_only = Change {
            set: Attributes::READ_ONLY,
            ..Change::default()
        };
        match self.find(path)? {
            None => Ok(()),
            Some(Place::Kernel(dir, rest)) => {
                let Some(copy) = found(mount::clone_changed_at(dir, &rest, false, &read_only))?
                else {
                    return Ok(());
                };
                Ok(mount::attach_in(Kept::new(copy), dir, &rest)?)
            }
            Some(Place::Found(target)) => {
                // What is mounted below stays visible, and as writable as it was.
                let copy = Kept::new(mount::clone_fd(&target, true)?);
                mount::change(&copy, &read_only)?;
                Ok(mount::attach(&copy, &target)?)
            }
        }
    }

    /// Covers a directory with one shared empty read-only file system, anything else with the null device.
    fn mask(&mut self, path: &str, empty: &mut Option<Kept>) -> Result<()> {
        let Some(place) = self.find(path)? else {
            return Ok(());
        };
        let stat = match &place {
            Place::Kernel(dir, rest) => rustix::fs::statat(dir, rest, AtFlags::SYMLINK_NOFOLLOW),
            Place::Found(fd) => rustix::fs::fstat(fd),
        };
        let Some(stat) = found(stat.map_err(std::io::Error::from))? else {
            return Ok(());
        };
        let cover = if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let null = self.null_device()?;
            Kept::new(mount::clone_fd(null, false)?)
        } else if let Some(empty) = empty {
            Kept::new(mount::clone_fd(&*empty, false)?)
        } else {
            // The first one is attached itself: before Linux 6.15 only attached mounts can be copied.
            Kept::new(empty_directory(&self.linux.mount_label)?)
        };
        // Looked up again, since the null device may have been made meanwhile; it is the same place for the same path.
        match self.find(path)? {
            Some(Place::Kernel(dir, rest)) => mount::attach_in(&cover, dir, &rest)?,
            Some(Place::Found(target)) => mount::attach(&cover, &target)?,
            None => return Ok(()),
        }
        if empty.is_none() && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            *empty = Some(cover);
        }
        Ok(())
    }
}

/// None for what does not exist.
fn found<T>(result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn empty_directory(label: &str) -> std::io::Result<OwnedFd> {
    let plain = [
        ("ro", None),
        ("nr_blocks", Some("1")),
        ("nr_inodes", Some("1")),
    ];
    if !label.is_empty() {
        let labelled = [plain[0], plain[1], plain[2], ("context", Some(label))];
        // Without SELinux the option is unknown.
        if let Ok(fd) =
            mount::new_filesystem("tmpfs", Some("tmpfs"), &labelled, Attributes::READ_ONLY)
        {
            return Ok(fd);
        }
    }
    mount::new_filesystem("tmpfs", Some("tmpfs"), &plain, Attributes::READ_ONLY)
}
