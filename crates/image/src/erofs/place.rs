//! Gives each member its place in the tree: the same rules as [`crate::unpack`], without a file system to enforce them.

use super::tree::{Children, Content, Node, NodeId, ROOT, Tree};
use crate::Limits;
use crate::tar::{Entry, EntryKind};
use crate::unpack::{
    Mark, OPAQUE, ORIGIN, clean_path, is_kept_attribute, lossy, parse_mark, split,
};
use gantry_base::{Context, Error, Result};
use rustix::io::Errno;

/// The kernel takes no longer path or link.
const PATH_BYTES_MAX: usize = 4095;
/// The longest value of an attribute, and all attributes of a file together.
const XATTR_BYTES_MAX: usize = 65_535;
const XATTRS_BYTES_MAX: usize = 200_000;

impl Tree {
    /// Adds a member whose data, if it has any, begin at `offset` of the tar. An error comes with the member's path.
    pub(super) fn add(
        &mut self,
        entry: Entry,
        offset: u64,
        limits: &Limits,
    ) -> Result<(), (Vec<u8>, Error)> {
        let path = entry.path.clone();
        self.member(entry, offset, limits)
            .map_err(|error| (path, error))
    }

    fn member(&mut self, entry: Entry, offset: u64, limits: &Limits) -> Result<()> {
        let path = clean_path(&entry.path)?;
        let Some((parent, name)) = split(&path) else {
            // Docker gives every layer's root 0755 root:root, whatever the archive says.
            return match entry.kind {
                EntryKind::Directory => Ok(()),
                _ => Err(Error::invalid("the root of a layer is not a directory")),
            };
        };
        if path.len() > PATH_BYTES_MAX || entry.link.len() > PATH_BYTES_MAX {
            return Err(system(Errno::NAMETOOLONG));
        }
        if let Some(mark) = parse_mark(parent, name)? {
            return self.apply_mark(parent, &mark).map_err(system);
        }
        match entry.kind {
            EntryKind::HardLink => self.add_hard_link(&path, parent, name, &entry),
            EntryKind::Directory => self.add_directory(parent, name, entry),
            kind => {
                if kind == EntryKind::Regular && entry.size > limits.layer_bytes {
                    return Err(Error::invalid("a file is longer than a layer may be"));
                }
                let directory = self.directory(parent).map_err(system)?;
                let node = node(entry, offset)?;
                let id = self.push(node);
                self.replace(directory, name, id).map_err(system)
            }
        }
    }

