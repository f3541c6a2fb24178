//! A layer as one file that the kernel mounts: superblock, the plain tar byte for byte, and an index behind it.
//!
//! Files' data stay where they are in the tar, whose blocks of 512 bytes are the file system's; the index holds everything
//! else. So a layer is written in one pass while it arrives, and its tar can be read back without change.
//! [`write()`] reads a tar into a [`tree`], [`layout`] places the index, [`image`] writes it, [`mount`] asks the kernel.
//! We mount only what was written here. Source: Linux Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h.

mod copy;
mod image;
mod layout;
mod mount;
mod place;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use mount::{is_mount_of, mount, probe};

use crate::Limits;
use crate::tar::TarReader;
use crate::unpack::lossy;
use copy::Copying;
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use std::fs::File;
use std::io::BufRead;
use tree::Tree;

/// The file system's block, which is the tar's.
pub(crate) const BLOCK: u64 = 512;
/// Where the tar begins.
pub(crate) const TAR_OFFSET: u64 = 4096;
/// What a tree may take up in memory before the layer becomes a directory instead.
const TREE_BYTES_MAX: u64 = 192 << 20;
/// Blocks are counted in 32 bits.
const FILE_BYTES_MAX: u64 = (u32::MAX as u64) * BLOCK;

/// A layer's file, complete but for its superblock.
pub(crate) struct Written {
    /// Apparent sizes of all files but directories; hard links count once.
    pub(crate) size_bytes: u64,
    pub(crate) tar_bytes: u64,
    superblock: image::Superblock,
}

/// What became of a tar.
pub(crate) enum Outcome {
    Written(Written),
    /// The tar is in the file, but its index would be too large: the layer has to become a directory.
    TooLarge {
        tar_bytes: u64,
    },
}

/// Reads a tar to its end, into the empty `file`.
///
/// # Errors
/// The first member that is hostile, damaged, or has no place in the tree; the file is then only good for removal.
pub(crate) fn write(input: impl BufRead, file: &File, limits: &Limits) -> Result<Outcome> {
    let mut archive = TarReader::new(Copying::new(input, file, limits));
    let mut tree = Tree::new(now());
    let (mut entries, mut is_too_large) = (0, false);
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        if entries > limits.layer_entries {
            return Err(Error::invalid(format!(
                "a layer has more than {} entries",
                limits.layer_entries
            )));
        }
        if is_too_large {
            continue;
        }
        let offset = archive.input().position();
        tree.add(entry, offset, limits).map_err(|(path, error)| {
            error.prefixed(format!("failed to unpack {:?}", lossy(&path)))
        })?;
        if tree.bytes() > TREE_BYTES_MAX {
            is_too_large = true;
            tree = Tree::new(now());
        }
    }
    archive.drain()?;
    let tar_bytes = archive.input().position();
    if is_too_large || TAR_OFFSET + tar_bytes + tree.spilled_bytes() > FILE_BYTES_MAX / 2 {
        return Ok(Outcome::TooLarge { tar_bytes });
    }
    drop(archive);
    let mut layout = layout::Layout::of(&tree);
    let spilled = image::spill(&tree, &layout.order, file, tar_bytes);
    layout.place_all(&tree, &spilled.context("cannot write files with holes")?);
    let superblock = image::write(&tree, &layout, file).context("cannot write a layer's index")?;
    Ok(Outcome::Written(Written {
        size_bytes: layout.size_bytes,
        tar_bytes,
        superblock,
    }))
}

impl Written {
    /// Writes the superblock, which makes the file an image.
    pub(crate) fn seal(&self, file: &File, diff_id: &Digest) -> Result<()> {
        self.superblock
            .write(file, diff_id)
            .context("cannot write a layer's superblock")
    }
}

/// The time of directories that no archive speaks of.
fn now() -> i64 {
    crate::time::now_ns().div_euclid(1_000_000_000)
}
