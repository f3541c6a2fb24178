//! Descriptors of the directories that members go into, so that most members cost no path resolution.

use super::as_path;
use gantry_base::Result;
use gantry_sys::beneath::Root;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Open directories kept; archives are in tree order, so few are needed.
const KEPT_MAX: usize = 128;

/// The layer's root and the directories opened last.
pub(super) struct Parents {
    root: Root,
    kept: HashMap<Vec<u8>, OwnedFd>,
}

impl Parents {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self {
            root: Root::from_fd(root),
            kept: HashMap::new(),
        }
    }
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
    /// A descriptor of the root that can be listed.
    pub(super) fn open_root(&self) -> Result<OwnedFd> {
        Ok(self
            .root
            .resolve(as_path(b"."), OFlags::RDONLY | OFlags::DIRECTORY)?)
    }
    /// The directory at a cleaned path, links in it followed beneath the root, made with its parents (0755) if missing.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if !self.kept.contains_key(path) {
            if self.kept.len() >= KEPT_MAX {
                self.kept.clear();
            }
            let directory = self.root.mkdir_all(as_path(path), 0o755)?;
            self.kept.insert(path.to_vec(), directory);
        }
        Ok(self.kept[path].as_fd())
    }
    /// The directory in which `path` lies, if it exists; nothing is made.
    pub(super) fn existing(&self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok(self.root.resolve(
            if path.is_empty() {
                as_path(b".")
            } else {
                as_path(path)
            },
            flags,
        )?)
    }
    /// The directory at `path` itself, if there is one and no link leads to it.
    pub(super) fn existing_directory(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let opened = self
            .root
            .resolve_without_links(as_path(path), OFlags::RDONLY | OFlags::DIRECTORY);
        match opened {
            Ok(directory) => Ok(Some(directory)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
                _ => Err(error.into()),
            },
        }
    }
    /// Forgets all directories: one of them, or a link on the way to one, is about to go.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}
