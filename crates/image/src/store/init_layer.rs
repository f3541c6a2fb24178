//! The bottom layer of every snapshot: the mount points that Docker promises, so that none has to be made in a
//! container's own layer (where `docker diff` would show it). An image that has them itself covers these.

use gantry_base::{Context, Result};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

pub(super) const NAME: &str = "init";

const DIRECTORIES: [&str; 6] = ["dev", "dev/pts", "dev/shm", "proc", "sys", "etc"];
const FILES: [&str; 5] = [
    ".dockerenv",
    "dev/console",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
];

/// Makes the layer if it is not there.
pub(super) fn ensure(root: &Path) -> Result<()> {
    let target = root.join(NAME);
    if target.exists() {
        return Ok(());
    }
    let make = || -> std::io::Result<()> {
        let staging = root.join("ingest").join(NAME);
        std::fs::create_dir(&staging)?;
        std::fs::set_permissions(&staging, Permissions::from_mode(0o755))?;
        for name in DIRECTORIES {
            std::fs::create_dir(staging.join(name))?;
            std::fs::set_permissions(staging.join(name), Permissions::from_mode(0o755))?;
        }
        for name in FILES {
            std::fs::write(staging.join(name), "")?;
            std::fs::set_permissions(staging.join(name), Permissions::from_mode(0o755))?;
        }
        symlink("/proc/mounts", staging.join("etc/mtab"))?;
        std::fs::rename(staging, &target)
    };
    make().with_context(|| format!("cannot create {}", target.display()))?;
    gantry_sys::file::sync_filesystem(root)
}
