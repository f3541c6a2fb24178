//! Detached overlay mounts, made in whatever way the kernel has.
//!
//! Since 6.7 layers are added one by one. Older kernels take one option with all of them: of 255 bytes with the API of
//! descriptors, which is enough for a dozen, else of a page with mount(2), which needs a place in some mount namespace,
//! and so a thread that makes one.

use super::{Attributes, FsContext, PROC_MAGIC, clone_fd, errno};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest value that fsconfig(2) takes.
const OPTION_BYTES_MAX: usize = 255;

/// A directory that becomes a layer.
#[derive(Debug, Clone, Copy)]
pub enum Layer<'a> {
    /// By path in this mount namespace.
    Path(&'a Path),
    /// By descriptor: a directory, or a detached mount (an id-mapped copy of a layer, say).
    Fd(BorrowedFd<'a>),
}

/// What to mount. `..Overlay::default()` for the rest.
#[derive(Debug, Clone, Default)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first; at least one.
    pub lowers: Vec<Layer<'a>>,
    /// The writable layer and its work directory; none for a read-only view (which needs two lowers).
    pub upper: Option<(Layer<'a>, Layer<'a>)>,
    /// Never write back at unmount: for containers whose layer goes away with them.
    pub volatile: bool,
    /// Use `user.overlay.` attributes, for user namespaces.
    pub user_xattr: bool,
    /// Other options, such as `("metacopy", "on")`.
    pub options: Vec<(&'a str, &'a str)>,
    /// Attributes of the mount.
    pub attributes: Attributes,
}

