//! Writes the index in the kernel's format: inodes in the long form, attributes, directories, and the superblock.
//!
//! Source: Linux fs/erofs/erofs_fs.h (the format) and Documentation/filesystems/erofs.rst.

use super::layout::{DIRENT, INODE, Layout, Place, Spilled, entries, take_block};
use super::tree::{Content, Node, NodeId, ROOT, Tree};
use super::{BLOCK, TAR_OFFSET};
use gantry_oci::Digest;
use std::collections::HashMap;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt as _;

const SUPERBLOCK_OFFSET: u64 = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// Inodes have times of their own.
const COMPATIBLE_MTIME: u32 = 2;
const LONG_FORM: u16 = 1;
const LAYOUT_PLAIN: u16 = 0;
const LAYOUT_INLINE: u16 = 2;
/// Where a file without data begins.
const NO_BLOCK: u32 = u32::MAX;
const XATTR_HEADER: usize = 12;
/// Nothing, to fill a block up.
const ZEROS: [u8; 512] = [0; 512];
const BUFFER_BYTES: usize = 1 << 20;

/// What the superblock says, but for the layer's digest.
pub(super) struct Superblock {
    root: u16,
    inodes: u64,
    blocks: u32,
    index_block: u32,
}

impl Superblock {
    /// The layer's digest is the file system's id: overlayfs tells layers apart by it.
    pub(super) fn write(&self, file: &File, diff_id: &Digest) -> Result<()> {
        let mut bytes = [0_u8; 128];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(8, &COMPATIBLE_MTIME.to_le_bytes());
        put(12, &[9]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.index_block.to_le_bytes());
        let id: Vec<u8> = (0..16)
            .filter_map(|at| u8::from_str_radix(diff_id.hex().get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        put(48, &id);
        file.write_all_at(&bytes, SUPERBLOCK_OFFSET)
    }
}

/// Writes files with holes behind the tar, as the kernel reads no holes within an archive.
pub(super) fn spill(tree: &Tree, order: &[NodeId], file: &File, tar_bytes: u64) -> Result<Spilled> {
    let mut spilled = Spilled {
        starts: HashMap::new(),
        end: (TAR_OFFSET + tar_bytes).next_multiple_of(BLOCK),
    };
    for &id in order {
        let Content::Sparse {
            offset,
            size,
            segments,
        } = &tree.node(id).content
        else {
            continue;
        };
        let mut from = TAR_OFFSET + offset;
        for segment in segments {
            copy_within(file, from, spilled.end + segment.offset, segment.length)?;
            from += segment.length;
        }
        spilled.starts.insert(id, spilled.end);
        spilled.end = (spilled.end + size).next_multiple_of(BLOCK);
    }
    file.set_len(spilled.end)?;
    Ok(spilled)
}

fn copy_within(file: &File, mut from: u64, mut to: u64, mut length: u64) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while length > 0 {
        let step = buffer
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..step], from)?;
        file.write_all_at(&buffer[..step], to)?;
        (from, to, length) = (from + step as u64, to + step as u64, length - step as u64);
    }
    Ok(())
}

/// Writes everything but the superblock.
pub(super) fn write(tree: &Tree, layout: &Layout, file: &File) -> Result<Superblock> {
    let mut output = Output {
        file,
        buffer: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
        position: layout.start,
    };
    for (number, &id) in layout.order.iter().enumerate() {
        let (node, place) = (tree.node(id), &layout.places[id as usize]);
        output.pad_to(layout.start + place.offset)?;
        let number = u32::try_from(number + 1).unwrap_or(u32::MAX);
        output.bytes(&inode(node, place, number))?;
        output.xattrs(&node.xattrs)?;
        if place.is_inline {
            output.data(tree, layout, id)?;
        }
    }
    for &id in &layout.order {
        let place = &layout.places[id as usize];
        let is_data = matches!(
            tree.node(id).content,
            Content::Directory { .. } | Content::Symlink(_)
        );
        if is_data && !place.is_inline {
            output.pad_to(place.start)?;
            output.data(tree, layout, id)?;
        }
    }
    output.pad_to(layout.end)?;
    output.flush()?;
    Ok(Superblock {
        root: u16::try_from(layout.places[ROOT as usize].nid())
            .expect("the root is the first inode"),
        inodes: layout.order.len() as u64,
        blocks: block(layout.end),
        index_block: block(layout.start),
    })
}

/// The number of the block at an offset of the file.
fn block(offset: u64) -> u32 {
    u32::try_from(offset / BLOCK).expect("the file's length was checked")
}

