//! Asks the kernel to mount a layer's file, and whether it can at all.

use super::{Outcome, write};
use crate::Limits;
use crate::tar::{Entry, EntryKind, TarWriter, Time};
use gantry_oci::Digest;
use gantry_sys::beneath::Root;
use gantry_sys::mount::{Attributes, FsContext, Layer, Overlay, filesystem_magic};
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

const MAGIC: i64 = 0xE0F5_E1E2;
/// Longer values are taken by no file system's options.
const OPTION_BYTES_MAX: usize = 255;

/// A detached mount of a layer's file.
pub(crate) fn mount(file: &Path) -> Result<OwnedFd> {
    let context = FsContext::open("erofs")?;
    if file.as_os_str().len() <= OPTION_BYTES_MAX {
        context.string("source", file)?;
    } else {
        let opened = File::open(file)?;
        context.string("source", format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    }
    context.flag("ro")?;
    context.create(Attributes::READ_ONLY)
}

/// Whether a layer is mounted on this directory.
pub(crate) fn is_mount_of(directory: &OwnedFd) -> bool {
    filesystem_magic(directory).is_ok_and(|magic| magic == MAGIC)
}

/// Whether files in `folder` can be mounted and stacked here: it makes a small layer and reads it through an overlay.
///
/// # Errors
/// Why not: `ENODEV` from kernels without the file system, `ENOTBLK` from those that need a device or cannot map files of
/// this folder's file system, `EPERM` without the right to mount.
pub(crate) fn probe(folder: &Path) -> Result<()> {
    let path = folder.join("probe.erofs");
    let below = folder.join("probe");
    let outcome = make_probe(&path)
        .and_then(|()| match std::fs::create_dir(&below) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        })
        .and_then(|()| read_probe(&path, &below));
    // What stays is swept with everything else that is arriving.
    drop(std::fs::remove_file(&path));
    drop(std::fs::remove_dir(&below));
    outcome
}

const PROBE: &[u8] = b"stacked";

fn make_probe(path: &Path) -> Result<()> {
    let entry = Entry {
        path: b"file".to_vec(),
        kind: EntryKind::Regular,
        link: Vec::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        device_major: 0,
        device_minor: 0,
        size: PROBE.len() as u64,
        segments: None,
        xattrs: Vec::new(),
    };
    let other = |error: gantry_base::Error| Error::other(error);
    let mut tar = TarWriter::new(Vec::new());
    tar.file(&entry, PROBE).map_err(other)?;
    let tar = tar.finish().map_err(other)?;
    let options = || {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options
    };
    let file = options().open(path)?;
    match write(&tar[..], &file, &Limits::default()).map_err(other)? {
        Outcome::Written(written) => written.seal(&file, &Digest::of(&tar)).map_err(other),
        Outcome::TooLarge { .. } => Err(Error::other("a small layer is too large")),
    }
}

fn read_probe(path: &Path, below: &Path) -> Result<()> {
    let layer = mount(path)?;
    let overlay = Overlay {
        lowers: vec![Layer::Fd(layer.as_fd()), Layer::Path(below)],
        ..Overlay::default()
    };
    let root = Root::from_fd(overlay.mount()?);
    if root.read_bounded(Path::new("file"), 100)? == PROBE {
        Ok(())
    } else {
        Err(Error::other("a mounted layer has other content"))
    }
}