impl Overlay<'_> {
    /// Makes the detached mount.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        // Set once known, since the kernel complains of each attempt in its log.
        static TAKES_ALL_AT_ONCE: AtomicBool = AtomicBool::new(false);
        let mut first = None;
        if !TAKES_ALL_AT_ONCE.load(Ordering::Relaxed) {
            // EINVAL from the first `lowerdir+` is the only sign that the kernel does not know it.
            match self.mount_by_context() {
                Err(error) if matches!(errno(&error), Some(libc::ENOSYS | libc::EINVAL)) => {
                    first = Some(error);
                }
                other => return other,
            }
        }
        let result = self
            .mount_by_one_option()
            .or_else(|_| self.mount_in_a_thread());
        match (result, first) {
            (Err(second), Some(first)) if second.raw_os_error() == Some(libc::EINVAL) => Err(first),
            (Ok(mount), Some(_)) => {
                TAKES_ALL_AT_ONCE.store(true, Ordering::Relaxed);
                Ok(mount)
            }
            (result, _) => result,
        }
    }

    fn mount_by_context(&self) -> io::Result<OwnedFd> {
        let context = FsContext::open("overlay")?;
        context.string("source", "overlay")?;
        for lower in &self.lowers {
            set_layer(&context, "lowerdir+", lower)?;
        }
        self.finish(&context)
    }

    /// The way of kernels before 6.7, for layers that fit.
    fn mount_by_one_option(&self) -> io::Result<OwnedFd> {
        let mut data = Vec::new();
        let mut kept = Vec::new();
        for layer in &self.lowers {
            data.push(match layer {
                Layer::Path(path) => escape(path)?.replace("\\,", ","),
                Layer::Fd(fd) => fd_path(*fd)?.display().to_string(),
            });
        }
        if data.iter().map(|path| path.len() + 1).sum::<usize>() > OPTION_BYTES_MAX {
            for (text, layer) in data.iter_mut().zip(&self.lowers) {
                if let Layer::Path(path) = layer {
                    let fd = super::open_path(path)?;
                    *text = fd_path(fd.as_fd())?.display().to_string();
                    kept.push(fd);
                }
            }
        }
        let context = FsContext::open("overlay")?;
        context.string("source", "overlay")?;
        context.string("lowerdir", data.join(":"))?;
        self.finish(&context)
    }

    /// All options but the read-only layers.
    fn finish(&self, context: &FsContext) -> io::Result<OwnedFd> {
        if let Some((upper, work)) = &self.upper {
            set_layer(context, "upperdir", upper)?;
            set_layer(context, "workdir", work)?;
        }
        if self.volatile && self.upper.is_some() {
            context.flag("volatile")?;
        }
        if self.user_xattr {
            context.flag("userxattr")?;
        }
        for (key, value) in &self.options {
            context.string(key, value)?;
        }
        context.create(self.attributes)
    }

    /// The way of kernels before 6.7, for many layers.
    fn mount_in_a_thread(&self) -> io::Result<OwnedFd> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.mount_in_own_namespace());
            thread
                .join()
                .map_err(|_| io::Error::other("the mounting thread panicked"))?
        })
    }

    /// Changes the calling thread's mount namespace and working directory for good.
    fn mount_in_own_namespace(&self) -> io::Result<OwnedFd> {
        use rustix::thread::UnshareFlags;
        // SAFETY: neither flag splits the descriptor table, which other threads rely on.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS)? };
        let private = super::Change {
            propagation: Some(super::Propagation::Private),
            recursive: true,
            ..Default::default()
        };
        super::change_at(Path::new("/"), &private)?;
        let mut places = Places::default();
        let lowers = self
            .lowers
            .iter()
            .map(|layer| places.path(layer))
            .collect::<io::Result<Vec<PathBuf>>>()?;
        let upper = match &self.upper {
            Some((upper, work)) => Some((places.path(upper)?, places.path(work)?)),
            None => None,
        };
        let top = lowers.first().ok_or(io::ErrorKind::InvalidInput)?;
        let base = common_parent(&lowers);
        rustix::process::chdir(&base)?;
        let mut data = String::from("lowerdir=");
        for (index, lower) in lowers.iter().enumerate() {
            if index > 0 {
                data.push(':');
            }
            data.push_str(&escape(lower.strip_prefix(&base).unwrap_or(lower))?);
        }
        if let Some((upper, work)) = &upper {
            let (upper, work) = (escape(upper)?, escape(work)?);
            let _ = write!(data, ",upperdir={upper},workdir={work}");
        }
        for (is_set, word) in [
            (self.volatile && self.upper.is_some(), ",volatile"),
            (self.user_xattr, ",userxattr"),
        ] {
            if is_set {
                data.push_str(word);
            }
        }
        for (key, value) in &self.options {
            let _ = write!(data, ",{key}={value}");
        }
        // Any directory serves as the place, since nobody else sees this namespace.
        super::mount_legacy(Some(Path::new("overlay")), top, Some("overlay"), 0, &data)?;
        let mount = clone_fd(super::open_path(top)?, false)?;
        if self.attributes != Attributes::NONE {
            super::change(
                &mount,
                &super::Change {
                    set: self.attributes,
                    ..Default::default()
                },
            )?;
        }
        Ok(mount)
    }
}

fn set_layer(context: &FsContext, key: &str, layer: &Layer<'_>) -> io::Result<()> {
    match layer {
        Layer::Path(path) => {
            if path.as_os_str().len() <= OPTION_BYTES_MAX {
                return context.string(key, path);
            }
            let fd = super::open_path(path)?;
            set_layer(context, key, &Layer::Fd(fd.as_fd()))
        }
        // Descriptors are taken since 6.13; before that the link in procfs does the same.
        Layer::Fd(fd) => context
            .fd(key, *fd)
            .or_else(|_| context.string(key, fd_path(*fd)?)),
    }
}

/// Paths of layers in a mount namespace of this thread alone. A descriptor of the old namespace is of no use there.
#[derive(Default)]
struct Places {
    tmpfs: Option<OwnedFd>,
    count: u32,
}