fn inode(node: &Node, place: &Place, number: u32) -> [u8; INODE] {
    let (kind, data) = match &node.content {
        Content::Directory { .. } => (libc::S_IFDIR, data_block(place)),
        Content::File { .. } | Content::Sparse { .. } => (libc::S_IFREG, data_block(place)),
        Content::Symlink(_) => (libc::S_IFLNK, data_block(place)),
        Content::CharacterDevice(major, minor) => (libc::S_IFCHR, device(*major, *minor)),
        Content::BlockDevice(major, minor) => (libc::S_IFBLK, device(*major, *minor)),
        Content::Fifo => (libc::S_IFIFO, 0),
    };
    let layout = if place.is_inline {
        LAYOUT_INLINE
    } else {
        LAYOUT_PLAIN
    };
    let mode = u16::try_from(kind | node.mode).expect("modes have sixteen bits");
    let xattr_count = match xattrs_size(&node.xattrs) {
        0 => 0,
        size => (size - XATTR_HEADER as u64) / 4 + 1,
    };
    let xattr_count = u16::try_from(xattr_count).expect("the sum of attributes was checked");
    let mut bytes = [0; INODE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &(LONG_FORM | layout << 1).to_le_bytes());
    put(2, &xattr_count.to_le_bytes());
    put(4, &mode.to_le_bytes());
    put(8, &place.size.to_le_bytes());
    put(16, &data.to_le_bytes());
    put(20, &number.to_le_bytes());
    put(24, &node.uid.to_le_bytes());
    put(28, &node.gid.to_le_bytes());
    put(32, &node.mtime.seconds.to_le_bytes());
    put(40, &node.mtime.nanoseconds.to_le_bytes());
    put(44, &place.links.to_le_bytes());
    bytes
}

fn data_block(place: &Place) -> u32 {
    if place.is_inline || place.size == 0 {
        NO_BLOCK
    } else {
        block(place.start)
    }
}

/// The kernel's own form of a device number.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The number of a known beginning of an attribute's name, and the rest of the name.
pub(super) fn xattr_prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => Some((2, b"")),
        b"system.posix_acl_default" => Some((3, b"")),
        _ => [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")]
            .into_iter()
            .find_map(|(number, prefix)| Some((number, name.strip_prefix(prefix)?))),
    }
}

/// What all attributes take behind an inode.
pub(super) fn xattrs_size(xattrs: &[(Vec<u8>, Vec<u8>)]) -> u64 {
    if xattrs.is_empty() {
        return 0;
    }
    let sizes = xattrs.iter().map(|(name, value)| {
        let suffix = xattr_prefix(name).map_or(0, |(_, suffix)| suffix.len());
        (4 + suffix + value.len()).next_multiple_of(4) as u64
    });
    XATTR_HEADER as u64 + sizes.sum::<u64>()
}

/// Writes from the index's beginning on.
struct Output<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    position: u64,
}

impl Output<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn pad_to(&mut self, offset: u64) -> Result<()> {
        let now = self.position + self.buffer.len() as u64;
        let gap = usize::try_from(offset - now).expect("gaps are shorter than a block");
        self.buffer.resize(self.buffer.len() + gap, 0);
        self.bytes(&[])
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.buffer, self.position)?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn xattrs(&mut self, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        if xattrs.is_empty() {
            return Ok(());
        }
        self.bytes(&[0; XATTR_HEADER])?;
        for (name, value) in xattrs {
            let Some((prefix, suffix)) = xattr_prefix(name) else {
                continue;
            };
            let length = u8::try_from(suffix.len()).expect("the length of names was checked");
            let value_length =
                u16::try_from(value.len()).expect("the length of values was checked");
            self.bytes(&[length, prefix])?;
            self.bytes(&value_length.to_le_bytes())?;
            self.bytes(suffix)?;
            self.bytes(value)?;
            let written = 4 + suffix.len() + value.len();
            self.bytes(&[0; 3][..written.next_multiple_of(4) - written])?;
        }
        Ok(())
    }

    /// The list of a directory, or the target of a link.
    fn data(&mut self, tree: &Tree, layout: &Layout, id: NodeId) -> Result<()> {
        if let Content::Symlink(target) = &tree.node(id).content {
            return self.bytes(target);
        }
        let list = entries(tree, id);
        let mut left = list.as_slice();
        loop {
            let (block, length, rest) = take_block(left);
            self.directory_block(tree, layout, block)?;
            if rest.is_empty() {
                return Ok(());
            }
            let gap = usize::try_from(BLOCK - length).expect("is within a block");
            self.bytes(&ZEROS[..gap])?;
            left = rest;
        }
    }

    fn directory_block(
        &mut self,
        tree: &Tree,
        layout: &Layout,
        block: &[(&[u8], NodeId)],
    ) -> Result<()> {
        let mut name_offset = DIRENT * block.len();
        for (name, id) in block {
            let offset = u16::try_from(name_offset).expect("is within a block");
            self.bytes(&layout.places[*id as usize].nid().to_le_bytes())?;
            self.bytes(&offset.to_le_bytes())?;
            self.bytes(&[file_type(tree.node(*id)), 0])?;
            name_offset += name.len();
        }
        block.iter().try_for_each(|(name, _)| self.bytes(name))
    }
}

fn file_type(node: &Node) -> u8 {
    match node.content {
        Content::File { .. } | Content::Sparse { .. } => 1,
        Content::Directory { .. } => 2,
        Content::CharacterDevice(..) => 3,
        Content::BlockDevice(..) => 4,
        Content::Fifo => 5,
        Content::Symlink(_) => 7,
    }
}
