//! Paths that the container must not see or must not write.
//!
//! What lies in a procfs or sysfs that was mounted here is reached from that mount's own root, with no way for anybody to
//! put something in between; everything else beneath the container's root. Only a missing path is passed over.

use gantry_sys::mount::{self, Attributes, Change};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Rootfs, clean};
use crate::error::{Context, Result};

impl Rootfs<'_> {
    /// Makes `readonlyPaths` read-only and covers `maskedPaths`.
    pub(crate) fn hide(&mut self) -> Result<()> {
        let linux = self.linux;
        for path in &linux.readonly_paths {
            if let Some(target) = self
                .find(path)
                .with_context(|| format!("can't make {path} read-only"))?
            {
                make_read_only(&target).with_context(|| format!("can't make {path} read-only"))?;
            }
        }
        let mut empty = None;
        for path in &linux.masked_paths {
            if let Some(target) = self
                .find(path)
                .with_context(|| format!("can't mask path {path}"))?
            {
                self.mask(&target, &mut empty)
                    .with_context(|| format!("can't mask path {path}"))?;
            }
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Result<Option<OwnedFd>> {
        let path = clean(path);
        let nearest = self
            .placed
            .iter()
            .rev()
            .find(|placed| path.starts_with(&placed.destination));
        let found = match nearest {
            Some(placed) if matches!(placed.kind.as_str(), "proc" | "sysfs") && !placed.is_bind => {
                let rest = path
                    .strip_prefix(&placed.destination)
                    .unwrap_or(Path::new(""));
                let rest = if rest.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    rest
                };
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                rustix::fs::openat2(&placed.fd, rest, flags, Mode::empty(), resolve)
                    .map_err(std::io::Error::from)
            }
            _ => self.root.resolve(&path, OFlags::PATH),
        };
        match found {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Covers a directory with one shared empty read-only file system, anything else with the null device.
    fn mask(&mut self, target: &OwnedFd, empty: &mut Option<OwnedFd>) -> Result<()> {
        let is_directory =
            FileType::from_raw_mode(rustix::fs::fstat(target)?.st_mode) == FileType::Directory;
        if !is_directory {
            let cover = mount::clone_fd(self.null_device()?, false)?;
            return Ok(mount::attach(&cover, target)?);
        }
        if let Some(empty) = empty {
            return Ok(mount::attach(mount::clone_fd(empty, false)?, target)?);
        }
        // The first one is attached itself: before Linux 6.15 only attached mounts can be copied.
        let first = empty_directory(&self.linux.mount_label)?;
        mount::attach(&first, target)?;
        *empty = Some(first);
        Ok(())
    }
}

/// Covers a path with a read-only copy of itself.
fn make_read_only(target: &OwnedFd) -> Result<()> {
    let copy = mount::clone_fd(target, true)?;
    mount::change(
        &copy,
        &Change {
            set: Attributes::READ_ONLY,
            ..Change::default()
        },
    )?;
    Ok(mount::attach(&copy, target)?)
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
