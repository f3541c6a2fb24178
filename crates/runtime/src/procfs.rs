//! Reads and writes procfs through a handle that certainly is procfs, never by a path that a container can change.

use gantry_sys::mount::{self, Attributes, PROC_MAGIC};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Context, Error, Result};

/// The root directory of a procfs.
#[derive(Debug)]
pub(crate) struct Proc {
    root: OwnedFd,
}

impl Proc {
    /// A new detached procfs of the caller's pid namespace.
    pub(crate) fn mount() -> Result<Self> {
        let attributes = Attributes::NO_SUID
            .union(Attributes::NO_EXEC)
            .union(Attributes::NO_DEV);
        let root = mount::new_filesystem("proc", Some("proc"), &[], attributes)
            .context("cannot mount proc")?;
        Ok(Self { root })
    }

    /// A procfs that this process has just mounted.
    pub(crate) fn from_mount(root: OwnedFd) -> Self {
        Self { root }
    }

    /// A descriptor that is checked to be the root of a procfs.
    pub(crate) fn from_fd(root: OwnedFd) -> Result<Self> {
        // 1 is the inode number of procfs's root directory, and of nothing else in it.
        let is_root = rustix::fs::fstat(&root)?.st_ino == 1;
        if mount::filesystem_magic(&root)? != PROC_MAGIC || !is_root {
            return Err(Error::internal("/proc is not the root of procfs"));
        }
        Ok(Self { root })
    }

    /// The procfs of the caller's mount namespace.
    pub(crate) fn of_host() -> Result<Self> {
        Self::from_fd(mount::open_path(std::path::Path::new("/proc")).context("cannot open /proc")?)
    }

    pub(crate) fn open(&self, path: &str, flags: OFlags) -> std::io::Result<OwnedFd> {
        // NO_XDEV refuses anything that was mounted over the file; `self` is an ordinary link and stays allowed.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let fd = rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )?;
        if mount::filesystem_magic(&fd)? != PROC_MAGIC {
            return Err(std::io::Error::other("not on procfs"));
        }
        Ok(fd)
    }

    /// Writes all of `value` in one call, as procfs wants it.
    pub(crate) fn write(&self, path: &str, value: impl AsRef<[u8]>) -> std::io::Result<()> {
        File::from(self.open(path, OFlags::WRONLY)?).write_all(value.as_ref())
    }

    pub(crate) fn read(&self, path: &str) -> std::io::Result<String> {
        let mut text = String::new();
        File::from(self.open(path, OFlags::RDONLY)?)
            .take(1 << 20)
            .read_to_string(&mut text)?;
        Ok(text)
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}
