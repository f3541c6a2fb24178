//! The mounts of the configuration, one after the other.

use gantry_oci::runtime::Mount;
use gantry_sys::mount::{self, Attributes, Change, FsContext, PROC_MAGIC, Propagation};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::keep::Kept;
use super::options::Options;
use super::{Placed, Rootfs, clean};
use crate::error::{Context, Error, Result, quoted};

/// Files of procfs that may be covered by others, as lxcfs does; everything else in `/proc` may not.
const PROC_ALLOWED: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Where a mount goes.
pub(super) enum Target {
    /// Over what a descriptor refers to.
    Fd(Kept),
    /// Over an entry of the mount with this index.
    Entry(usize, OsString),
}

impl Rootfs<'_> {
    /// Makes all mounts, in order.
    pub(crate) fn mount_all(&mut self) -> Result<()> {
        for index in 0..self.spec.mounts.len() {
            let spec = self.spec;
            let mount = &spec.mounts[index];
            self.mount_one(index, mount).with_context(|| {
                format!(
                    "error mounting {} to rootfs at {}",
                    quoted(&mount.source),
                    quoted(&mount.destination)
                )
            })?;
        }
        Ok(())
    }

    fn mount_one(&mut self, index: usize, mount: &Mount) -> Result<()> {
        let options = Options::parse(&mount.options);
        let given = self
            .plan
            .mounts
            .iter()
            .find(|(other, _)| *other == index)
            .map(|(_, fd)| fd);
        if options.remount {
            return self.remount(mount, &options);
        }
        if given.is_some() || options.bind.is_some() || mount.kind == "bind" {
            let source = given
                .ok_or_else(|| Error::internal("the source of a bind mount was not handed over"))?;
            return self.bind(mount, &options, source);
        }
        match mount.kind.as_str() {
            "cgroup" => self.mount_cgroup(mount, &options),
            "proc" | "sysfs" => self.mount_kernel(mount, &options),
            "" => Err(Error::invalid("a mount needs a type")),
            _ => self.mount_filesystem(mount, &options),
        }
    }

    /// procfs and sysfs: only over ordinary directories, so that nobody mistakes another tree for them.
    fn mount_kernel(&mut self, mount: &Mount, options: &Options) -> Result<()> {
        let path = clean(&mount.destination);
        let target = match self
            .root
            .resolve_without_links(&path, OFlags::PATH | OFlags::NOFOLLOW)
        {
            Ok(fd) if is_directory(&fd)? => fd,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                self.root.mkdir_all(&path, 0o755)?
            }
            Ok(_) => return Err(not_ordinary(mount)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                return Err(not_ordinary(mount));
            }
            Err(error) => return Err(error.into()),
        };
        let target = Target::Fd(Kept::new(target));
        // The one that init works with is the one that the container gets.
        let fd = match self.prepared_proc.take() {
            Some(fd) if mount.kind == "proc" && path == Path::new("/proc") => fd,
            _ => new_filesystem(mount, options, options.set)
                .with_context(|| attempt(mount, options, &target))?,
        };
        self.put(mount, options, fd, &target, false)
    }

    fn mount_filesystem(&mut self, mount: &Mount, options: &Options) -> Result<()> {
        let is_tmpfs = mount.kind == "tmpfs";
        let path = clean(&mount.destination);
        refuse_path_inside_proc(&path)?;
        let takes_old_mode = is_tmpfs && !options.data.iter().any(|(key, _)| key == "mode");
        let old_mode = if takes_old_mode {
            self.existing_mode(&path)
        } else {
            None
        };
        let target = self.directory_target(&path)?;
        // Later mounts and devices still need directories in it.
        let is_later = is_tmpfs
            && self.place == super::Place::OwnNamespace
            && options.set.contains(Attributes::READ_ONLY);
        let attributes = if is_later {
            options.set.without(Attributes::READ_ONLY)
        } else {
            options.set
        };
        let fd = new_filesystem(mount, options, attributes)
            .with_context(|| attempt(mount, options, &target))?;
        if let Some(mode) = old_mode {
            let dir = open_directory(&fd)?;
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
        }
        if options.copy_up {
            let hidden = self.root.resolve(&path, OFlags::PATH | OFlags::DIRECTORY)?;
            super::copy_up::copy(&hidden, &fd).context("tmpcopyup: failed to copy")?;
        }
        if is_later {
            self.read_only_later.push(fd.try_clone()?);
        }
        self.put(mount, options, fd, &target, false)
    }

    /// The directory at `path`, made if it is missing.
    ///
    /// In a tmpfs that was made here, and that nobody else can reach yet, an entry is what it is called: no walk is needed.
    fn directory_target(&self, path: &Path) -> Result<Target> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Some(index) = self.own_tmpfs(parent)
        {
            match rustix::fs::mkdirat(&self.placed[index].fd, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => return Ok(Target::Entry(index, name.to_owned())),
                Err(_) => {}
            }
        }
        let target = self.root.mkdir_all(path, 0o755)?;
        refuse_target_inside_proc(path, &target)?;
        Ok(Target::Fd(Kept::new(target)))
    }

    /// The index of the mount that `path` is the root of, if that is a tmpfs of ours.
    pub(super) fn own_tmpfs(&self, path: &Path) -> Option<usize> {
        let index = self
            .placed
            .iter()
            .rposition(|placed| path.starts_with(&placed.destination))?;
        let placed = &self.placed[index];
        (placed.destination == path && placed.kind == "tmpfs" && !placed.is_bind).then_some(index)
    }

    fn existing_mode(&self, path: &Path) -> Option<u32> {
        let fd = self
            .root
            .resolve(path, OFlags::PATH | OFlags::DIRECTORY)
            .ok()?;
        Some(rustix::fs::fstat(fd).ok()?.st_mode & 0o7777)
    }

    fn bind(&mut self, mount: &Mount, options: &Options, source: &OwnedFd) -> Result<()> {
        let path = clean(&mount.destination);
        // The host's procfs may be shown whole at /proc, as `--pid host` containers of some engines do.
        let shows_proc =
            path == Path::new("/proc") && mount::filesystem_magic(source)? == PROC_MAGIC;
        if !shows_proc {
            refuse_path_inside_proc(&path)?;
        }
        let is_dir = is_directory(source)?;
        let target = match self.root.resolve(&path, OFlags::PATH) {
            Ok(target) => target,
            Err(_) if is_dir => self
                .root
                .mkdir_all(&path, 0o755)
                .with_context(|| destination(&path))?,
            Err(_) => self
                .root
                .create_file(&path, 0o755)
                .with_context(|| destination(&path))?,
        };
        if !shows_proc {
            refuse_target_inside_proc(&path, &target)?;
        }
        let has_kind = is_directory(&target)?;
        let target = Target::Fd(Kept::new(target));
        if is_dir != has_kind {
            let error = std::io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(Error::from(error).prefixed(attempt(mount, options, &target)));
        }
        let renewed = self.renew(source, &target)?;
        let source = renewed.as_ref().unwrap_or(source);
        if options.changes_attributes() {
            let change = Change {
                set: options.set,
                clear: options.clear,
                ..Change::default()
            };
            mount::change(source, &change).with_context(|| attempt(mount, options, &target))?;
        }
        if options.changes_recursively() {
            let change = Change {
                set: options.recursive_set,
                clear: options.recursive_clear,
                recursive: true,
                ..Change::default()
            };
            mount::change(source, &change).with_context(|| attempt(mount, options, &target))?;
        }
        self.put(mount, options, source.try_clone()?, &target, true)
    }

    /// A copy of a source, so that its id is newer than those of all mounts so far, if that is wanted and can be.
    ///
    /// Only what is attached in this namespace can be copied, so the source is put at its target for the moment.
    fn renew(&self, source: &OwnedFd, target: &Target) -> Result<Option<OwnedFd>> {
        let Target::Fd(target) = target else {
            return Ok(None);
        };
        let is_possible = self.can_mknod && self.place == super::Place::OwnNamespace;
        let Some(proc) = self
            .proc()
            .filter(|_| self.plan.mounts_in_order && is_possible)
        else {
            return Ok(None);
        };
        mount::attach(source, target)?;
        let copy = mount::clone_fd(source, true);
        // Or what is taken away here would go away on the host too, where the mounts are shared.
        let private = Change {
            propagation: Some(Propagation::Private),
            recursive: true,
            ..Change::default()
        };
        mount::change(source, &private)?;
        rustix::process::fchdir(proc)?;
        let name = format!("self/fd/{}", source.as_raw_fd());
        let taken_away = rustix::mount::unmount(name, rustix::mount::UnmountFlags::DETACH);
        rustix::process::chdir(c"/")?;
        taken_away?;
        Ok(Some(copy?))
    }

    /// [`Rootfs::put`] at a descriptor.
    pub(super) fn place(
        &mut self,
        mount: &Mount,
        options: &Options,
        fd: OwnedFd,
        target: &OwnedFd,
        is_bind: bool,
    ) -> Result<()> {
        let target = Target::Fd(Kept::new(target.try_clone()?));
        self.put(mount, options, fd, &target, is_bind)
    }

    /// Puts a finished mount at its target, and sets its propagation there.
    fn put(
        &mut self,
        mount: &Mount,
        options: &Options,
        fd: OwnedFd,
        target: &Target,
        is_bind: bool,
    ) -> Result<()> {
        if is_bind {
            // Mounts made on the host may still come in if the source said so, but none of ours goes out.
            let default = [(Propagation::Slave, true)];
            let wanted = if options.propagation.is_empty() {
                &default[..]
            } else {
                &options.propagation
            };
            set_propagation(&fd, wanted)?;
        }
        let attached = match target {
            Target::Fd(target) => mount::attach(&fd, target),
            Target::Entry(index, name) => mount::attach_in(&fd, &self.placed[*index].fd, name),
        };
        attached.with_context(|| attempt(mount, options, target))?;
        if !is_bind {
            set_propagation(&fd, &options.propagation)?;
        }
        self.placed.push(Placed {
            destination: clean(&mount.destination),
            kind: mount.kind.clone(),
            fd: Kept::new(fd),
            is_bind,
        });
        Ok(())
    }

    fn remount(&mut self, mount: &Mount, options: &Options) -> Result<()> {
        let path = clean(&mount.destination);
        let target = self.root.resolve(&path, OFlags::PATH)?;
        if !mount::is_mount_root(&target)? {
            return Err(Error::invalid(format!(
                "{} is not a mount point",
                quoted(&mount.destination)
            )));
        }
        let change = Change {
            set: options.set,
            clear: options.clear,
            ..Change::default()
        };
        let target = Target::Fd(Kept::new(target));
        let Target::Fd(fd) = &target else {
            return Ok(());
        };
        mount::change(fd, &change).with_context(|| attempt(mount, options, &target))
    }
}

