//! What a container changed in its files: its writable layer against what lies below, as `docker diff` shows it.
//!
//! The writable layer may belong to a running container: as in `export`, every step opens one name without following links,
//! and what vanishes meanwhile is left out.

use crate::export::{Level, attributes, is_opaque, open};
use crate::unpack::is_whiteout;
use gantry_base::Result;
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Another content, kind, owner or mode; of a directory also any change beneath it.
    Modified,
    /// New.
    Added,
    /// Gone; what was beneath it is not listed.
    Deleted,
}

/// One line of `docker diff`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute; bytes that are no text are replaced.
    pub path: String,
    /// What became of it.
    pub kind: ChangeKind,
}

/// Compares the upper directory of an overlay with the tree below it; sorted by path.
///
/// # Errors
/// What reading the trees met.
pub fn changes(lower: OwnedFd, upper: BorrowedFd<'_>) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    let mut stack = vec![Pair {
        upper: Level::read(crate::export::open_directory(upper)?, b"/".to_vec())?,
        lower: Some(lower),
        unlisted: None,
    }];
    while let Some(pair) = stack.last_mut() {
        let Some(name) = pair.upper.names.pop() else {
            // A directory counts as changed by what changed beneath it.
            if let Some((before, directory)) = stack.pop().and_then(|pair| pair.unlisted)
                && found.len() > before
            {
                found.push(change(directory, ChangeKind::Modified));
            }
            continue;
        };
        let path = [pair.upper.path.as_slice(), name.to_bytes()].concat();
        let Some(stat) = stat_of(&pair.upper.directory, &name)? else {
            continue;
        };
        let below = match &pair.lower {
            Some(lower) => stat_of(lower, &name)?,
            None => None,
        };
        let text = String::from_utf8_lossy(&path).into_owned();
        if is_whiteout(&stat) {
            if below.is_some() {
                found.push(change(text, ChangeKind::Deleted));
            }
            continue;
        }
        let before = found.len();
        if below.is_none() {
            found.push(change(text.clone(), ChangeKind::Added));
        } else if is_different(pair, &name, &stat, below.as_ref())? {
            found.push(change(text.clone(), ChangeKind::Modified));
        }
        let unlisted = (found.len() == before).then_some((before, text));
        if !is_directory(&stat) {
            continue;
        }
        let Some(directory) = open(&pair.upper.directory, &name, OFlags::DIRECTORY)? else {
            continue;
        };
        let lower = match (&pair.lower, below) {
            (Some(lower), Some(below)) if is_directory(&below) => {
                open(lower, &name, OFlags::DIRECTORY)?
            }
            _ => None,
        };
        let upper = Level::read(directory, [path.as_slice(), b"/"].concat())?;
        if let Some(lower) = &lower
            && is_opaque(upper.directory.as_fd())
        {
            add_hidden(&upper, lower, &mut found)?;
        }
        stack.push(Pair {
            upper,
            lower,
            unlisted,
        });
    }
    found.sort();
    Ok(found)
}

/// A directory of the writable layer, and the one below it.
struct Pair {
    upper: Level,
    lower: Option<OwnedFd>,
    /// For a directory that is itself as before: how many changes were known before it, and its path.
    unlisted: Option<(usize, String)>,
}

/// What an opaque directory hides is gone unless there is something new of that name.
fn add_hidden(upper: &Level, lower: &OwnedFd, found: &mut Vec<Change>) -> Result<()> {
    let hidden = Level::read(
        crate::export::open_directory(lower.as_fd())?,
        upper.path.clone(),
    )?;
    for name in hidden
        .names
        .iter()
        .filter(|name| !upper.names.contains(name))
    {
        let path = [upper.path.as_slice(), name.to_bytes()].concat();
        let text = String::from_utf8_lossy(&path).into_owned();
        found.push(change(text, ChangeKind::Deleted));
    }
    Ok(())
}

/// As dockerd decides: of directories, size and time do not count.
fn is_different(pair: &Pair, name: &CStr, new: &Stat, old: Option<&Stat>) -> Result<bool> {
    let (Some(old), Some(lower)) = (old, &pair.lower) else {
        return Ok(true);
    };
    let same_owner = new.st_mode == old.st_mode
        && new.st_uid == old.st_uid
        && new.st_gid == old.st_gid
        && new.st_rdev == old.st_rdev;
    if !same_owner {
        return Ok(true);
    }
    if is_directory(new) {
        return Ok(false);
    }
    if new.st_size != old.st_size || !is_same_time(new, old) {
        return Ok(true);
    }
    if FileType::from_raw_mode(new.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let (Some(new), Some(old)) = (
        open(&pair.upper.directory, name, flags)?,
        open(lower, name, flags)?,
    ) else {
        return Ok(true);
    };
    Ok(capability(&new)? != capability(&old)?)
}

/// Archives without fractions of seconds are no difference.
fn is_same_time(new: &Stat, old: &Stat) -> bool {
    new.st_mtime == old.st_mtime
        && (new.st_mtime_nsec == old.st_mtime_nsec
            || new.st_mtime_nsec == 0
            || old.st_mtime_nsec == 0)
}

fn capability(file: &OwnedFd) -> Result<Option<Vec<u8>>> {
    let found = attributes(file.as_fd())?;
    let wanted = found
        .into_iter()
        .find(|(name, _)| name == b"security.capability");
    Ok(wanted.map(|(_, value)| value))
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn stat_of(directory: &OwnedFd, name: &CStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

fn change(path: String, kind: ChangeKind) -> Change {
    Change { path, kind }
}
