//! Files of our own: atomic replacement, durability, removal of whole trees. Errors name the path.
//!
//! For paths inside containers and layers see [`crate::beneath`].

use gantry_base::{Context, Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

/// Replaces the file at `path` so that a reader, and a machine after a power cut, finds the old content or the new one.
///
/// # Errors
/// When the file cannot be written; it then stays as it was.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| {
        Error::internal(format!("cannot write {}: it has no name", path.display()))
    })?;
    let mut temporary = std::ffi::OsString::from(format!(".{}-", std::process::id()));
    temporary.push(name);
    let temporary = parent.join(temporary);
    let written = (|| -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(mode as RawMode))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode as RawMode))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        // The first failure is the one to tell; what is left of the temporary file is overwritten next time.
        drop(std::fs::remove_file(&temporary));
        return Err(error).with_context(|| format!("cannot write {}", path.display()));
    }
    sync_directory(parent)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(path: &Path) -> Result<()> {
    let sync = || -> io::Result<()> { std::fs::File::open(path)?.sync_all() };
    sync().with_context(|| format!("cannot sync {}", path.display()))
}

/// Bytes after which [`write_behind`] begins.
const WRITE_BEHIND_BYTES: u64 = 8 << 20;

/// Says that the bytes from `from` to `to` were just written: the kernel begins to bring them to the disk, some megabytes
/// at a time, so that the sync at the end of a large file finds little to wait for. Makes nothing durable.
pub fn write_behind(file: impl AsFd, from: u64, to: u64) {
    let begin = from / WRITE_BEHIND_BYTES * WRITE_BEHIND_BYTES;
    let length = to / WRITE_BEHIND_BYTES * WRITE_BEHIND_BYTES - begin;
    let (Ok(begin), Ok(length)) = (i64::try_from(begin), i64::try_from(length)) else {
        return;
    };
    if length > 0 {
        let file = file.as_fd().as_raw_fd();
        // SAFETY: the descriptor is open as long as it is borrowed; no memory is passed.
        // What fails here fails in the sync too, and is told there.
        unsafe { libc::sync_file_range(file, begin, length, libc::SYNC_FILE_RANGE_WRITE) };
    }
}

/// Makes everything durable that was written to the file system of `path`.
///
/// # Errors
/// When some write-back failed.
pub fn sync_filesystem(path: &Path) -> Result<()> {
    let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(std::fs::File::open(path)?)?) };
    sync().with_context(|| format!("cannot sync the file system of {}", path.display()))
}

/// Gives the calling thread a file mode mask of its own, empty, so that modes are created as asked for. For good: use
/// threads that end.
///
/// # Errors
/// When the kernel refuses to split what threads share.
pub fn clear_umask_of_thread() -> io::Result<()> {
    // SAFETY: only working directory, root and mask stop being shared; descriptors and memory stay as they are.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS)? };
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// Removes `name` in `parent`, whatever it is, with everything in it; no link is followed, and the depth of the tree does
/// not matter. Does nothing if it is not there.
///
/// # Errors
/// The first failure; the rest is left.
pub fn remove_tree(parent: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
    let name = name.into_c_str()?.into_owned();
    match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut fd = open_directory(&parent, &name)?;
    let mut frames = vec![Frame::read(&fd, name)?];
    loop {
        let frame = frames
            .last_mut()
            .expect("the loop ends with the last frame");
        if let Some(child) = frame.directories.pop() {
            fd = open_directory(&fd, &child)?;
            frames.push(Frame::read(&fd, child)?);
            continue;
        }
        let done = frames.pop().expect("was just looked at");
        match frames.last() {
            None => {
                rustix::fs::unlinkat(&parent, &done.name, AtFlags::REMOVEDIR)?;
                return Ok(());
            }
            Some(above) => {
                fd = open_directory(&fd, c"..")?;
                if identity(&fd)? != above.identity {
                    return Err(io::Error::other(
                        "a directory was moved while it was removed",
                    ));
                }
                rustix::fs::unlinkat(&fd, &done.name, AtFlags::REMOVEDIR)?;
            }
        }
    }
}

/// A directory on the way down, with the subdirectories still to go. One descriptor serves for all of them.
struct Frame {
    name: CString,
    identity: (u64, u64),
    directories: Vec<CString>,
}

impl Frame {
    /// Removes everything but directories.
    fn read(fd: &OwnedFd, name: CString) -> io::Result<Self> {
        let mut directories = Vec::new();
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let child = entry.file_name();
            if matches!(child.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                directories.push(child.to_owned());
                continue;
            }
            match rustix::fs::unlinkat(fd, child, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => directories.push(child.to_owned()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            name,
            identity: identity(fd)?,
            directories,
        })
    }
}

fn open_directory(parent: impl AsFd, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn identity(fd: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    fn folder() -> PathBuf {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("gantry-file-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("is made");
        path
    }

    #[test]
    fn replaces_with_the_mode_asked_for_and_names_the_path() {
        let folder = folder();
        let path = folder.join("a");
        write_atomic(&path, b"one", 0o666).expect("is written");
        write_atomic(&path, b"two", 0o600).expect("is replaced");
        assert_eq!(std::fs::read(&path).expect("is read"), b"two");
        let mode = std::fs::metadata(&path)
            .expect("exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).expect("is listed").count(), 1);
        let error = write_atomic(&folder.join("no/b"), b"", 0o600).expect_err("has no parent");
        assert!(error.message().contains("no/b: no such file"), "{error}");
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn removes_deep_trees_and_follows_no_link() {
        let folder = folder();
        std::fs::create_dir(folder.join("outside")).expect("is made");
        std::fs::write(folder.join("outside/canary"), "").expect("is written");
        let tree = folder.join("tree");
        std::fs::create_dir(&tree).expect("is made");
        symlink(folder.join("outside"), tree.join("link")).expect("is made");
        std::fs::create_dir_all(tree.join("wide/1/2")).expect("is made");
        let mut fd = open_directory(
            rustix::fs::CWD,
            &CString::new(tree.to_str().expect("is text")).expect("has no NUL"),
        )
        .expect("opens");
        for _ in 0..5000 {
            rustix::fs::mkdirat(&fd, "d", Mode::RWXU).expect("is made");
            fd = open_directory(&fd, c"d").expect("opens");
        }
        let parent = std::fs::File::open(&folder).expect("opens");
        remove_tree(&parent, "tree").expect("is removed");
        remove_tree(&parent, "tree").expect("is gone already");
        assert!(!tree.exists() && folder.join("outside/canary").exists());
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn a_thread_can_have_no_mask_while_others_keep_theirs() {
        let folder = folder();
        let inside = folder.clone();
        std::thread::spawn(move || {
            clear_umask_of_thread().expect("is cleared");
            std::fs::File::create(inside.join("open")).expect("is made");
            std::fs::DirBuilder::new()
                .create(inside.join("dir"))
                .expect("is made");
        })
        .join()
        .expect("does not panic");
        std::fs::DirBuilder::new()
            .create(folder.join("other"))
            .expect("is made");
        let mode = |name| std::fs::metadata(folder.join(name)).expect("exists").mode() & 0o777;
        assert_eq!(mode("dir"), 0o777);
        assert_ne!(
            mode("other"),
            0o777,
            "the test needs a mask that is not empty"
        );
        std::fs::remove_dir_all(folder).expect("is removed");
    }
}
