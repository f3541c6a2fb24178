//! Device nodes of the host for a container's configuration.

use super::config::DeviceMapping;
use super::spec::ResolvedDevice;
use gantry_base::{Error, Result};
use gantry_oci::runtime::Device;
use rustix::fs::FileType;
use std::path::Path;

/// `--device`: one node, or every node of a directory.
pub(super) fn resolve(mapping: &DeviceMapping) -> Result<Vec<ResolvedDevice>> {
    let path = Path::new(&mapping.path_on_host);
    let target = if mapping.path_in_container.is_empty() {
        &mapping.path_on_host
    } else {
        &mapping.path_in_container
    };
    let access = if mapping.cgroup_permissions.is_empty() {
        "rwm"
    } else {
        &mapping.cgroup_permissions
    };
    let gather = |error: std::io::Error| {
        Error::from(error).prefixed(format!(
            "error gathering device information while adding custom device \"{}\"",
            mapping.path_on_host
        ))
    };
    let found = node(path, target).map_err(gather)?;
    if let Some(device) = found {
        return Ok(vec![ResolvedDevice {
            device,
            access: access.into(),
        }]);
    }
    let mut devices = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(gather)? {
            let entry = entry.map_err(gather)?;
            let inside = format!(
                "{}/{}",
                target.trim_end_matches('/'),
                entry.file_name().to_string_lossy()
            );
            if let Ok(Some(device)) = node(&entry.path(), &inside) {
                devices.push(ResolvedDevice {
                    device,
                    access: access.into(),
                });
            }
        }
    }
    if devices.is_empty() {
        return Err(Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": not a device node",
            mapping.path_on_host
        )));
    }
    Ok(devices)
}

/// Every device node below `/dev`, for privileged containers, but those that each container has of its own.
pub(super) fn all_of_host() -> Vec<ResolvedDevice> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), &mut devices, 0);
    devices
}

fn collect(directory: &Path, devices: &mut Vec<ResolvedDevice>, depth: usize) {
    const OWN: [&str; 5] = ["pts", "shm", "fd", "mqueue", ".udev"];
    const DEPTH_MAX: usize = 8;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_own = OWN.iter().any(|own| name == *own) || name == "console" || name == "ptmx";
        if is_own {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => collect(&path, devices, depth + 1),
            Ok(kind) if kind.is_symlink() => {}
            Ok(_) => {
                if let Ok(Some(device)) = node(&path, &path.to_string_lossy()) {
                    devices.push(ResolvedDevice {
                        device,
                        access: "rwm".into(),
                    });
                }
            }
            Err(_) => {}
        }
    }
}

/// Major and minor number of a block device.
pub(super) fn block_numbers(path: &str) -> Result<(i64, i64)> {
    let device = node(Path::new(path), path)
        .map_err(|error| Error::from(error).prefixed(format!("stat {path}")))?;
    match device {
        Some(device) if device.kind == "b" => Ok((device.major, device.minor)),
        _ => Err(Error::invalid(format!("{path} is not a block device"))),
    }
}

/// The node at a path of the host, as a node at `target`; none if the file is no device.
fn node(path: &Path, target: &str) -> std::io::Result<Option<Device>> {
    let stat = rustix::fs::stat(path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return Ok(None),
    };
    Ok(Some(Device {
        kind: kind.into(),
        path: target.into(),
        major: i64::from(rustix::fs::major(stat.st_rdev)),
        minor: i64::from(rustix::fs::minor(stat.st_rdev)),
        file_mode: Some(stat.st_mode & 0o777),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
    }))
}
