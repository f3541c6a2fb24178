//! Root file systems and mount sources as detached mounts: the host never lists them, and nothing is left to unmount.

use crate::image::SnapshotDirectories;
use gantry_base::{Context, Error, Result};
use gantry_sys::mount::{self, Layer, Overlay};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Mounts a container's root, detached. `volatile`: never written back, for containers that vanish with their run.
pub(crate) fn mount_overlay(directories: &SnapshotDirectories, volatile: bool) -> Result<OwnedFd> {
    if volatile {
        forget_volatile(&directories.work);
    }
    // Layers with file systems of their own: one device number for all files, as programs that stay on one file system expect.
    let is_mixed = directories
        .lowers
        .iter()
        .any(|lower| lower.root().is_some());
    let mut options = explicit_options().to_vec();
    if is_mixed {
        options.push(("xino", "auto"));
    }
    let overlay = Overlay {
        lowers: layers(directories),
        upper: Some((
            Layer::Path(&directories.upper),
            Layer::Path(&directories.work),
        )),
        volatile,
        options,
        ..Overlay::default()
    };
    overlay.mount().context("cannot mount the root file system")
}

/// Mounts what lies below a container's writable layer, detached and read-only.
pub(crate) fn mount_lowers(directories: &SnapshotDirectories) -> Result<OwnedFd> {
    let lowers = layers(directories);
    // An overlay without an upper layer wants two others.
    let mounted = match (&lowers[..], &directories.lowers[..]) {
        (&[_], [one]) => mount::clone_path(&one.path, false),
        _ => Overlay {
            lowers,
            ..Overlay::default()
        }
        .mount(),
    };
    mounted.context("cannot mount the image's layers")
}

fn layers(directories: &SnapshotDirectories) -> Vec<Layer<'_>> {
    let lowers = directories.lowers.iter();
    lowers
        .map(|lower| lower.root().map_or(Layer::Path(&lower.path), Layer::Fd))
        .collect()
}

/// Kernels may be set up to record a moved directory, or changed metadata, as a mark in the writable layer; whoever reads
/// that layer by itself, as a commit does, would miss the content.
fn explicit_options() -> &'static [(&'static str, &'static str)] {
    static OPTIONS: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let is_on = |name: &str| {
            let path = format!("/sys/module/overlay/parameters/{name}");
            std::fs::read(path).is_ok_and(|text| text.starts_with(b"Y"))
        };
        let marks = ["redirect_dir", "metacopy"].into_iter();
        marks
            .filter(|name| is_on(name))
            .map(|name| (name, "off"))
            .collect()
    })
}

/// A volatile overlay leaves a mark that forbids the next mount, as its data may be torn after a power cut. A container that is
/// started again in the same boot has all its data: the mark may go. After a reboot such a container is gone by its `--rm`.
fn forget_volatile(work: &Path) {
    // Absent on the first mount.
    let _ = std::fs::remove_dir_all(work.join("work/incompat"));
}

/// A copy of what is mounted at `path`, submounts included unless told otherwise.
pub(crate) fn clone_source(path: &Path, recursive: bool) -> Result<OwnedFd> {
    mount::clone_path(path, recursive).map_err(|error| {
        let not_found = error.kind() == std::io::ErrorKind::NotFound;
        let text = format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            path.display()
        );
        if not_found {
            Error::invalid(text)
        } else {
            Error::from(error).prefixed(format!("cannot mount {}", path.display()))
        }
    })
}

/// Removes the cgroups that a killed shim left, on a thread of its own: processes need a moment to end.
pub(crate) fn remove_cgroups_later(path: String) {
    std::thread::spawn(move || remove_cgroups(&path));
}

/// Kills what is left in the container's cgroups and removes them, in every hierarchy that is mounted. Nothing to do is the rule:
/// a shim removes its container's cgroups itself.
pub(crate) fn remove_cgroups(path: &str) {
    let relative = path.trim_start_matches('/');
    for root in cgroup_roots() {
        let directory = root.join(relative);
        for attempt in 0..50 {
            if !directory.is_dir() {
                break;
            }
            kill_members(&directory);
            if std::fs::remove_dir(&directory).is_err() && attempt > 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

fn kill_members(directory: &Path) {
    let members = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in members
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter_map(rustix::process::Pid::from_raw)
    {
        // Already gone is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn cgroup_roots() -> Vec<PathBuf> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let is_cgroup = after.starts_with("cgroup ") || after.starts_with("cgroup2 ");
            is_cgroup.then(|| before.split(' ').nth(4).map(PathBuf::from))?
        })
        .collect()
}
