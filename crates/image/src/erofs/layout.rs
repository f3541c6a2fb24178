//! Where everything of the index goes: inodes first, then what does not fit behind its inode.

use super::BLOCK;
use super::image::xattrs_size;
use super::tree::{Content, NodeId, ROOT, Tree};
use std::collections::HashMap;

/// Inodes are found at multiples of this.
const SLOT: u64 = 32;
/// The length of an inode in the long form.
pub(super) const INODE: usize = 64;
const INODE_BYTES: u64 = INODE as u64;
/// The length of an entry of a directory, without its name.
pub(super) const DIRENT: usize = 12;

/// Where the data of files with holes begin, and where they all end.
pub(super) struct Spilled {
    pub(super) starts: HashMap<NodeId, u64>,
    pub(super) end: u64,
}

/// Where one node goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// Of the inode, from the beginning of the index.
    pub(super) offset: u64,
    /// How many names it has; for a directory, as Unix counts.
    pub(super) links: u32,
    /// Length of a directory, or of a link's target.
    pub(super) size: u64,
    /// Whether that follows the inode; else `start` is its place in the file.
    pub(super) is_inline: bool,
    /// Where its data begin in the file.
    pub(super) start: u64,
}

impl Place {
    /// The number by which directories refer to it.
    pub(super) fn nid(&self) -> u64 {
        self.offset / SLOT
    }
}

/// The whole index.
pub(super) struct Layout {
    /// Nodes that have a name, each once, the root first.
    pub(super) order: Vec<NodeId>,
    /// By node.
    pub(super) places: Vec<Place>,
    /// Where the index begins in the file, and where it ends.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Apparent sizes of all files but directories; hard links count once.
    pub(super) size_bytes: u64,
}

impl Layout {
    /// What has a name, and how many; nothing has a place yet.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut layout = Self {
            order: Vec::with_capacity(tree.count()),
            places: vec![Place::default(); tree.count()],
            start: 0,
            end: 0,
            size_bytes: 0,
        };
        layout.count_links(tree);
        layout
    }

    /// Gives everything its place behind what was spilled.
    pub(super) fn place_all(&mut self, tree: &Tree, spilled: &Spilled) {
        self.start = spilled.end;
        // The number 0 is better not given to an inode.
        let mut offset = INODE_BYTES;
        for index in 0..self.order.len() {
            offset = self.place_inode(tree, self.order[index], offset, spilled);
        }
        self.end = self.start + offset.next_multiple_of(BLOCK);
        for index in 0..self.order.len() {
            let id = self.order[index];
            let is_data = matches!(
                tree.node(id).content,
                Content::Directory { .. } | Content::Symlink(_)
            );
            let place = &mut self.places[id as usize];
            if is_data && !place.is_inline {
                place.start = self.end;
                self.end += place.size.next_multiple_of(BLOCK);
            }
        }
    }

    fn count_links(&mut self, tree: &Tree) {
        let mut stack = vec![ROOT];
        self.places[ROOT as usize].links = 1;
        while let Some(id) = stack.pop() {
            self.order.push(id);
            let Some(children) = tree.children(id) else {
                continue;
            };
            let mut links = 1;
            for &child in children.values().rev() {
                let known = &mut self.places[child as usize].links;
                *known += 1;
                if *known == 1 {
                    stack.push(child);
                }
                if tree.node(child).is_directory() {
                    links += 1;
                }
            }
            self.places[id as usize].links += links;
        }
    }

    /// Gives the first free offset behind it.
    fn place_inode(&mut self, tree: &Tree, id: NodeId, free: u64, spilled: &Spilled) -> u64 {
        let node = tree.node(id);
        let base = INODE_BYTES + xattrs_size(&node.xattrs);
        let place = &mut self.places[id as usize];
        let mut tail = None;
        match &node.content {
            Content::Directory { .. } => {
                place.size = directory_size(&entries(tree, id));
                tail = (place.size <= BLOCK).then_some(place.size);
            }
            Content::Symlink(target) => {
                place.size = target.len() as u64;
                self.size_bytes += place.size;
                // Links with attributes are rare; the kernel reads them from a block of their own.
                tail = node.xattrs.is_empty().then_some(place.size);
            }
            Content::File { offset, size } => {
                place.size = *size;
                place.start = super::TAR_OFFSET + offset;
                self.size_bytes += size;
            }
            Content::Sparse { size, .. } => {
                place.size = *size;
                place.start = spilled.starts.get(&id).copied().unwrap_or_default();
                self.size_bytes += size;
            }
            _ => {}
        }
        let mut offset = free.next_multiple_of(SLOT);
        if offset % BLOCK > BLOCK - INODE_BYTES {
            offset = offset.next_multiple_of(BLOCK);
        }
        let fits = |offset: u64, tail: u64| (offset + base) % BLOCK + tail <= BLOCK;
        if let Some(tail) = tail {
            if fits(offset, tail) {
                place.is_inline = true;
            } else if fits(0, tail) {
                // What follows an inode must not cross a block's end.
                offset = offset.next_multiple_of(BLOCK);
                place.is_inline = true;
            }
        }
        place.offset = offset;
        offset + base + if place.is_inline { place.size } else { 0 }
    }
}

/// A name in a directory, and what has it.
pub(super) type Listed<'a> = (&'a [u8], NodeId);

/// What a directory lists, in the order of names; `.` and `..` have no special place.
pub(super) fn entries(tree: &Tree, id: NodeId) -> Vec<(&[u8], NodeId)> {
    let Content::Directory { children, parent } = &tree.node(id).content else {
        return Vec::new();
    };
    let mut entries: Vec<(&[u8], NodeId)> = Vec::with_capacity(children.len() + 2);
    entries.push((b".", id));
    entries.push((b"..", *parent));
    entries.extend(children.iter().map(|(name, child)| (&**name, *child)));
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries
}

/// Takes as many entries as one block holds; gives them, their length and the rest.
pub(super) fn take_block<'a, 'b>(
    entries: &'b [Listed<'a>],
) -> (&'b [Listed<'a>], u64, &'b [Listed<'a>]) {
    let mut length = 0;
    let mut count = 0;
    for (name, _) in entries {
        let more = (DIRENT + name.len()) as u64;
        if length + more > BLOCK {
            break;
        }
        length += more;
        count += 1;
    }
    let (block, rest) = entries.split_at(count);
    (block, length, rest)
}

fn directory_size(mut entries: &[(&[u8], NodeId)]) -> u64 {
    let mut size = 0;
    loop {
        let (_, length, rest) = take_block(entries);
        if rest.is_empty() {
            return size + length;
        }
        size += BLOCK;
        entries = rest;
    }
}