impl Places {
    fn path(&mut self, layer: &Layer<'_>) -> io::Result<PathBuf> {
        let fd = match layer {
            Layer::Path(path) => return Ok(path.to_path_buf()),
            Layer::Fd(fd) => *fd,
        };
        let link = std::fs::read_link(fd_path(fd)?);
        if let Ok(path) = link
            && let Ok(there) = super::open_path(&path)
            && is_same(fd, &there)?
        {
            return Ok(path);
        }
        // A detached mount, which can be put anywhere; no layer is below /sys, and nobody else sees what this hides.
        let tmpfs = if let Some(tmpfs) = &self.tmpfs {
            tmpfs
        } else {
            let tmpfs = super::new_filesystem("tmpfs", None, &[], Attributes::NONE)?;
            super::attach_at(&tmpfs, Path::new("/sys"))?;
            self.tmpfs.insert(tmpfs)
        };
        let name = self.count.to_string();
        self.count += 1;
        rustix::fs::mkdirat(tmpfs, &name, rustix::fs::Mode::RWXU)?;
        super::attach_in(fd, tmpfs, &name)?;
        Ok(Path::new("/sys").join(name))
    }
}

fn is_same(one: BorrowedFd<'_>, other: &OwnedFd) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn fd_path(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let proc = super::open_path(Path::new("/proc"))?;
    if super::filesystem_magic(&proc)? != PROC_MAGIC {
        return Err(io::Error::other("/proc is not procfs"));
    }
    Ok(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())))
}

fn common_parent(paths: &[PathBuf]) -> PathBuf {
    let mut parent = paths
        .first()
        .and_then(|path| path.parent())
        .unwrap_or(Path::new("/"));
    while !paths.iter().all(|path| path.starts_with(parent)) {
        parent = parent.parent().unwrap_or(Path::new("/"));
    }
    parent.to_path_buf()
}

fn escape(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "a layer's path is not UTF-8")
    })?;
    Ok(text
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lower with `a`, upper empty; checks what the mount shows and that a write lands in the upper directory.
    fn check(mount: impl FnOnce(&Overlay<'_>) -> io::Result<OwnedFd>) {
        let folder = tempdir();
        for name in ["one", "two:x", "upper", "work"] {
            std::fs::create_dir(folder.join(name)).expect("is made");
        }
        std::fs::write(folder.join("one/a"), "1").expect("is written");
        std::fs::write(folder.join("two:x/a"), "2").expect("is written");
        std::fs::write(folder.join("two:x/b"), "2").expect("is written");
        let two = super::super::open_path(&folder.join("two:x")).expect("opens");
        let (one, upper, work) = (
            folder.join("one"),
            folder.join("upper"),
            folder.join("work"),
        );
        let overlay = Overlay {
            lowers: vec![Layer::Path(&one), Layer::Fd(two.as_fd())],
            upper: Some((Layer::Path(&upper), Layer::Path(&work))),
            volatile: true,
            ..Overlay::default()
        };
        let result = mount(&overlay);
        match result {
            Err(error) if errno(&error) == Some(libc::EPERM) => {
                eprintln!("skipped: mounting is not permitted");
            }
            Err(error) => panic!("{error}"),
            Ok(root) => {
                let root = crate::beneath::Root::from_fd(root);
                assert_eq!(
                    root.read_bounded(Path::new("a"), 10).expect("is read"),
                    b"1"
                );
                assert_eq!(
                    root.read_bounded(Path::new("b"), 10).expect("is read"),
                    b"2"
                );
                root.create_file(Path::new("c"), 0o644).expect("is created");
                assert!(upper.join("c").exists());
            }
        }
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    fn tempdir() -> PathBuf {
        let name = format!(
            "gantry-overlay-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("is made");
        folder
    }

    #[test]
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is not general enough over lifetimes"
    )]
    fn all_ways_mount_the_same() {
        check(|overlay| overlay.mount_by_context());
        check(|overlay| overlay.mount_by_one_option());
        check(|overlay| overlay.mount_in_a_thread());
    }

    #[test]
    fn parents_and_escapes() {
        let paths = ["/a/b/c/1", "/a/b/c/2", "/a/b/d/3"].map(PathBuf::from);
        assert_eq!(common_parent(&paths), Path::new("/a/b"));
        assert_eq!(
            common_parent(&[PathBuf::from("/x"), PathBuf::from("/y/z")]),
            Path::new("/")
        );
        assert_eq!(
            escape(Path::new("/a:b,c\\d")).expect("is text"),
            "/a\\:b\\,c\\\\d"
        );
    }
}
