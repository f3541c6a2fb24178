//! Removing a container's directories, with those that were made inside of them.

use std::io;
use std::time::Duration;

use gantry_base::{Error, Result};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::Cgroup;
use super::dir::Dir;
use super::process::children;

/// Pauses between tries: a process that was killed leaves its cgroup a moment after its parent was told.
const PAUSES_MS: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// Removes all; goes on after a failure and reports the first.
pub(super) fn all(cgroup: &Cgroup) -> Result<()> {
    cgroup
        .dirs()
        .map(|dir| patiently(&dir))
        .fold(Ok(()), Result::and)
}

fn patiently(dir: &Dir<'_>) -> Result<()> {
    let mut pauses = PAUSES_MS.iter();
    loop {
        let error = match tree(dir) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match pauses.next() {
            Some(pause) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(*pause));
            }
            _ => {
                return Err(
                    Error::from(error).prefixed(format!("unable to remove {}", dir.shown("")))
                );
            }
        }
    }
}

/// One try, leaves first. What is gone already is fine.
fn tree(dir: &Dir<'_>) -> io::Result<()> {
    match rmdir(dir) {
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Ok(()) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // Busy by nested cgroups, or by processes: the second try tells.
    for child in children(dir).map_err(io::Error::other)? {
        tree(&Dir::new(dir.hierarchy, &child))?;
    }
    Ok(rmdir(dir)?)
}

fn rmdir(dir: &Dir<'_>) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&dir.hierarchy.root, dir.path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