    /// Gives a node its name; what had that name goes.
    fn replace(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> Result<(), Errno> {
        match self.link(directory, name, id) {
            Err(Errno::EXIST) => {
                self.unlink(directory, name);
                self.link(directory, name, id)
            }
            linked => linked,
        }
    }

    fn add_directory(&mut self, parent: &[u8], name: &[u8], entry: Entry) -> Result<()> {
        let directory = self.directory(parent).map_err(system)?;
        let mut made = node(entry, 0)?;
        if let Some(known) = self.child(directory, name) {
            let node = self.node_mut(known);
            if node.is_directory() {
                (node.mode, node.uid, node.gid, node.mtime) =
                    (made.mode, made.uid, made.gid, made.mtime);
                for (name, value) in &made.xattrs {
                    node.set_xattr(name, value);
                }
                return Ok(());
            }
            if node.is_whiteout() {
                // First deleted, then made anew: nothing of the old one may show through.
                made.set_xattr(OPAQUE, b"y");
            }
        }
        if let Content::Directory { parent, .. } = &mut made.content {
            *parent = directory;
        }
        let id = self.push(made);
        self.replace(directory, name, id).map_err(system)
    }

    fn add_hard_link(
        &mut self,
        full: &[u8],
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let target = clean_path(&entry.link).context("invalid hardlink")?;
        if target == full {
            return Ok(());
        }
        let Some((target_parent, target_name)) = split(&target) else {
            return Err(Error::invalid(
                "invalid hardlink: it leads to the root of the layer",
            ));
        };
        let from = if target_parent == parent {
            self.directory(parent)
        } else {
            self.resolve(target_parent)
        };
        let linked = from.and_then(|from| {
            let directory = self.directory(parent)?;
            if self.child(from, target_name).is_none() {
                return Err(Errno::NOENT);
            }
            if self.child(directory, name).is_some() {
                self.unlink(directory, name);
            }
            // The target may just have gone with what was in the way.
            let id = self.child(from, target_name).ok_or(Errno::NOENT)?;
            if self.node(id).is_directory() {
                return Err(Errno::PERM);
            }
            self.link(directory, name, id)
        });
        linked
            .map_err(system)
            .with_context(|| format!("cannot link to {:?}", lossy(&target)))
    }

    fn apply_mark(&mut self, parent: &[u8], mark: &Mark) -> Result<(), Errno> {
        match mark {
            Mark::Ignored => Ok(()),
            Mark::Opaque => {
                let directory = self.directory(parent)?;
                self.node_mut(directory).set_xattr(OPAQUE, b"y");
                Ok(())
            }
            Mark::Whiteout(name) => self.hide(parent, name),
        }
    }

    fn hide(&mut self, parent: &[u8], name: &[u8]) -> Result<(), Errno> {
        let directory = self.directory(parent)?;
        // The mark speaks of the layers below; what this layer has itself stays.
        if let Some(known) = self.child(directory, name) {
            let node = self.node_mut(known);
            if node.is_directory() {
                node.set_xattr(OPAQUE, b"y");
            }
            return Ok(());
        }
        let whiteout = self.push(Node {
            content: Content::CharacterDevice(0, 0),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: crate::tar::Time::default(),
            xattrs: Vec::new(),
        });
        self.link(directory, name, whiteout)?;
        self.node_mut(directory).set_xattr(ORIGIN, b"");
        Ok(())
    }
}

fn system(errno: Errno) -> Error {
    std::io::Error::from(errno).into()
}

/// The node of a member that is no hard link. Directories get their parent later.
fn node(entry: Entry, offset: u64) -> Result<Node> {
    let xattrs = attributes(&entry)?;
    let (major, minor) = (entry.device_major, entry.device_minor);
    let mut mode = entry.mode;
    let content = match entry.kind {
        EntryKind::Regular | EntryKind::HardLink => match entry.segments {
            None => Content::File {
                offset,
                size: entry.size,
            },
            Some(segments) => Content::Sparse {
                offset,
                size: entry.size,
                segments,
            },
        },
        EntryKind::Directory => Content::Directory {
            children: Children::new(),
            parent: ROOT,
        },
        EntryKind::Symlink => {
            mode = 0o777;
            Content::Symlink(entry.link.into())
        }
        // The kernel's numbers have 12 and 20 bits.
        EntryKind::CharacterDevice => Content::CharacterDevice(major & 0xfff, minor & 0xf_ffff),
        EntryKind::BlockDevice => Content::BlockDevice(major & 0xfff, minor & 0xf_ffff),
        EntryKind::Fifo => Content::Fifo,
    };
    Ok(Node {
        content,
        mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs,
    })
}

/// The attributes that a file system would take: those it knows not, or not for this type of file, are dropped.
fn attributes(entry: &Entry) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let is_plain = matches!(entry.kind, EntryKind::Regular | EntryKind::Directory);
    let mut kept: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut total = 0;
    for (name, value) in &entry.xattrs {
        let is_acl = name.starts_with(b"system.posix_acl_");
        let is_known = super::image::xattr_prefix(name).is_some();
        let needs_plain = is_acl || name.starts_with(b"user.");
        if !is_kept_attribute(name) || !is_known || (needs_plain && !is_plain) {
            continue;
        }
        total += name.len() + value.len() + 8;
        let is_nameless = super::image::xattr_prefix(name).is_some_and(|(_, rest)| rest.is_empty());
        let fault = if (is_nameless && !is_acl) || (is_acl && !is_access_list(value)) {
            Some(Errno::INVAL)
        } else if name.len() > 255 {
            Some(Errno::RANGE)
        } else if value.len() > XATTR_BYTES_MAX || total > XATTRS_BYTES_MAX {
            Some(Errno::NOSPC)
        } else {
            None
        };
        if let Some(fault) = fault {
            let text = format!("cannot set the extended attribute {:?}", lossy(name));
            return Err(system(fault).prefixed(text));
        }
        kept.push((name.clone(), value.clone()));
    }
    Ok(kept)
}

/// Version 2, and entries of eight bytes.
fn is_access_list(value: &[u8]) -> bool {
    value.len() % 8 == 4 && value.starts_with(&[2, 0, 0, 0])
}
