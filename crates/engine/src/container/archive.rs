//! Files in and out of a container: `docker cp` and `docker export`.
//!
//! A running container is reached through its first process, so that its mounts are there; of another one the layers are mounted
//! for the moment, and paths beneath a volume or a bind lead into that. Every path is resolved beneath one of these roots.

use super::config::MountSource;
use super::start::read_text;
use super::view::ContainerView;
use super::{Containers, Shared, create};
use crate::workload::{rootfs, user};
use gantry_base::{Context, Error, ErrorKind, Result};
use gantry_image::{ExtractOptions, TreeKind};
use gantry_sys::beneath::Root;
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use std::ffi::{CString, OsStr};
use std::io::{Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a path in a container is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PathStat {
    /// The last component; `.` and `/` where the path ends so.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Type and permission bits, as in stat(2).
    pub mode: u32,
    /// Nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Where a link leads in the end; empty for others.
    pub link_target: String,
}

/// How files are put into a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Refuse to put a directory in place of another kind of file, and the reverse.
    pub keeps_kinds: bool,
    /// Give everything to the container's user.
    pub to_user: bool,
}

/// An archive of a path that was found and waits for its output.
pub struct PathArchive {
    /// What the path is.
    pub stat: PathStat,
    tree: Tree,
    containers: Containers,
    view: Arc<ContainerView>,
}

/// A directory that was found and waits for an archive.
pub struct PathExtract {
    root: OwnedFd,
    options: ExtractOptions,
    containers: Containers,
    view: Arc<ContainerView>,
}

impl Containers {
    /// Looks a path up.
    ///
    /// # Errors
    /// `Could not find the file`
    pub async fn archive(&self, reference: &str, path: &str) -> Result<PathArchive> {
        let view = self.get(reference)?;
        let (containers, reference, path) = (self.clone(), reference.to_owned(), path.to_owned());
        blocking(move || {
            let tree = Tree::open(&containers.shared, &view, &path)?;
            let stat = tree
                .stat()
                .map_err(|error| not_found(error, &path, &reference))?;
            Ok(PathArchive {
                stat,
                tree,
                containers,
                view,
            })
        })
        .await
    }

    /// Looks the directory up that an archive shall be put into.
    ///
    /// # Errors
    /// `Could not find the file`, a path that is no directory, and what is mounted read-only.
    pub async fn extract(
        &self,
        reference: &str,
        path: &str,
        options: CopyOptions,
    ) -> Result<PathExtract> {
        let view = self.get(reference)?;
        let (containers, reference, path) = (self.clone(), reference.to_owned(), path.to_owned());
        blocking(move || {
            let tree = Tree::open(&containers.shared, &view, &path)?;
            let directory = tree
                .directory()
                .map_err(|error| not_found(error, &path, &reference))?;
            if let Some(refusal) = tree.readonly {
                return Err(Error::invalid(refusal));
            }
            // Without a user of the container's own the archive's owners stay, as in dockerd.
            let has_user = !view.config.process.user.is_empty();
            let owner = (options.to_user && has_user).then(|| owner(&tree.root, &view));
            let options = ExtractOptions {
                directory,
                keeps_kinds: options.keeps_kinds,
                owner: owner.transpose()?,
            };
            Ok(PathExtract {
                root: tree.root.into_fd(),
                options,
                containers,
                view,
            })
        })
        .await
    }

    /// Writes a container's whole file system as a tar, without what is mounted in it.
    ///
    /// # Errors
    /// What reading the tree met.
    pub async fn export(&self, reference: &str, output: impl Write + Send + 'static) -> Result<()> {
        let view = self.get(reference)?;
        let containers = self.clone();
        blocking(move || {
            let tree = Tree::open(&containers.shared, &view, "/")?;
            gantry_image::export(tree.root.as_fd(), TreeKind::Merged, output)?;
            publish(&containers.shared, &view, "export");
            Ok(())
        })
        .await
    }
}

