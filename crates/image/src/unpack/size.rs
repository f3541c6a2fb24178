//! How much a tree holds, as Docker counts it.

use gantry_base::Result;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::collections::HashSet;
use std::os::fd::OwnedFd;

/// Apparent sizes of all files but directories, hard links once; and the number of entries.
pub(crate) fn tree_size(root: OwnedFd) -> Result<(u64, u64)> {
    let mut seen = HashSet::new();
    let (mut bytes, mut entries) = (0, 0);
    let mut directories = vec![root];
    while let Some(directory) = directories.pop() {
        for entry in Dir::read_from(&directory).map_err(std::io::Error::from)? {
            let entry = entry.map_err(std::io::Error::from)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            entries += 1;
            // A tree in use may lose files while it is measured.
            let Ok(stat) = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(child) = rustix::fs::openat(&directory, name, flags, Mode::empty()) {
                    directories.push(child);
                }
            } else if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
            }
        }
    }
    Ok((bytes, entries))
}
