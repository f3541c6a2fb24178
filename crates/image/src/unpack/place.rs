//! Makes one member: its file, link, directory or device, and then its owner, attributes, mode and times.

use super::{Layer, path, whiteout};
use crate::tar::{Entry, EntryKind, TarReader, Time};
use gantry_base::{Context, Error, Result};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::io::BufRead;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const SET_ID_BITS: u32 = 0o6000;

impl Layer {
    pub(super) fn place<R: BufRead>(
        &mut self,
        full: &[u8],
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        archive: &mut TarReader<R>,
    ) -> Result<()> {
        match entry.kind {
            EntryKind::Regular => self.place_file(parent, name, entry, archive),
            EntryKind::Directory => self.place_directory(full, parent, name, entry),
            EntryKind::HardLink => self.place_hard_link(full, parent, name, entry),
            EntryKind::Symlink => self.place_symlink(parent, name, entry),
            EntryKind::CharacterDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                self.place_node(parent, name, entry)
            }
        }
    }

    /// Runs `make`; if something is in the way, removes it and runs `make` again.
    fn replacing<T>(
        &mut self,
        parent: &[u8],
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T> {
        match make(self.parents.directory(parent)?) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(|error| std::io::Error::from(error).into()),
        }
        self.is_recount_needed = true;
        self.parents.forget();
        let directory = self.parents.directory(parent)?;
        gantry_sys::file::remove_tree(directory, name)?;
        make(directory).map_err(|error| std::io::Error::from(error).into())
    }

    fn place_file<R: BufRead>(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        archive: &mut TarReader<R>,
    ) -> Result<()> {
        if entry.size > self.limits.layer_bytes {
            return Err(Error::invalid("a file is longer than a layer may be"));
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.replacing(parent, name, |directory| {
            rustix::fs::openat(directory, name, flags, mode(entry))
        })?;
        match &entry.segments {
            None => self.copy(&file, archive)?,
            Some(segments) => {
                rustix::fs::ftruncate(&file, entry.size).map_err(std::io::Error::from)?;
                for segment in segments {
                    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(segment.offset))
                        .map_err(std::io::Error::from)?;
                    self.copy_piece(&file, archive, segment.length)?;
                }
            }
        }
        self.size_bytes += entry.size;
        let is_owned = self.is_owner_needed(entry);
        if is_owned {
            rustix::fs::fchown(&file, Some(uid(entry)), Some(gid(entry)))
                .map_err(std::io::Error::from)?;
        }
        set_attributes_of_open(&file, entry)?;
        if is_owned && entry.mode & SET_ID_BITS != 0 {
            rustix::fs::fchmod(&file, mode(entry)).map_err(std::io::Error::from)?;
        }
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(std::io::Error::from)?;
        Ok(())
    }

    fn copy<R: BufRead>(&mut self, file: &OwnedFd, archive: &mut TarReader<R>) -> Result<()> {
        let left = archive.payload_left();
        self.copy_piece(file, archive, left)
    }

    fn copy_piece<R: BufRead>(
        &mut self,
        file: &OwnedFd,
        archive: &mut TarReader<R>,
        mut length: u64,
    ) -> Result<()> {
        while length > 0 {
            let bytes = archive.payload()?;
            let step = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let written = match rustix::io::write(file, &bytes[..step]) {
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(std::io::Error::from(error).into()),
            };
            archive.consume(written);
            length -= written as u64;
            self.reserve(written as u64)?;
        }
        Ok(())
    }

    fn place_directory(
        &mut self,
        full: &[u8],
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let directory = self.parents.directory(parent)?;
        match rustix::fs::mkdirat(directory, name, mode(entry)) {
            Ok(()) => self.finish_named(parent, name, entry)?,
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(std::io::Error::from)?;
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if is_directory {
                    rustix::fs::chmodat(directory, name, mode(entry), AtFlags::empty())
                        .map_err(std::io::Error::from)?;
                    self.set_owner_of_existing(parent, name, entry)?;
                    self.finish_named(parent, name, entry)?;
                } else {
                    self.replacing(parent, name, |directory| {
                        rustix::fs::mkdirat(directory, name, mode(entry))
                    })?;
                    self.finish_named(parent, name, entry)?;
                    if whiteout::is_whiteout(&stat) {
                        // First deleted, then made anew: nothing of the old one may show through.
                        self.make_opaque(full)?;
                    }
                }
            }
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        self.group_is_inherited |= entry.mode & 0o2000 != 0;
        self.directory_times.insert(full.to_vec(), entry.mtime);
        Ok(())
    }

    /// A directory may be repeated with another owner, also with root.
    fn set_owner_of_existing(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let directory = self.parents.directory(parent)?;
        rustix::fs::chownat(
            directory,
            name,
            Some(uid(entry)),
            Some(gid(entry)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(std::io::Error::from)?;
        Ok(())
    }

    fn place_hard_link(
        &mut self,
        full: &[u8],
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> Result<()> {
        let target = path::clean(&entry.link).context("invalid hardlink")?;
        let target = self
            .extract
            .as_ref()
            .map_or(target.clone(), |to| to.full(&target));
        if target == full {
            return Ok(());
        }
        let Some((target_parent, target_name)) = path::split(&target) else {
            return Err(Error::invalid(
                "invalid hardlink: it leads to the root of the layer",
            ));
        };
        let link = |from: BorrowedFd<'_>, to: BorrowedFd<'_>| {
            rustix::fs::linkat(from, target_name, to, name, AtFlags::empty())
        };
        let linked = if target_parent == parent {
            self.replacing(parent, name, |directory| link(directory, directory))
        } else {
            let from = self.parents.existing(target_parent);
            let from = from.with_context(|| {
                format!(
                    "cannot find the hard link's target {:?}",
                    super::lossy(&target)
                )
            })?;
            self.replacing(parent, name, |directory| link(from.as_fd(), directory))
        };
        linked.with_context(|| format!("cannot link to {:?}", super::lossy(&target)))
    }

    fn place_symlink(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        self.replacing(parent, name, |directory| {
            rustix::fs::symlinkat(entry.link.as_slice(), directory, name)
        })?;
        self.size_bytes += entry.link.len() as u64;
        self.finish_named(parent, name, entry)?;
        self.set_times(parent, name, entry)
    }

    fn place_node(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let kind = match entry.kind {
            EntryKind::CharacterDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = rustix::fs::makedev(entry.device_major, entry.device_minor);
        self.replacing(parent, name, |directory| {
            rustix::fs::mknodat(directory, name, kind, mode(entry), device)
        })?;
        self.finish_named(parent, name, entry)?;
        self.set_times(parent, name, entry)
    }

    /// Owner, attributes and mode of what was just made and is not open.
    fn finish_named(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let is_owned = self.is_owner_needed(entry);
        let directory = self.parents.directory(parent)?;
        if is_owned {
            rustix::fs::chownat(
                directory,
                name,
                Some(uid(entry)),
                Some(gid(entry)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(std::io::Error::from)?;
        }
        set_attributes_of_named(directory, name, entry)?;
        // Directories are made without set-id bits; changing the owner takes them from others.
        let is_mode_lost =
            entry.mode & SET_ID_BITS != 0 && (is_owned || entry.kind == EntryKind::Directory);
        let is_group_bit_inherited = entry.kind == EntryKind::Directory && self.group_is_inherited;
        if entry.kind != EntryKind::Symlink && (is_mode_lost || is_group_bit_inherited) {
            rustix::fs::chmodat(directory, name, mode(entry), AtFlags::empty())
                .map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    fn set_times(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<()> {
        let directory = self.parents.directory(parent)?;
        rustix::fs::utimensat(
            directory,
            name,
            &times(entry.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(std::io::Error::from)?;
        Ok(())
    }

    /// What root makes belongs to root, unless a directory hands its group down.
    fn is_owner_needed(&self, entry: &Entry) -> bool {
        entry.uid != 0 || entry.gid != 0 || self.group_is_inherited
    }
}

pub(super) fn set_times_of_directory(directory: OwnedFd, time: Time) -> Result<()> {
    rustix::fs::futimens(&directory, &times(time)).map_err(std::io::Error::from)?;
    Ok(())
}

/// Attributes that steer overlayfs are never taken from an archive: they would forge redirects and hidden directories.
pub(crate) fn is_kept_attribute(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
}

fn kept_attributes(entry: &Entry) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
    let attributes = entry.xattrs.iter();
    attributes.filter(|(name, _)| is_kept_attribute(name))
}

/// File systems and file types without attributes are no error, as in Docker.
fn tolerate(result: Result<(), Errno>, name: &[u8]) -> Result<()> {
    match result {
        Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(error) => Err(std::io::Error::from(error))
            .with_context(|| format!("cannot set the extended attribute {:?}", super::lossy(name))),
    }
}

fn set_attributes_of_open(file: &OwnedFd, entry: &Entry) -> Result<()> {
    for (name, value) in kept_attributes(entry) {
        tolerate(
            rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()),
            name,
        )?;
    }
    Ok(())
}

fn set_attributes_of_named(directory: BorrowedFd<'_>, file: &[u8], entry: &Entry) -> Result<()> {
    for (name, value) in kept_attributes(entry) {
        // The link in procfs leads to the directory itself, and the last component is not followed.
        let path = [
            format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(),
            file,
        ]
        .concat();
        tolerate(
            rustix::fs::lsetxattr(path.as_slice(), name.as_slice(), value, XattrFlags::empty()),
            name,
        )?;
    }
    Ok(())
}

fn mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode as RawMode)
}

fn uid(entry: &Entry) -> Uid {
    Uid::from_raw(entry.uid)
}

fn gid(entry: &Entry) -> Gid {
    Gid::from_raw(entry.gid)
}

fn times(time: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
