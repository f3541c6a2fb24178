//! The mount API of descriptors: file system contexts, detached mounts, attributes, and an overlay builder on top.
//!
//! Every mount made here is detached: it is in no namespace until [`attach`] puts it somewhere, and vanishes with its last
//! descriptor. No function here resolves a path inside a container; targets are descriptors from [`crate::beneath`].
//! See fsopen(2), open_tree(2), move_mount(2), mount_setattr(2).

use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

mod filesystem;
mod overlay;

pub use filesystem::{FsContext, errno, new_filesystem};
pub use overlay::{Layer, Overlay};

/// Attributes of a mount, as `MOUNT_ATTR_…` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub u64);

impl Attributes {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// Nothing can be written.
    pub const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id bits have no effect.
    pub const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device nodes cannot be opened.
    pub const NO_DEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Nothing can be executed.
    pub const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);
    /// Access times are not kept.
    pub const NO_ATIME: Self = Self(libc::MOUNT_ATTR_NOATIME);
    /// Access times are always kept.
    pub const STRICT_ATIME: Self = Self(libc::MOUNT_ATTR_STRICTATIME);
    /// The field that says how access times are kept; to be cleared whenever one of its values is set.
    pub const ATIME_MASK: Self = Self(libc::MOUNT_ATTR__ATIME);
    /// Access times of directories are not kept.
    pub const NO_DIR_ATIME: Self = Self(libc::MOUNT_ATTR_NODIRATIME);
    /// Symbolic links are not followed.
    pub const NO_SYMFOLLOW: Self = Self(libc::MOUNT_ATTR_NOSYMFOLLOW);

    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Whether all of `other` is in this.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// What is here but not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// How mounts and unmounts travel between copies of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Only towards here.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and it cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    const fn bits(self) -> u64 {
        match self {
            Self::Shared => libc::MS_SHARED,
            Self::Slave => libc::MS_SLAVE,
            Self::Private => libc::MS_PRIVATE,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// A change for [`change`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// Attributes to set.
    pub set: Attributes,
    /// Attributes to clear.
    pub clear: Attributes,
    /// New propagation.
    pub propagation: Option<Propagation>,
    /// Map ids as in this user namespace. Works once for each mount, and only while it is detached.
    pub idmap: Option<BorrowedFd<'a>>,
    /// Whether all mounts below are changed too.
    pub recursive: bool,
}

impl Change<'_> {
    fn to_kernel(self) -> libc::mount_attr {
        let mut attributes = libc::mount_attr {
            attr_set: self.set.0,
            attr_clr: self.clear.0,
            propagation: self.propagation.map_or(0, Propagation::bits),
            userns_fd: 0,
        };
        if let Some(userns) = self.idmap {
            attributes.attr_set |= libc::MOUNT_ATTR_IDMAP;
            attributes.userns_fd = userns.as_raw_fd().unsigned_abs().into();
        }
        attributes
    }
}

/// A detached copy, changed on the way: one call since Linux 6.15.
pub fn clone_changed(fd: impl AsFd, recursive: bool, change: &Change<'_>) -> io::Result<OwnedFd> {
    clone_changed_at(fd.as_fd(), Path::new(""), recursive, change)
}

/// [`clone_changed`] of an entry of a directory; a symbolic link at the path's end is not followed.
pub fn clone_changed_at(
    dir: impl AsFd,
    path: &Path,
    recursive: bool,
    change: &Change<'_>,
) -> io::Result<OwnedFd> {
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
    static IS_MISSING: AtomicBool = AtomicBool::new(false);
    let mut flags =
        libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    flags |= if path.as_os_str().is_empty() {
        libc::AT_EMPTY_PATH.unsigned_abs()
    } else {
        0
    };
    // The same flag says what is copied and what is changed.
    if recursive == change.recursive && !IS_MISSING.load(Ordering::Relaxed) {
        flags |= if recursive {
            libc::AT_RECURSIVE.unsigned_abs()
        } else {
            0
        };
        let name = CString::new(path.as_os_str().as_bytes())?;
        let mut attributes = change.to_kernel();
        // SAFETY: a NUL-terminated path and a live structure of the size that is passed.
        let fd = unsafe {
            libc::syscall(
                SYS_OPEN_TREE_ATTR,
                dir.as_fd().as_raw_fd(),
                name.as_ptr(),
                flags,
                &raw mut attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if fd >= 0 {
            let fd = i32::try_from(fd).expect("descriptors are small");
            // SAFETY: the kernel has just made this descriptor.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            return Err(error);
        }
        IS_MISSING.store(true, Ordering::Relaxed);
    }
    let flags = OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | if path.as_os_str().is_empty() {
            OpenTreeFlags::AT_EMPTY_PATH
        } else {
            OpenTreeFlags::empty()
        };
    let copy = open_tree(dir.as_fd(), path, recursive, flags)?;
    self::change(&copy, change)?;
    Ok(copy)
}

/// A detached copy of what is mounted at a path of this mount namespace; symbolic links are followed.
pub fn clone_path(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    open_tree(CWD, path, recursive, OpenTreeFlags::empty())
}

/// A detached copy of the mount (or of the part of it) that `fd` refers to.
pub fn clone_fd(fd: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    open_tree(
        fd.as_fd(),
        Path::new(""),
        recursive,
        OpenTreeFlags::AT_EMPTY_PATH,
    )
}

/// A detached copy of what is at `path` below the directory `dir`, which must be in a mount of this mount namespace.
pub fn clone_at(dir: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    open_tree(dir.as_fd(), path, false, OpenTreeFlags::empty())
}

fn open_tree(
    dir: BorrowedFd<'_>,
    path: &Path,
    recursive: bool,
    more: OpenTreeFlags,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | more;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// Puts a detached mount over the file or directory that `target` refers to.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount.as_fd(),
        c"",
        target.as_fd(),
        c"",
        flags,
    )?)
}

