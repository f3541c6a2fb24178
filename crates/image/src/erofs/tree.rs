//! A layer's tree in memory, with paths resolved as the kernel would beneath the layer's root.

use crate::tar::{Segment, Time};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Links that the kernel follows on one path.
const LINKS_MAX: usize = 40;
const NAME_BYTES_MAX: usize = 255;
/// Roughly what a node takes besides its names and attributes.
const NODE_BYTES: u64 = 200;

pub(super) type NodeId = u32;
pub(super) type Children = BTreeMap<Box<[u8]>, NodeId>;
pub(super) const ROOT: NodeId = 0;

/// What a node is.
#[derive(Debug)]
pub(super) enum Content {
    Directory {
        children: Children,
        parent: NodeId,
    },
    /// Bytes at an offset of the tar.
    File {
        offset: u64,
        size: u64,
    },
    /// A file with holes: its pieces follow each other from an offset of the tar.
    Sparse {
        offset: u64,
        size: u64,
        segments: Vec<Segment>,
    },
    Symlink(Box<[u8]>),
    /// Device numbers.
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// A file, under one name or several.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    /// Permission bits, set-id bits and sticky bit.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Node {
    pub(super) fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory { .. })
    }
    /// Whether it is overlayfs' mark of a deleted file.
    pub(super) fn is_whiteout(&self) -> bool {
        matches!(self.content, Content::CharacterDevice(0, 0))
    }
    pub(super) fn set_xattr(&mut self, name: impl AsRef<[u8]>, value: &[u8]) {
        let name = name.as_ref();
        match self.xattrs.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_vec(),
            None => self.xattrs.push((name.to_vec(), value.to_vec())),
        }
    }
}

/// All nodes; the first is the root. Nodes that were removed stay until the end, without a name.
pub(super) struct Tree {
    nodes: Vec<Node>,
    bytes: u64,
    /// The directory that was made or found last: archives are in tree order.
    last: Option<(Vec<u8>, NodeId)>,
    /// For directories that no archive speaks of.
    now_s: i64,
}

impl Tree {
    pub(super) fn new(now_s: i64) -> Self {
        let mut tree = Self {
            nodes: Vec::new(),
            bytes: 0,
            last: None,
            now_s,
        };
        let root = tree.implied_directory(ROOT);
        tree.push(root);
        tree
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }
    /// Roughly what it takes up in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
    pub(super) fn children(&self, id: NodeId) -> Option<&Children> {
        match &self.node(id).content {
            Content::Directory { children, .. } => Some(children),
            _ => None,
        }
    }
    pub(super) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.children(directory)?.get(name).copied()
    }
    /// Bytes that files with holes take at most behind the tar.
    pub(super) fn spilled_bytes(&self) -> u64 {
        let sizes = self.nodes.iter().map(|node| match node.content {
            Content::Sparse { size, .. } => size.saturating_add(super::BLOCK),
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Adds a node that has no name yet.
    pub(super) fn push(&mut self, node: Node) -> NodeId {
        let attributes = node.xattrs.iter();
        let attributes: usize = attributes
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum();
        let more = match &node.content {
            Content::Symlink(target) => target.len(),
            Content::Sparse { segments, .. } => segments.len() * size_of::<Segment>(),
            _ => 0,
        };
        self.bytes += NODE_BYTES + (attributes + more) as u64;
        self.nodes.push(node);
        NodeId::try_from(self.nodes.len() - 1).expect("memory has a limit")
    }

    /// Gives a node a name in a directory.
    pub(super) fn link(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> Result<(), Errno> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if self.child(directory, name).is_some() {
            return Err(Errno::EXIST);
        }
        self.bytes += name.len() as u64 + 40;
        match &mut self.node_mut(directory).content {
            Content::Directory { children, .. } => children.insert(name.into(), id),
            _ => return Err(Errno::NOTDIR),
        };
        Ok(())
    }

    /// Takes a name and everything beneath it away.
    pub(super) fn unlink(&mut self, directory: NodeId, name: &[u8]) {
        self.last = None;
        let Content::Directory { children, .. } = &mut self.node_mut(directory).content else {
            return;
        };
        let mut gone: Vec<NodeId> = children.remove(name).into_iter().collect();
        while let Some(id) = gone.pop() {
            if let Content::Directory { children, .. } = &mut self.node_mut(id).content {
                gone.extend(std::mem::take(children).into_values());
            }
        }
    }

    /// The directory at a cleaned path, links in it followed beneath the root, made with its parents if missing.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<NodeId, Errno> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        if let Some((known, id)) = &self.last
            && known == path
        {
            return Ok(*id);
        }
        let id = match self.resolve(path) {
            Err(Errno::NOENT) => self.make_missing(path)?,
            other => other?,
        };
        self.last = Some((path.to_vec(), id));
        Ok(id)
    }

    /// The directory at a path, links in it followed beneath the root.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<NodeId, Errno> {
        let mut current = ROOT;
        let mut links = 0;
        // What is still to go, the next part last; a link's parts come before the rest.
        let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').rev().collect();
        while let Some(part) = parts.pop() {
            let Content::Directory { children, parent } = &self.node(current).content else {
                return Err(Errno::NOTDIR);
            };
            match part {
                b"" | b"." => {}
                b".." => current = *parent,
                name if name.len() > NAME_BYTES_MAX => return Err(Errno::NAMETOOLONG),
                name => {
                    let id = *children.get(name).ok_or(Errno::NOENT)?;
                    if let Content::Symlink(target) = &self.node(id).content {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Errno::LOOP);
                        }
                        if target.starts_with(b"/") {
                            current = ROOT;
                        }
                        parts.extend(target.split(|byte| *byte == b'/').rev());
                    } else {
                        current = id;
                    }
                }
            }
        }
        if self.node(current).is_directory() {
            Ok(current)
        } else {
            Err(Errno::NOTDIR)
        }
    }

    /// Makes what is missing below the deepest directory of a cleaned path that exists.
    fn make_missing(&mut self, path: &[u8]) -> Result<NodeId, Errno> {
        let mut end = path.len();
        let mut current = loop {
            end = memchr::memrchr(b'/', &path[..end]).unwrap_or(0);
            match self.resolve(&path[..end]) {
                Err(Errno::NOENT) if end > 0 => {}
                other => break other?,
            }
        };
        let missing = path[end..].split(|byte| *byte == b'/');
        for name in missing.filter(|name| !name.is_empty()) {
            let directory = self.implied_directory(current);
            let id = self.push(directory);
            // A link that leads nowhere is in the way.
            match self.link(current, name, id) {
                Err(Errno::EXIST) => return Err(Errno::NOTDIR),
                linked => linked?,
            }
            current = id;
        }
        Ok(current)
    }

    /// A directory that no archive speaks of; it belongs to root, unless its parent hands its group down.
    fn implied_directory(&self, parent: NodeId) -> Node {
        let inherited = self.nodes.get(parent as usize);
        let inherited = inherited.filter(|parent| parent.mode & 0o2000 != 0);
        Node {
            content: Content::Directory {
                children: Children::new(),
                parent,
            },
            mode: 0o755 | inherited.map_or(0, |_| 0o2000),
            uid: 0,
            gid: inherited.map_or(0, |parent| parent.gid),
            mtime: Time {
                seconds: self.now_s,
                nanoseconds: 0,
            },
            xattrs: Vec::new(),
        }
    }
}