/// Nothing may be mounted in `/proc` but the files that programs like lxcfs replace.
fn refuse_path_inside_proc(path: &Path) -> Result<()> {
    if path == Path::new("/proc") {
        return Err(Error::invalid(format!(
            "{} cannot be mounted because it is not of type proc",
            quoted("/proc")
        )));
    }
    if path.starts_with("/proc") && !is_allowed_in_proc(path) {
        return Err(inside_proc(path));
    }
    Ok(())
}

/// A target may turn out to be in procfs by a link of the image, so the file system is asked, not only the path.
fn refuse_target_inside_proc(path: &Path, target: &OwnedFd) -> Result<()> {
    if mount::filesystem_magic(target)? == PROC_MAGIC && !is_allowed_in_proc(path) {
        return Err(inside_proc(path));
    }
    Ok(())
}

fn is_allowed_in_proc(path: &Path) -> bool {
    PROC_ALLOWED
        .iter()
        .any(|allowed| path == Path::new(allowed))
}

fn inside_proc(path: &Path) -> Error {
    let path = path.display().to_string();
    Error::invalid(format!(
        "{} cannot be mounted because it is inside /proc",
        quoted(&path)
    ))
}

fn destination(path: &Path) -> String {
    format!("create mount destination for {} mount", path.display())
}