/// Puts a detached mount over the entry `name` of a directory; a symbolic link is not followed.
pub fn attach_in(mount: impl AsFd, dir: impl AsFd, name: impl AsRef<Path>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount.as_fd(),
        c"",
        dir.as_fd(),
        name.as_ref(),
        flags,
    )?)
}

/// Puts a detached mount over a path of this mount namespace; a symbolic link at its end is not followed.
pub fn attach_at(mount: impl AsFd, path: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount.as_fd(),
        c"",
        CWD,
        path,
        flags,
    )?)
}

/// Changes the mount whose root `mount` refers to.
pub fn change(mount: impl AsFd, change: &Change<'_>) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if change.recursive {
        flags |= libc::AT_RECURSIVE;
    }
    mount_setattr(mount.as_fd(), c"", flags, change)
}

/// Changes the mount at a path of this mount namespace.
pub fn change_at(path: &Path, change: &Change<'_>) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    mount_setattr(
        CWD,
        &path,
        if change.recursive {
            libc::AT_RECURSIVE
        } else {
            0
        },
        change,
    )
}

fn mount_setattr(
    dir: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    flags: i32,
    change: &Change<'_>,
) -> io::Result<()> {
    let mut attributes = change.to_kernel();
    // SAFETY: path is NUL-terminated and attributes a live value of the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw mut attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether this kernel has the descriptor API as far as we need it (`mount_setattr`, Linux 5.12).
pub fn is_supported() -> bool {
    let nothing = Change::default();
    // An impossible descriptor: the kernel that knows the call says EBADF, another one ENOSYS.
    // SAFETY: -1 is never dereferenced, the kernel only looks it up.
    let dir = unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) };
    let missing = mount_setattr(dir, c"/nonexistent/gantry-probe", 0, &nothing);
    !matches!(missing, Err(error) if error.raw_os_error() == Some(libc::ENOSYS))
}

/// An `O_PATH` descriptor of what is at `path` now, links followed.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?)
}

/// Makes the mount below `new_root` the root of this mount namespace and of this process; the old one is unmounted.
pub fn pivot_root(new_root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(new_root.as_fd())?;
    // Old and new root at the same place: the old one ends up on top of the new one, and needs no directory.
    rustix::process::pivot_root(c".", c".")?;
    // The old root is on top of "/" now; "." still is the new root, so ".." of nothing leads out.
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir(c"/")?)
}

/// mount(2), for kernels and sandboxes without the descriptor API.
pub fn mount_legacy(
    source: Option<&Path>,
    target: &Path,
    kind: Option<&str>,
    flags: u64,
    data: &str,
) -> io::Result<()> {
    let text = |text: &[u8]| CString::new(text);
    let source = source
        .map(|source| text(source.as_os_str().as_bytes()))
        .transpose()?;
    let target = text(target.as_os_str().as_bytes())?;
    let kind = kind.map(|kind| text(kind.as_bytes())).transpose()?;
    let data = text(data.as_bytes())?;
    // SAFETY: all pointers are NUL-terminated strings that live across the call, or null where mount(2) allows it.
    let result = unsafe {
        libc::mount(
            source
                .as_ref()
                .map_or(std::ptr::null(), |text| text.as_ptr()),
            target.as_ptr(),
            kind.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
            flags,
            data.as_ptr().cast(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Type number of the file system that `fd` is on, such as [`PROC_MAGIC`].
pub fn filesystem_magic(fd: impl AsFd) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type)
}

/// procfs.
pub const PROC_MAGIC: i64 = 0x9fa0;
/// devpts.
pub const DEVPTS_MAGIC: i64 = 0x1cd1;
/// sysfs.
pub const SYSFS_MAGIC: i64 = 0x6265_6572;

/// Unmounts lazily what is mounted at a path of this mount namespace.
pub fn unmount(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(
        path,
        rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
    )?)
}

/// Whether `fd` refers to the root of a mount.
pub fn is_mount_root(fd: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::TYPE)?;
    Ok(stat
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
}

/// Takes over a descriptor number that was inherited.
///
/// # Safety
/// Nothing else in this process may own the number.
pub unsafe fn inherited(number: i32) -> OwnedFd {
    // SAFETY: the caller promises that the number is open and owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(number) }
}
