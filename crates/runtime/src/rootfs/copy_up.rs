//! Copies what a new tmpfs hides into it (`tmpcopyup`).
//!
//! Never follows a link; both trees are walked by descriptors.

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use super::mounts::open_directory;
use crate::error::{Context, Result};

/// Copies content and attributes of directory `from` to directory `to`, both may be `O_PATH`.
pub(super) fn copy(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let (from, to) = (open_directory(from)?, open_directory(to)?);
    copy_directory(&from, &to)?;
    copy_attributes(&to, &rustix::fs::fstat(&from)?)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from, to, name).with_context(|| name.to_string_lossy().into_owned())?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr) -> Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let source = rustix::fs::openat(from, name, flags | OFlags::DIRECTORY, Mode::empty())?;
            let copy = rustix::fs::openat(to, name, flags | OFlags::DIRECTORY, Mode::empty())?;
            copy_directory(&source, &copy)?;
            return copy_attributes(&copy, &stat);
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
            let create =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
            let mut writer = File::from(copy.try_clone()?);
            std::io::copy(&mut File::from(source), &mut writer)?;
            return copy_attributes(&copy, &stat);
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target.as_c_str(), to, name)?;
        }
        kind => {
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
            rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
        }
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(
        to,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn copy_attributes(to: &OwnedFd, stat: &Stat) -> Result<()> {
    rustix::fs::fchown(
        to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}
