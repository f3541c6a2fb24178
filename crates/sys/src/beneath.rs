//! Paths resolved beneath a directory descriptor, as a process chrooted there would resolve them.
//!
//! The only way in which any part of Gantry may follow a path whose components a container can change: nothing ever
//! leads out of the root, neither `..`, absolute links, links in procfs, nor a component swapped in the middle of it.
//! Paths are taken with or without a leading slash. See openat2(2).

use rustix::fs::{FileType, Mode, OFlags, RawMode, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the kernel may answer that something was renamed meanwhile; it is a sign of an attack before that.
const RETRIES_MIN: u32 = 128;
const RETRY_TIME: Duration = Duration::from_millis(2);

/// A directory as the root of path resolution.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// The directory at `path` of this mount namespace.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { fd })
    }
    /// A directory descriptor, `O_PATH` or not, or a detached mount.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }
    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens an existing file or directory; use `OFlags::PATH` for a mere reference, which also takes devices safely.
    pub fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.resolve_with(path, flags, Mode::empty(), ResolveFlags::empty())
    }

    /// Like [`Root::resolve`], and no component may be a symbolic link.
    pub fn resolve_without_links(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.resolve_with(path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    }

    /// The directory in which the last component lies, and that component, which is never `.`, `..` or empty.
    pub fn open_parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) => name.to_owned(),
            _ => return Err(Errno::INVAL.into()),
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((parent, name))
    }

    /// Makes a directory and its missing parents, links on the way followed beneath the root; gives an `O_PATH` descriptor.
    pub fn mkdir_all(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, flags) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        let (mut dir, missing) = self.deepest_existing(path)?;
        for name in missing {
            match rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(mode as RawMode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            // What we just made is no link; if it is one now, somebody swapped it, and it is not followed.
            dir = rustix::fs::openat(
                &dir,
                &name,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
        }
        Ok(dir)
    }

    /// An `O_PATH` descriptor of a regular file, created empty with its missing parents; an existing file of any kind is kept.
    pub fn create_file(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        match self.resolve(path, OFlags::PATH) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => return other,
        }
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = self.mkdir_all(path.parent().unwrap_or(Path::new("")), 0o755)?;
        let parent = Self { fd: parent };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(
            &parent.fd,
            name,
            flags,
            Mode::from_raw_mode(mode as RawMode),
        ) {
            Ok(_) => {}
            // A dangling link whose target is elsewhere beneath the root, or somebody was faster.
            Err(Errno::EXIST) => return self.create_through_link(path, mode),
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::openat(
            &parent.fd,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    fn create_through_link(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        drop(self.resolve_with(
            path,
            flags,
            Mode::from_raw_mode(mode as RawMode),
            ResolveFlags::empty(),
        )?);
        self.resolve(path, OFlags::PATH)
    }

    /// Content of a regular file of at most `bytes_max` bytes; anything else is not opened for reading.
    ///
    /// # Errors
    /// `InvalidData` for files of another type, `FileTooLarge` for longer ones.
    pub fn read_bounded(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open_regular(path)?;
        // One read for a file that keeps its size, and one that finds its end.
        let length = file.metadata()?.len().min(bytes_max);
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 32);
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    /// Opens a regular file for reading; a FIFO or device is refused without being opened.
    pub fn open_regular(&self, path: &Path) -> io::Result<File> {
        // NONBLOCK: a FIFO put there after the look would otherwise hang the open.
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a regular file",
            ));
        }
        Ok(File::from(fd))
    }

    fn resolve_with(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        // A non-directory file flag such as RDONLY must not follow a trailing magic link either.
        let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        let start = Instant::now();
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Ok(fd) => return Ok(fd),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if tries < RETRIES_MIN || start.elapsed() < RETRY_TIME => {
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The deepest directory on the way that exists, and the names that have to be made in it.
    fn deepest_existing(&self, path: &Path) -> io::Result<(OwnedFd, Vec<OsString>)> {
        let components: Vec<&OsStr> = path
            .components()
            .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
            .map(Component::as_os_str)
            .collect();
        for length in (0..components.len()).rev() {
            let prefix: PathBuf = components[..length].iter().collect();
            match self.resolve(&prefix, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => {
                    let rest: Vec<OsString> = components[length..]
                        .iter()
                        .map(|name| (*name).to_owned())
                        .collect();
                    if rest.iter().any(|name| name == "..") {
                        return Err(Errno::NOENT.into());
                    }
                    return Ok((fd, rest));
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::NOENT.into())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn world() -> (PathBuf, Root) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("gantry-beneath-{}-{number}", std::process::id()));
        std::fs::create_dir_all(folder.join("root/etc")).expect("is made");
        std::fs::create_dir_all(folder.join("outside")).expect("is made");
        std::fs::write(folder.join("outside/secret"), "host").expect("is written");
        std::fs::write(folder.join("root/etc/passwd"), "root").expect("is written");
        let root = Root::open(&folder.join("root")).expect("opens");
        (folder, root)
    }

    #[test]
    fn links_and_dots_stay_beneath_the_root() {
        let (folder, root) = world();
        symlink("/etc/passwd", folder.join("root/absolute")).expect("is made");
        symlink("../../../../etc/passwd", folder.join("root/dots")).expect("is made");
        symlink(folder.join("outside"), folder.join("root/out")).expect("is made");
        for path in [
            "/absolute",
            "dots",
            "../../etc/passwd",
            "/etc/../../etc/passwd",
        ] {
            assert_eq!(
                root.read_bounded(Path::new(path), 100).expect("is read"),
                b"root",
                "{path}"
            );
        }
        assert!(root.read_bounded(Path::new("out/secret"), 100).is_err());
        // What mkdir_all and create_file make through such a link is made beneath the root too, or not at all.
        let made = root.create_file(Path::new("/out/new"), 0o644);
        assert!(!folder.join("outside/new").exists());
        assert!(made.is_err());
        assert!(
            root.resolve_without_links(Path::new("absolute"), OFlags::PATH)
                .is_err()
        );
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn only_regular_files_within_the_bound_are_read() {
        let (folder, root) = world();
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::from_raw_mode(0o666), 0)
            .expect("is made");
        assert_eq!(
            root.read_bounded(Path::new("fifo"), 10)
                .expect_err("is a FIFO")
                .kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            root.read_bounded(Path::new("etc/passwd"), 3)
                .expect_err("is long")
                .kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(
            root.resolve(Path::new("/proc/self/root"), OFlags::PATH)
                .is_err()
        );
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn directories_and_files_are_made_with_their_parents() {
        let (folder, root) = world();
        root.mkdir_all(Path::new("/a/b/c"), 0o755).expect("is made");
        root.mkdir_all(Path::new("a/b/c"), 0o755).expect("exists");
        root.create_file(Path::new("/x/y/file"), 0o644)
            .expect("is made");
        assert!(folder.join("root/a/b/c").is_dir() && folder.join("root/x/y/file").is_file());
        symlink("/x/y/later", folder.join("root/dangling")).expect("is made");
        root.create_file(Path::new("dangling"), 0o644)
            .expect("is made through the link");
        assert!(folder.join("root/x/y/later").is_file());
        assert!(root.mkdir_all(Path::new("missing/../up"), 0o755).is_err());
        assert!(root.open_parent(Path::new("/")).is_err());
        std::fs::remove_dir_all(folder).expect("is removed");
    }
}
