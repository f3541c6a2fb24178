//! An archive put into a tree that is in use: `docker cp` into a container.
//!
//! As with layers, every path is resolved beneath the root; whiteouts are plain names, and existing directories are kept.

use super::{Layer, path};
use crate::Limits;
use crate::ingest::decoder;
use crate::load::detect;
use crate::tar::{Entry, EntryKind, TarReader};
use gantry_base::{Context, Error, Result};
use rustix::fs::{AtFlags, FileType};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;

/// Where and how an archive is put into a tree.
#[derive(Debug, Clone, Default)]
pub struct ExtractOptions {
    /// The directory in the tree, cleaned, without outer slashes.
    pub directory: Vec<u8>,
    /// Refuse to put a directory in place of another kind of file, and the reverse.
    pub keeps_kinds: bool,
    /// Whom everything shall belong to; none: as the archive says.
    pub owner: Option<(u32, u32)>,
}

impl ExtractOptions {
    /// A member's path in the tree.
    pub(super) fn full(&self, path: &[u8]) -> Vec<u8> {
        match (self.directory.as_slice(), path) {
            (b"", path) => path.to_vec(),
            (directory, b"") => directory.to_vec(),
            (directory, path) => [directory, b"/", path].concat(),
        }
    }
}

/// Puts all members of an archive, compressed or not, beneath `root`.
///
/// Must run on a thread of its own: it clears the thread's file mode mask.
///
/// # Errors
/// The first member that is hostile, damaged, or cannot be made; what came before it stays.
pub fn extract(input: impl Read + Send, root: OwnedFd, options: ExtractOptions) -> Result<()> {
    gantry_sys::file::clear_umask_of_thread().context("cannot clear the file mode mask")?;
    let (compression, input) = detect(input)?;
    let input = BufReader::new(decoder(BufReader::new(input), compression)?);
    let mut archive = TarReader::new(input);
    let mut tree = Layer::new(root, Limits::default());
    // Owners are always set: the tree's own directories may hand their group down.
    tree.group_is_inherited = true;
    tree.extract = Some(options.clone());
    while let Some(mut entry) = archive.next_entry()? {
        if let Some((uid, gid)) = options.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        tree.add_plain(&entry, &options, &mut archive)?;
    }
    archive.drain()?;
    tree.is_recount_needed = false;
    tree.finish()?;
    Ok(())
}

impl Layer {
    fn add_plain<R: BufRead>(
        &mut self,
        entry: &Entry,
        options: &ExtractOptions,
        archive: &mut TarReader<R>,
    ) -> Result<()> {
        let full = options.full(&path::clean(&entry.path)?);
        let Some((parent, name)) = path::split(&full) else {
            return match entry.kind {
                EntryKind::Directory => Ok(()),
                _ => Err(Error::invalid("the root of a container is a directory")),
            };
        };
        if options.keeps_kinds {
            self.check_kind(parent, name, entry, options)?;
        }
        self.place(&full, parent, name, entry, archive)
            .with_context(|| format!("cannot extract {:?}", super::lossy(&entry.path)))
    }

    fn check_kind(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        options: &ExtractOptions,
    ) -> Result<()> {
        let directory = self.parents.directory(parent)?;
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        let was = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is = entry.kind == EntryKind::Directory;
        let words = |is_directory| {
            if is_directory {
                "directory"
            } else {
                "non-directory"
            }
        };
        if was == is {
            return Ok(());
        }
        Err(Error::internal(format!(
            "cannot overwrite {} {:?} with {} {:?}",
            words(was),
            super::lossy(entry.path.strip_suffix(b"/").unwrap_or(&entry.path)),
            words(is),
            super::lossy(&[b"/", options.directory.as_slice()].concat())
        )))
    }
}
