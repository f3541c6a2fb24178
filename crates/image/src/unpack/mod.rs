//! A tar of a layer becomes a directory that overlayfs can stack.
//!
//! Hostile archives are the normal case. Every parent is resolved by the kernel beneath the directory, links included; the
//! last component is never followed. Nothing is synced here: the caller syncs once for all layers.
//! Start at [`unpack`]; `place` makes one member, `whiteout` translates OCI's marks of deletion into overlayfs'.
//! Sources: OCI image-spec 1.1 "layer.md", Linux Documentation/filesystems/overlayfs.rst.

mod extract;
mod parents;
mod path;
mod place;
mod size;
mod whiteout;

use crate::Limits;
use crate::tar::{Entry, EntryKind, TarReader, Time};
use gantry_base::{Context, Error, ErrorKind, Result};
use parents::Parents;
use std::collections::HashMap;
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::Path;

#[cfg(test)]
pub(crate) mod tests;

pub use extract::{ExtractOptions, extract};
pub(crate) use path::{clean as clean_path, split};
pub(crate) use place::is_kept_attribute;
pub(crate) use size::tree_size;
pub(crate) use whiteout::{Mark, OPAQUE, ORIGIN, is_whiteout, parse as parse_mark};

/// What a layer turned out to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Unpacked {
    /// Apparent sizes of all files but directories; hard links count once.
    pub(crate) size_bytes: u64,
}

/// How many bytes are written between two looks at the free space.
const SPACE_CHECK_BYTES: u64 = 32 << 20;

/// Unpacks all members beneath `directory`, which is empty, and reads `input` to its end.
///
/// Must run on a thread of its own: it clears the thread's file mode mask.
///
/// # Errors
/// The first member that is hostile, damaged, or cannot be made; the directory is then only good for removal.
pub(crate) fn unpack(input: impl BufRead, directory: OwnedFd, limits: &Limits) -> Result<Unpacked> {
    gantry_sys::file::clear_umask_of_thread().context("cannot clear the file mode mask")?;
    let mut archive = TarReader::new(input);
    let mut layer = Layer::new(directory, *limits);
    let mut entries = 0;
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        if entries > limits.layer_entries {
            return Err(Error::invalid(format!(
                "a layer has more than {} entries",
                limits.layer_entries
            )));
        }
        layer
            .add(&entry, &mut archive)
            .with_context(|| format!("failed to unpack {:?}", lossy(&entry.path)))?;
    }
    archive.drain()?;
    layer.finish()
}

pub(crate) fn lossy(path: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(path).into_owned();
    if let Some((at, _)) = text.char_indices().nth(200) {
        text.truncate(at);
    }
    text
}

/// A layer that is being unpacked.
struct Layer {
    parents: Parents,
    limits: Limits,
    /// Times of directories, set at the end because every new member changes them.
    directory_times: HashMap<Vec<u8>, Time>,
    /// Whether some directory hands its group down, so that owners have to be set even where they are root's.
    group_is_inherited: bool,
    /// Sum so far; void once something was replaced.
    size_bytes: u64,
    is_recount_needed: bool,
    unchecked_bytes: u64,
    /// For an archive that is no layer: whiteouts mean nothing in it.
    extract: Option<ExtractOptions>,
}

impl Layer {
    fn new(directory: OwnedFd, limits: Limits) -> Self {
        Self {
            parents: Parents::new(directory),
            limits,
            directory_times: HashMap::new(),
            group_is_inherited: false,
            size_bytes: 0,
            is_recount_needed: false,
            unchecked_bytes: 0,
            extract: None,
        }
    }

    fn add<R: BufRead>(&mut self, entry: &Entry, archive: &mut TarReader<R>) -> Result<()> {
        let path = path::clean(&entry.path)?;
        let Some((parent, name)) = split(&path) else {
            // Docker gives every layer's root 0755 root:root, whatever the archive says.
            return match entry.kind {
                EntryKind::Directory => Ok(()),
                _ => Err(Error::invalid("the root of a layer is not a directory")),
            };
        };
        if let Some(mark) = whiteout::parse(parent, name)? {
            return self.apply_whiteout(parent, &mark);
        }
        self.place(&path, parent, name, entry, archive)
    }

    /// Counts bytes that are about to be written, and stops before the disk is full for everybody else.
    fn reserve(&mut self, bytes: u64) -> Result<()> {
        self.unchecked_bytes += bytes;
        if self.unchecked_bytes < SPACE_CHECK_BYTES {
            return Ok(());
        }
        self.unchecked_bytes = 0;
        let space = rustix::fs::fstatvfs(self.parents.root()).map_err(std::io::Error::from)?;
        if space.f_bavail.saturating_mul(space.f_frsize) < self.limits.free_bytes_min {
            return Err(Error::new(ErrorKind::Internal, "no space left on device"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked> {
        for (path, time) in std::mem::take(&mut self.directory_times) {
            // A directory that a later member replaced has no time to set.
            if let Some(directory) = self.parents.existing_directory(&path)? {
                place::set_times_of_directory(directory, time)?;
            }
        }
        if self.is_recount_needed {
            let root = self.parents.open_root()?;
            self.size_bytes = tree_size(root)?.0;
        }
        Ok(Unpacked {
            size_bytes: self.size_bytes,
        })
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