impl PathArchive {
    /// Writes the file, or the directory with everything beneath it. What is mounted in it is left out.
    ///
    /// # Errors
    /// What reading the tree met.
    pub async fn write(self, output: impl Write + Send + 'static) -> Result<()> {
        blocking(move || {
            let name = self.stat.name.as_bytes();
            let is_directory = FileType::from_raw_mode(self.stat.mode) == FileType::Directory;
            if is_directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let directory = self.tree.root.resolve(&self.tree.path, flags)?;
                gantry_image::export_directory(directory.as_fd(), name, output)?;
            } else {
                let (parent, file) = self.tree.root.open_parent(&self.tree.path)?;
                let file = CString::new(file.into_vec())
                    .map_err(|_| Error::invalid("a path holds a zero byte"))?;
                gantry_image::export_file(parent, &file, name, output)?;
            }
            publish(&self.containers.shared, &self.view, "archive-path");
            Ok(())
        })
        .await
    }
}

impl PathExtract {
    /// Puts an archive, compressed or not, into the directory.
    ///
    /// # Errors
    /// The first member that cannot be made; what came before it stays.
    pub async fn read(self, input: impl Read + Send + 'static) -> Result<()> {
        blocking(move || {
            let (root, options) = (self.root, self.options);
            // A thread of its own, as its file mode mask is cleared.
            let extracted = std::thread::scope(|scope| {
                let work = scope.spawn(move || gantry_image::extract(input, root, options));
                work.join()
                    .unwrap_or_else(|_| Err(Error::internal("the copy ended unexpectedly")))
            });
            // Also a damaged archive is an internal error, as with dockerd.
            extracted.map_err(|error| Error::internal(error.message()).with_source(error))?;
            publish(&self.containers.shared, &self.view, "extract-to-dir");
            Ok(())
        })
        .await
    }
}

/// The root that a path is resolved beneath, and the path in it.
struct Tree {
    root: Root,
    path: PathBuf,
    /// Where the root lies in the container.
    target: String,
    /// The path as the client wrote it, absolute.
    asked: String,
    /// Why nothing may be written here.
    readonly: Option<&'static str>,
}

impl Tree {
    fn open(shared: &Shared, view: &ContainerView, asked: &str) -> Result<Self> {
        let clean = create::clean_path(asked);
        let is_below = |target: &str| {
            let rest = clean.strip_prefix(target.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mounts = view.config.mounts.iter();
        let mount = mounts
            .filter(|mount| is_below(&mount.target))
            .max_by_key(|mount| mount.target.len());
        let readonly = match mount {
            Some(mount) if mount.readonly => Some("mounted volume is marked read-only"),
            None if view.config.readonly_rootfs => Some("container rootfs is marked read-only"),
            _ => None,
        };
        let inside = |target: &str| PathBuf::from(&clean[target.trim_end_matches('/').len()..]);
        let (root, path, target) = if view.state.pid != 0 {
            // Through the magic link of a live process: its own root.
            let root = Root::open(Path::new(&format!("/proc/{}/root", view.state.pid)))
                .context("cannot open the container's root")?;
            (root, PathBuf::from(&clean), String::new())
        } else {
            match mount.map(|mount| (&mount.source, &mount.target)) {
                Some((MountSource::Bind { path, .. }, target)) => {
                    let source = Path::new(path);
                    if !source.is_dir() {
                        return Err(Error::not_implemented(
                            "copying a bind-mounted file of a container that does not run is not supported yet",
                        ));
                    }
                    (Root::open(source)?, inside(target), target.clone())
                }
                Some((MountSource::Volume { name, .. }, target)) => {
                    let directory = shared.volumes.directory(name)?;
                    (Root::open(&directory)?, inside(target), target.clone())
                }
                Some((MountSource::Tmpfs { .. }, _)) | None => {
                    let root = Root::from_fd(idle_root(shared, view)?);
                    (root, PathBuf::from(&clean), String::new())
                }
            }
        };
        Ok(Self {
            root,
            path,
            target,
            asked: format!("/{}", asked.trim_start_matches('/')),
            readonly,
        })
    }

    /// As lstat(2); a path that ends in `/` or `/.` is a directory, also behind a link.
    fn stat(&self) -> Result<PathStat> {
        let ends_in_dot = self.asked.ends_with("/.");
        let wants_directory = ends_in_dot || self.asked.ends_with('/');
        let name = match self.path.file_name() {
            _ if ends_in_dot => ".".to_owned(),
            Some(name) => name.to_string_lossy().into_owned(),
            None => base(&create::clean_path(&self.asked)),
        };
        if wants_directory || self.path.file_name().is_none() {
            let found = looked_up(self.root.resolve(&self.path, OFlags::PATH))?;
            let stat = rustix::fs::fstat(&found).map_err(std::io::Error::from)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Error::internal(format!(
                    "lstat {}: not a directory",
                    self.asked
                )));
            }
            return Ok(describe(name, &stat, String::new()));
        }
        let (parent, file) = looked_up(self.root.open_parent(&self.path))?;
        let stat = rustix::fs::statat(&parent, &file, AtFlags::SYMLINK_NOFOLLOW);
        let stat = looked_up(stat.map_err(std::io::Error::from))?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let target = is_link.then(|| self.link_target(&parent, &file));
        Ok(describe(
            name,
            &stat,
            target.transpose()?.unwrap_or_default(),
        ))
    }

