//! A tree of files as a tar: `docker export`, and the layer of a commit.
//!
//! The tree may belong to a running container, so nothing in it is trusted: every step opens one name without following
//! links or crossing mounts, and what vanishes meanwhile is left out.

use crate::tar::{Entry, EntryKind, TarWriter, Time};
use crate::unpack::is_whiteout;
use gantry_base::{Context, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeKind {
    /// What a container sees: written as it is.
    Merged,
    /// The upper directory of an overlay: its marks of deletion are written as OCI's whiteouts.
    Upper,
}

/// Writes everything beneath `root`, but not `root` itself, as a tar in the order of names. Times are whole seconds and
/// sockets are left out, as in Docker.
///
/// # Errors
/// What reading the tree or writing the tar met.
pub fn export(root: BorrowedFd<'_>, kind: TreeKind, output: impl Write) -> Result<()> {
    let mut export = Export::new(kind, output);
    export.walk(open_directory(root)?, Vec::new())?;
    export.archive.finish()?;
    Ok(())
}

/// Writes a directory with everything beneath it, as `name`.
///
/// # Errors
/// What reading the tree or writing the tar met.
pub fn export_directory(root: BorrowedFd<'_>, name: &[u8], output: impl Write) -> Result<()> {
    let mut export = Export::new(TreeKind::Merged, output);
    let directory = open_directory(root)?;
    let stat = rustix::fs::fstat(&directory).map_err(std::io::Error::from)?;
    let slash: &[u8] = if name.ends_with(b"/") { b"" } else { b"/" };
    let path = [name, slash].concat();
    let mut own = entry(path.clone(), EntryKind::Directory, &stat);
    own.xattrs = attributes(directory.as_fd())?;
    export.archive.begin(&own)?;
    export.walk(directory, path)?;
    export.archive.finish()?;
    Ok(())
}

/// Writes what is called `file` in `parent`, as `name`; a link is not followed.
///
/// # Errors
/// What reading the file or writing the tar met.
pub fn export_file(parent: OwnedFd, file: &CStr, name: &[u8], output: impl Write) -> Result<()> {
    let mut export = Export::new(TreeKind::Merged, output);
    export.member(&parent, file, name.to_vec())?;
    export.archive.finish()?;
    Ok(())
}

pub(crate) fn open_directory(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(root, ".", flags, Mode::empty());
    opened
        .map_err(std::io::Error::from)
        .context("cannot read the tree")
}

/// A directory on the way down, with the names still to go, the last of them first.
pub(crate) struct Level {
    pub(crate) directory: OwnedFd,
    pub(crate) path: Vec<u8>,
    pub(crate) names: Vec<CString>,
}

impl Level {
    pub(crate) fn read(directory: OwnedFd, path: Vec<u8>) -> Result<Self> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(std::io::Error::from)? {
            let name = entry.map_err(std::io::Error::from)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self {
            directory,
            path,
            names,
        })
    }
}

struct Export<W> {
    kind: TreeKind,
    archive: TarWriter<W>,
    /// Where files with several names were written first.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Export<W> {
    fn new(kind: TreeKind, output: W) -> Self {
        Self {
            kind,
            archive: TarWriter::new(output),
            links: HashMap::new(),
            buffer: vec![0; 128 << 10],
        }
    }

    /// Writes everything beneath a directory, whose members' paths begin with `path`.
    fn walk(&mut self, directory: OwnedFd, path: Vec<u8>) -> Result<()> {
        let mut stack = vec![Level::read(directory, path)?];
        while let Some(level) = stack.last_mut() {
            let Some(name) = level.names.pop() else {
                stack.pop();
                continue;
            };
            let path = [level.path.as_slice(), name.to_bytes()].concat();
            let member = self.member(&level.directory, &name, path.clone());
            let child = member
                .with_context(|| format!("cannot archive {:?}", String::from_utf8_lossy(&path)))?;
            if let Some(directory) = child {
                stack.push(Level::read(directory, [path.as_slice(), b"/"].concat())?);
            }
        }
        Ok(())
    }

