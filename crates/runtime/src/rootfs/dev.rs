//! `/dev`: device nodes, the usual links, `ptmx`, and the console.

use gantry_oci::runtime::Device;
use gantry_sys::mount;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::keep::Kept;
use super::{Rootfs, clean};
use crate::error::{Context, Error, Result, quoted};

/// Nodes that every container has, with numbers.
const DEFAULT_DEVICES: [(&str, i64, i64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The devices that `/dev/null` is checked against, wherever it comes from.
const NULL: (u32, u32) = (1, 3);
/// The `/dev` of the file system that the container leaves behind; the zygote's shims have an empty one.
const OUTER_DEV: &str = "/dev";
/// How nodes are opened: looked at, never used.
const NODE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Rootfs<'_> {
    /// Makes nodes and links, unless `/dev` is a bind mount and so the user's.
    pub(crate) fn set_up_dev(&mut self) -> Result<()> {
        if self.placed_at("/dev").is_some_and(|placed| placed.is_bind) {
            return Ok(());
        }
        // In a tmpfs of ours a name is what it says; anything else is resolved once.
        let fresh = self.own_tmpfs(Path::new("/dev"));
        let dev = match fresh {
            Some(index) => Kept::new(self.placed[index].fd.as_fd().try_clone_to_owned()?),
            None => Kept::new(
                self.root
                    .mkdir_all(Path::new("/dev"), 0o755)
                    .context("error creating /dev")?,
            ),
        };
        let spec_devices = &self.linux.devices;
        for (path, major, minor) in DEFAULT_DEVICES {
            if spec_devices
                .iter()
                .any(|device| clean(&device.path) == Path::new(path))
            {
                continue;
            }
            let device = Device {
                kind: "c".into(),
                path: path.into(),
                major,
                minor,
                file_mode: Some(0o666),
                uid: None,
                gid: None,
            };
            self.make_device(&device, &dev)?;
        }
        for device in spec_devices {
            self.make_device(device, &dev)?;
        }
        self.make_links(&dev, fresh.is_some())
    }

    fn make_device(&mut self, device: &Device, dev: &Kept) -> Result<()> {
        let path = clean(&device.path);
        // ptmx belongs to the container's own devpts, whatever the configuration says.
        if path == Path::new("/dev/ptmx") {
            return Ok(());
        }
        self.make_device_at(&path, device, dev)
            .with_context(|| format!("error creating device nodes: {}", device.path))
    }

    fn make_device_at(&mut self, path: &Path, device: &Device, dev: &Kept) -> Result<()> {
        let (kind, number) = device_number(device)?;
        let name = path
            .file_name()
            .ok_or_else(|| Error::invalid("a device needs a name"))?;
        if !self.can_mknod {
            return self.bind_device(path, device);
        }
        let other;
        let parent = match path.parent() {
            Some(parent) if parent == Path::new("/dev") => dev,
            parent => {
                other = Kept::new(
                    self.root
                        .mkdir_all(parent.unwrap_or(Path::new("/")), 0o755)?,
                );
                &other
            }
        };
        let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
        match rustix::fs::mknodat(parent, name, kind, mode, number) {
            Ok(()) => {}
            Err(Errno::PERM) => return self.bind_device(path, device),
            // An image may ship a /dev; what it calls a device must be that device.
            Err(Errno::EXIST) if is_device(parent, name, kind, number) => return Ok(()),
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                rustix::fs::mknodat(parent, name, kind, mode, number)?;
            }
            Err(error) => return Err(error.into()),
        }
        // The umask is 0 while the container is made, so the mode is as asked.
        if device.uid.unwrap_or(0) != 0 || device.gid.unwrap_or(0) != 0 {
            let owner = Some(Uid::from_raw(device.uid.unwrap_or(0)));
            let group = Some(Gid::from_raw(device.gid.unwrap_or(0)));
            rustix::fs::chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Where nodes cannot be made, the host's are shown.
    fn bind_device(&mut self, path: &Path, device: &Device) -> Result<()> {
        let relative = path
            .strip_prefix("/dev")
            .map_err(|_| Error::unsupported("device nodes cannot be made outside of /dev here"))?;
        let (kind, number) = device_number(device)?;
        let (_, node) = self.host_device(relative, kind, number)?;
        let target = self.root.create_file(path, 0o666)?;
        Ok(mount::attach(&node, &target)?)
    }

    /// A node that was made by somebody who may, checked to be the right one, and a detached copy of it.
    fn host_device(
        &self,
        relative: &Path,
        kind: FileType,
        number: u64,
    ) -> Result<(OwnedFd, OwnedFd)> {
        // A descriptor of another mount namespace cannot be copied, this namespace's own /dev can; the daemon's shims
        // have none, but hand over a detached one.
        let own = Path::new(OUTER_DEV).join(relative);
        let candidates = [
            self.plan
                .host_dev
                .as_ref()
                .map(|dev| rustix::fs::openat(dev, relative, NODE, Mode::empty())),
            Some(rustix::fs::open(&own, NODE, Mode::empty())),
        ];
        let mut last = Error::internal(
            "device nodes cannot be made here, and the host's were not handed over",
        );
        for node in candidates.into_iter().flatten() {
            let Ok(node) = node else { continue };
            if !is_device(&node, Path::new("").as_os_str(), kind, number) {
                last = Error::internal(format!("the host's {} is another device", own.display()));
                continue;
            }
            match self.copy_node(&node) {
                Ok(copy) => return Ok((node, copy)),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// A detached copy of a node, which may be part of the handed-over `/dev`.
    fn copy_node(&self, node: &OwnedFd) -> std::io::Result<OwnedFd> {
        let result = mount::clone_fd(node, false);
        match (&result, &self.plan.host_dev) {
            // Before Linux 6.15 only what is attached can be copied in part.
            (Err(error), Some(dev)) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.lay_aside(dev)?;
                mount::clone_fd(node, false)
            }
            _ => result,
        }
    }

    /// Attaches a mount where nobody will see it: [`Rootfs::enter`] leaves that place behind.
    fn lay_aside(&self, dev: &OwnedFd) -> std::io::Result<()> {
        match self.place {
            super::Place::OwnNamespace => mount::attach_at(dev, Path::new(OUTER_DEV)),
            super::Place::Detached => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    fn make_links(&mut self, dev: &Kept, is_fresh: bool) -> Result<()> {
        for (name, target) in LINKS {
            make_link(dev, target, name)?;
        }
        if self
            .proc()
            .is_some_and(|proc| super::mounts::exists(proc, "kcore"))
        {
            make_link(dev, "/proc/kcore", "core")?;
        }
        if !is_fresh {
            match rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error).context("cannot replace /dev/ptmx"),
            }
        }
        rustix::fs::symlinkat("pts/ptmx", dev, "ptmx").context("cannot link /dev/ptmx")
    }

    /// Shows a terminal as `/dev/console`.
    pub(crate) fn mount_console(&self, terminal: BorrowedFd<'_>) -> Result<()> {
        let target = self
            .root
            .create_file(Path::new("/dev/console"), 0o666)
            .context("cannot make /dev/console")?;
        let console = mount::clone_fd(terminal, false).context("cannot clone the terminal")?;
        mount::attach(&console, &target).context("cannot mount /dev/console")
    }

    /// A null device that is certain to be one, to be shown in place of files.
    pub(super) fn null_device(&mut self) -> Result<&OwnedFd> {
        if self.null.is_none() {
            self.null = Some(self.open_null()?);
        }
        self.null
            .as_ref()
            .ok_or_else(|| Error::internal("was set above"))
    }

    /// Of all candidates the first that is the null device and can be copied.
    fn open_null(&self) -> Result<OwnedFd> {
        let number = rustix::fs::makedev(NULL.0, NULL.1);
        let kind = FileType::CharacterDevice;
        let is_null = |fd: &OwnedFd| is_device(fd, Path::new("").as_os_str(), kind, number);
        // The container's own; wherever its /dev comes from, this very inode is what will be shown.
        if let Ok(fd) = self
            .root
            .resolve(Path::new("/dev/null"), OFlags::PATH | OFlags::NOFOLLOW)
            && is_null(&fd)
        {
            return Ok(fd);
        }
        if self.can_mknod
            && let Ok(dir) = mount::new_filesystem(
                "tmpfs",
                Some("tmpfs"),
                &[("mode", Some("700"))],
                mount::Attributes::NO_SUID,
            )
        {
            rustix::fs::mknodat(&dir, "null", kind, Mode::from_raw_mode(0o666), number)?;
            let fd = rustix::fs::openat(&dir, "null", NODE, Mode::empty())?;
            if mount::clone_fd(&fd, false).is_ok()
                || (self.lay_aside(&dir).is_ok() && mount::clone_fd(&fd, false).is_ok())
            {
                // The file system goes away with its last descriptor, so this one stays until execve.
                std::mem::forget(dir);
                return Ok(fd);
            }
        }
        Ok(self.host_device(Path::new("null"), kind, number)?.0)
    }
}

fn make_link(dev: &Kept, target: &str, name: &str) -> Result<()> {
    match rustix::fs::symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("failed to create symlink {name} to {target}"))
        }
    }
}

fn device_number(device: &Device) -> Result<(FileType, u64)> {
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => return Ok((FileType::Fifo, 0)),
        other => {
            return Err(Error::invalid(format!(
                "{} is not a valid device type for device {}",
                quoted(other),
                device.path
            )));
        }
    };
    let part = |number: i64| {
        u32::try_from(number).map_err(|_| {
            Error::invalid(format!(
                "invalid device number {number} for device {}",
                device.path
            ))
        })
    };
    Ok((
        kind,
        rustix::fs::makedev(part(device.major)?, part(device.minor)?),
    ))
}

fn is_device(dir: impl AsFd, name: &std::ffi::OsStr, kind: FileType, number: u64) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    rustix::fs::statat(dir, name, flags).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == kind
            && (kind == FileType::Fifo || stat.st_rdev == number)
    })
}
