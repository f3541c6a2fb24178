//! Copies what an image has at a volume's target into the volume, once, while it is empty.

use gantry_base::{Context, Result};
use gantry_sys::beneath::Root;
use rustix::fs::{AtFlags, OFlags, Timespec, Timestamps};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

/// Copies what the image has at `target` into an empty volume, with owners and modes, as Docker does on first use.
pub(crate) fn copy_up(volume: &Path, root: &Root, target: &str) -> Result<()> {
    let is_empty = std::fs::read_dir(volume)
        .with_context(|| format!("cannot read {}", volume.display()))?
        .next()
        .is_none();
    if !is_empty {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Nothing there, or no directory: nothing to copy.
    let Ok(source) = root.resolve(Path::new(target), flags) else {
        return Ok(());
    };
    copy_tree(source, volume)
        .with_context(|| format!("cannot copy {target} of the image into its volume"))
}

/// Copies a directory's content and its own owner and mode. Reads by descriptor and follows no link; the destination is ours alone.
fn copy_tree(source: std::os::fd::OwnedFd, destination: &Path) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(&source)?;
    let directory = rustix::fs::Dir::read_from(&source)?;
    for entry in directory {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let path = destination.join(OsStr::from_bytes(name.to_bytes()));
        copy_entry(&source, name, &path)?;
    }
    std::os::unix::fs::chown(destination, Some(stat.st_uid), Some(stat.st_gid))?;
    std::fs::set_permissions(
        destination,
        std::os::unix::fs::PermissionsExt::from_mode(stat.st_mode & 0o7777),
    )?;
    set_times(destination, &stat)
}

fn set_times(path: &Path, stat: &rustix::fs::Stat) -> std::io::Result<()> {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn copy_entry(
    parent: &std::os::fd::OwnedFd,
    name: &std::ffi::CStr,
    path: &Path,
) -> std::io::Result<()> {
    use rustix::fs::{FileType, Mode};
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            std::fs::DirBuilder::new().mode(0o700).create(path)?;
            return copy_tree(
                rustix::fs::openat(parent, name, flags | OFlags::DIRECTORY, Mode::empty())?,
                path,
            );
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(parent, name, Vec::new())?;
            std::os::unix::fs::symlink(OsStr::from_bytes(link.to_bytes()), path)?;
            std::os::unix::fs::lchown(path, Some(stat.st_uid), Some(stat.st_gid))?;
            return set_times(path, &stat);
        }
        FileType::RegularFile => {
            let mut from =
                std::fs::File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
            let mut to = std::fs::File::create_new(path)?;
            std::io::copy(&mut from, &mut to)?;
        }
        kind => rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            kind,
            Mode::from_raw_mode(stat.st_mode & 0o7777),
            stat.st_rdev,
        )?,
    }
    std::os::unix::fs::lchown(path, Some(stat.st_uid), Some(stat.st_gid))?;
    std::fs::set_permissions(
        path,
        std::os::unix::fs::PermissionsExt::from_mode(stat.st_mode & 0o7777),
    )?;
    debug_assert!(std::fs::symlink_metadata(path).is_ok_and(|copy| copy.uid() == stat.st_uid));
    set_times(path, &stat)
}