    /// Writes one name; gives the directory to go into, if it is one.
    fn member(&mut self, parent: &OwnedFd, name: &CStr, path: Vec<u8>) -> Result<Option<OwnedFd>> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(std::io::Error::from(error).into()),
        };
        if self.kind == TreeKind::Upper && is_whiteout(&stat) {
            self.archive.file(&mark(&path, ".wh."), b"")?;
            return Ok(None);
        }
        let Some(kind) = kind_of(&stat) else {
            return Ok(None);
        };
        let mut entry = entry(path, kind, &stat);
        if kind != EntryKind::Directory && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                self.archive.begin(&entry)?;
                return Ok(None);
            }
            self.links.insert(key, entry.path.clone());
        }
        match kind {
            EntryKind::Directory => return self.directory(parent, name, entry),
            EntryKind::Regular => self.file(parent, name, entry, &stat)?,
            EntryKind::Symlink => {
                let target = match rustix::fs::readlinkat(parent, name, Vec::new()) {
                    Ok(target) => target,
                    // Gone, or no link any more.
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                    Err(error) => return Err(std::io::Error::from(error).into()),
                };
                entry.link = target.into_bytes();
                self.archive.begin(&entry)?;
            }
            _ => {
                entry.device_major = rustix::fs::major(stat.st_rdev);
                entry.device_minor = rustix::fs::minor(stat.st_rdev);
                self.archive.begin(&entry)?;
            }
        }
        Ok(None)
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &CStr,
        mut entry: Entry,
    ) -> Result<Option<OwnedFd>> {
        let opened = open(parent, name, OFlags::DIRECTORY)?;
        if let Some(directory) = &opened {
            entry.xattrs = attributes(directory.as_fd())?;
        }
        let path = entry.path.clone();
        entry.path.push(b'/');
        self.archive.begin(&entry)?;
        if self.kind == TreeKind::Upper
            && let Some(directory) = &opened
            && is_opaque(directory.as_fd())
        {
            self.archive.file(
                &mark(&[path.as_slice(), b"/.wh..opq"].concat(), ".wh."),
                b"",
            )?;
        }
        Ok(opened)
    }

    /// Exactly as many bytes as the header says: cut where the file grows meanwhile, zeros where it shrinks.
    fn file(&mut self, parent: &OwnedFd, name: &CStr, mut entry: Entry, stat: &Stat) -> Result<()> {
        // Never waits for a device or FIFO that took the file's place.
        let opened = open(parent, name, OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let Some(file) = opened else {
            entry.size = 0;
            return self.archive.begin(&entry);
        };
        let found = rustix::fs::fstat(&file).map_err(std::io::Error::from)?;
        if (found.st_dev, found.st_ino) != (stat.st_dev, stat.st_ino)
            || kind_of(&found) != Some(EntryKind::Regular)
        {
            return Ok(());
        }
        entry.size = u64::try_from(found.st_size).unwrap_or(0);
        entry.xattrs = attributes(file.as_fd())?;
        self.archive.begin(&entry)?;
        let mut left = entry.size;
        let mut file = File::from(file);
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let mut length = file.read(&mut self.buffer[..wanted])?;
            if length == 0 {
                self.buffer[..wanted].fill(0);
                length = wanted;
            }
            self.archive.write(&self.buffer[..length])?;
            left -= length as u64;
        }
        Ok(())
    }
}

/// None if it vanished, or if something is mounted on it.
pub(crate) fn open(parent: &OwnedFd, name: &CStr, flags: OFlags) -> Result<Option<OwnedFd>> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::XDEV | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

fn kind_of(stat: &Stat) -> Option<EntryKind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::Regular,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::CharacterDevice => EntryKind::CharacterDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::Fifo => EntryKind::Fifo,
        _ => return None,
    })
}

fn entry(path: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
    Entry {
        path,
        kind,
        link: Vec::new(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time {
            seconds: stat.st_mtime,
            nanoseconds: 0,
        },
        device_major: 0,
        device_minor: 0,
        size: 0,
        segments: None,
        xattrs: Vec::new(),
    }
}

/// An empty file whose name, after `prefix`, says what is gone.
fn mark(path: &[u8], prefix: &str) -> Entry {
    let at = path
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |at| at + 1);
    Entry {
        path: [&path[..at], prefix.as_bytes(), &path[at..]].concat(),
        kind: EntryKind::Regular,
        link: Vec::new(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        device_major: 0,
        device_minor: 0,
        size: 0,
        segments: None,
        xattrs: Vec::new(),
    }
}

pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(directory, "trusted.overlay.opaque", &mut value[..]) == Ok(1)
        && &value == b"y"
}

/// Capabilities of programs, and what users noted; labels of this host's security modules stay here.
pub(crate) fn attributes(file: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = [0u8; 4096];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(error) => {
            return Err(std::io::Error::from(error)).with_context(|| {
                format!(
                    "cannot list the attributes of descriptor {}",
                    file.as_raw_fd()
                )
            });
        }
    };
    let mut found = Vec::new();
    let is_kept = |name: &[u8]| {
        name == b"security.capability"
            || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    };
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| is_kept(name))
    {
        let mut value = vec![0u8; 64 << 10];
        if let Ok(length) = rustix::fs::fgetxattr(file, name, &mut value[..]) {
            value.truncate(length);
            found.push((name.to_vec(), value));
        }
    }
    Ok(found)
}