    /// Where a link leads in the container, as far as that exists.
    fn link_target(&self, parent: &OwnedFd, file: &OsStr) -> Result<String> {
        if let Ok(found) = self.root.resolve(&self.path, OFlags::PATH) {
            return self.path_of(&found);
        }
        let target =
            rustix::fs::readlinkat(parent, file, Vec::new()).map_err(std::io::Error::from)?;
        let target = target.to_string_lossy().into_owned();
        let folder = self.path_of(parent)?;
        Ok(if target.starts_with('/') {
            create::clean_path(&target)
        } else {
            create::clean_path(&format!("{folder}/{target}"))
        })
    }

    /// The path in the container of what a descriptor means.
    fn path_of(&self, found: &OwnedFd) -> Result<String> {
        let name = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}"));
        let (found, root) = (
            name(found.as_raw_fd())?,
            name(self.root.as_fd().as_raw_fd())?,
        );
        let inside = found.strip_prefix(&root).unwrap_or(&found);
        let inside = inside.to_string_lossy().into_owned();
        Ok(create::clean_path(&format!("{}/{inside}", self.target)))
    }

    /// The directory at the path, links followed, as a cleaned path beneath the root.
    fn directory(&self) -> Result<Vec<u8>> {
        let found = looked_up(self.root.resolve(&self.path, OFlags::PATH))?;
        let stat = rustix::fs::fstat(&found).map_err(std::io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::invalid("extraction point is not a directory"));
        }
        let path = create::clean_path(&self.path.to_string_lossy());
        Ok(path.trim_matches('/').as_bytes().to_vec())
    }
}

/// The layers of a container that does not run.
fn idle_root(shared: &Shared, view: &ContainerView) -> Result<OwnedFd> {
    let snapshot = shared.images.directories_of(&view.id)?;
    rootfs::mount_overlay(&snapshot, view.config.auto_remove)
}

/// The last component, as Go's `filepath.Base`.
fn base(path: &str) -> String {
    match path.rsplit('/').find(|part| !part.is_empty()) {
        Some(name) => name.to_owned(),
        None => "/".into(),
    }
}

fn describe(name: String, stat: &Stat, link_target: String) -> PathStat {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    PathStat {
        name,
        size: stat.st_size,
        mode: stat.st_mode,
        modified_ns: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds),
        link_target,
    }
}

fn owner(root: &Root, view: &ContainerView) -> Result<(u32, u32)> {
    let passwd = read_text(root, "/etc/passwd")?;
    let group = read_text(root, "/etc/group")?;
    let user = user::resolve(&view.config.process.user, &[], &passwd, &group)?;
    Ok((user.uid, user.gid))
}

/// A path that is not there is not found, other errors are ours.
fn looked_up<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(error.to_string()),
        _ => error.into(),
    })
}

fn not_found(error: Error, path: &str, reference: &str) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::not_found(format!(
            "Could not find the file {path} in container {reference}"
        )),
        _ => error,
    }
}

fn publish(shared: &Shared, view: &ContainerView, action: &str) {
    let attributes = super::view_attributes(view);
    shared
        .events
        .publish("container", action, view.id.as_str(), attributes);
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::internal("the work on files ended unexpectedly"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_component_is_gos() {
        for (path, name) in [("/", "/"), ("/etc", "etc"), ("/etc/", "etc"), ("/a/b", "b")] {
            assert_eq!(base(path), name, "{path}");
        }
    }
}