fn set_propagation(fd: &OwnedFd, wanted: &[(Propagation, bool)]) -> Result<()> {
    for (kind, recursive) in wanted {
        let change = Change {
            propagation: Some(*kind),
            recursive: *recursive,
            ..Change::default()
        };
        mount::change(fd, &change).context("cannot change the propagation")?;
    }
    Ok(())
}

fn not_ordinary(mount: &Mount) -> Error {
    Error::invalid(format!(
        "filesystem {} must be mounted on ordinary directory",
        quoted(&mount.kind)
    ))
}

/// What runc writes between the two names and the cause.
pub(super) fn attempt(mount: &Mount, options: &Options, target: &Target) -> String {
    // runc names the descriptor by which it reaches the target; there it is always this one.
    let number = match target {
        Target::Fd(fd) => fd.as_fd().as_raw_fd(),
        Target::Entry(..) => 6,
    };
    let mut text = format!(
        "mount {}:{} (via /proc/self/fd/{number})",
        mount.source, mount.destination
    );
    if options.legacy_flags != 0 {
        let _ = write!(text, ", flags: 0x{:x}", options.legacy_flags);
    }
    if !options.data.is_empty() {
        let data: Vec<String> = options
            .data
            .iter()
            .map(|(key, value)| {
                value
                    .as_ref()
                    .map_or_else(|| key.clone(), |value| format!("{key}={value}"))
            })
            .collect();
        let _ = write!(text, ", data: {}", data.join(","));
    }
    text
}

pub(super) fn new_filesystem(
    mount: &Mount,
    options: &Options,
    attributes: Attributes,
) -> std::io::Result<OwnedFd> {
    let context = FsContext::open(&mount.kind)?;
    if !mount.source.is_empty() {
        context.string("source", &mount.source)?;
    }
    for name in &options.superblock {
        context.flag(name)?;
    }
    if options.set.contains(Attributes::READ_ONLY)
        && !matches!(mount.kind.as_str(), "proc" | "tmpfs")
    {
        context.flag("ro")?;
    }
    for (key, value) in &options.data {
        match value {
            Some(value) => context.string(key, value)?,
            // Every devpts is an instance of its own since Linux 4.7.
            None if key == "newinstance" => {}
            None => context.flag(key)?,
        }
    }
    let created = context.create(attributes);
    drop(Kept::new(context.into_fd()));
    created
}

pub(super) fn is_directory(fd: impl AsFd) -> Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// A descriptor for reading a directory that is only known by an `O_PATH` descriptor.
pub(super) fn open_directory(dir: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, c".", flags, Mode::empty())?)
}

/// Whether a name exists in a directory, links not followed.
pub(super) fn exists(dir: impl AsFd, name: &str) -> bool {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
