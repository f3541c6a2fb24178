//! Volumes of the `local` driver as far as containers need them in the first stage: a directory by name, filled from the image once.
//!
//! The noun's own commands (create, ls, rm, prune, options, plugins) belong to a later stage and are refused by name at the door.

use crate::Shared;
use gantry_base::{Context, Error, Result};
use gantry_sys::beneath::Root;
use rustix::fs::OFlags;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The data directory of a volume, made if it is missing.
pub(crate) fn ensure(shared: &Shared, name: &str) -> Result<PathBuf> {
    check_name(name)?;
    let directory = shared.layout.volumes().join(name).join("_data");
    if !directory.is_dir() {
        let parent = directory.parent().expect("has the volume's own directory");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o701)
            .create(parent)
            .and_then(|()| {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(&directory)
            })
            .with_context(|| format!("cannot make volume {name}"))?;
    }
    Ok(directory)
}

/// A name becomes a path component, so its form is checked.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first
        && name.len() >= 2
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

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
        let path = destination.join(std::ffi::OsStr::new(&*name.to_string_lossy()));
        copy_entry(&source, name, &path)?;
    }
    std::os::unix::fs::chown(destination, Some(stat.st_uid), Some(stat.st_gid))?;
    std::fs::set_permissions(
        destination,
        std::os::unix::fs::PermissionsExt::from_mode(stat.st_mode & 0o7777),
    )
}

fn copy_entry(
    parent: &std::os::fd::OwnedFd,
    name: &std::ffi::CStr,
    path: &Path,
) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, FileType, Mode};
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
            std::os::unix::fs::symlink(std::ffi::OsStr::new(&*link.to_string_lossy()), path)?;
            return std::os::unix::fs::lchown(path, Some(stat.st_uid), Some(stat.st_gid));
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
    Ok(())
}
