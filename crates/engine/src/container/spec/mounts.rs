//! The mounts of a container in the order they are made: Docker's defaults, the generated files, the user's own.
//!
//! Binds have no source in the document: the caller opens it and hands over a descriptor.

use super::{BindSource, SpecInput};
use crate::container::config::{Config, MountConfig, MountSource};
use gantry_oci::runtime::Mount;

/// Docker's default mounts, then the generated files and the user's mounts, parents before children.
pub(super) fn mounts(input: &SpecInput<'_>) -> (Vec<Mount>, Vec<(usize, BindSource)>) {
    let config = input.config;
    let mut mounts = default_mounts(config);
    // A mount of the user's at the same place replaces the default.
    mounts.retain(|default| {
        config
            .mounts
            .iter()
            .all(|mount| mount.target != default.destination)
    });
    let mut user = generated_mounts(input);
    for (index, configured) in config.mounts.iter().enumerate() {
        user.push(configured_mount(configured, index));
    }
    user.sort_by_key(|(mount, _)| {
        mount
            .destination
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    let mut binds = Vec::new();
    for (mount, source) in user {
        if let Some(source) = source {
            binds.push((mounts.len(), source));
        }
        mounts.push(mount);
    }
    (mounts, binds)
}

fn default_mounts(config: &Config) -> Vec<Mount> {
    let access = if config.security.privileged {
        "rw"
    } else {
        "ro"
    };
    let shm_size = format!("size={}", config.shm_size_bytes);
    let mut defaults = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access],
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &[access, "nosuid", "noexec", "nodev"],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
    ];
    if config.namespaces.ipc != "none" {
        defaults.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        ));
    }
    defaults
}

/// The files that the daemon writes, where the user mounts nothing.
fn generated_mounts(input: &SpecInput<'_>) -> Vec<(Mount, Option<BindSource>)> {
    let config = input.config;
    let mut generated = Vec::new();
    for (index, &target) in input.generated_files.iter().enumerate() {
        if config.mounts.iter().all(|mount| mount.target != target) {
            let options: &[&str] = if config.readonly_rootfs {
                &["rbind", "rprivate", "ro"]
            } else {
                &["rbind", "rprivate"]
            };
            generated.push((
                mount(target, "bind", "", options),
                Some(BindSource::Generated(index)),
            ));
        }
    }
    generated
}

fn configured_mount(configured: &MountConfig, index: usize) -> (Mount, Option<BindSource>) {
    let access = if configured.readonly { "ro" } else { "rw" };
    match &configured.source {
        MountSource::Bind {
            path,
            propagation,
            non_recursive,
            ..
        } => {
            let propagation = if propagation.is_empty() {
                "rprivate"
            } else {
                propagation
            };
            let bind = if *non_recursive { "bind" } else { "rbind" };
            let options = if configured.readonly && !*non_recursive {
                vec![bind, propagation, "ro", "rro"]
            } else {
                vec![bind, propagation, access]
            };
            (
                // The path is for the texts of errors; what is mounted is the descriptor.
                mount(&configured.target, "bind", path, &options),
                Some(BindSource::Configured(index)),
            )
        }
        MountSource::Volume { .. } => {
            let options = ["rbind", "rprivate", access];
            (
                mount(&configured.target, "bind", "", &options),
                Some(BindSource::Configured(index)),
            )
        }
        MountSource::Tmpfs {
            size_bytes,
            mode,
            options,
        } => {
            let mut list: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
            for option in options {
                // `exec`, `suid` and `dev` take back a default.
                list.retain(|old| old != &format!("no{option}"));
                list.push(option.clone());
            }
            list.push(access.to_owned());
            list.extend(size_bytes.map(|size| format!("size={size}")));
            list.extend(mode.map(|mode| format!("mode={mode:o}")));
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            (mount(&configured.target, "tmpfs", "tmpfs", &list), None)
        }
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}
