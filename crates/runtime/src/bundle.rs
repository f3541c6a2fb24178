//! Fills a [`Plan`] from an OCI bundle: for the command line, which has paths where the daemon has descriptors.
//!
//! All paths of the host are opened here, before anything of the container exists.

use gantry_oci::runtime::{Linux, Mount, Spec};
use gantry_sys::memfd;
use gantry_sys::mount::{self, Change};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cgroup::Roots;
use crate::error::{Context, Error, Result, quoted};
use crate::plan::{Document, Plan};
use crate::{userns, validate};

/// Name of the configuration in a bundle.
pub const CONFIG_FILE: &str = "config.json";
/// Longest configuration that is read.
const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Reads and parses a bundle's configuration.
pub fn read_config(bundle: &Path) -> Result<Spec> {
    let path = bundle.join(CONFIG_FILE);
    let metadata = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::invalid(
                "JSON specification file config.json not found",
            ));
        }
        other => other.with_context(|| format!("stat {}", path.display()))?,
    };
    if !metadata.is_file() || metadata.len() > CONFIG_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{} is not a file of at most {CONFIG_BYTES_MAX} bytes",
            path.display()
        )));
    }
    let text = std::fs::read(&path).with_context(|| format!("open {}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::invalid(format!("cannot parse {}: {error}", path.display())))
}

/// A plan for the container of a bundle; streams, start and the like are the caller's to choose.
pub fn plan(id: &str, bundle: &Path, spec: Spec, cgroups: Arc<Roots>) -> Result<Plan> {
    let root = spec
        .root
        .as_ref()
        .ok_or_else(|| Error::invalid("root must be specified"))?;
    validate::validate_spec(&spec)?;
    let rootfs_path = bundle.join(&root.path);
    let rootfs_path = std::fs::canonicalize(&rootfs_path)
        .with_context(|| format!("invalid rootfs: stat {}", rootfs_path.display()))?;
    if !rootfs_path.is_dir() {
        return Err(Error::invalid(format!(
            "invalid rootfs: {} is not a directory",
            rootfs_path.display()
        )));
    }
    let rootfs = mount::clone_path(&rootfs_path, true).context("cannot clone the rootfs")?;
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let mut mounts = Vec::new();
    for (index, mount) in spec.mounts.iter().enumerate() {
        if is_bind(mount) {
            let fd = open_source(bundle, mount, linux).with_context(|| {
                format!(
                    "unable to start container process: error during container init: error mounting {} to rootfs at {}",
                    quoted(&mount.source),
                    quoted(&mount.destination)
                )
            })?;
            mounts.push((index, fd));
        }
    }
    let filter = match &linux.seccomp {
        Some(document) => gantry_sys::seccomp::compile(document)?,
        None => None,
    };
    let filter = filter
        .map(|bytes| memfd::sealed_bytes("seccomp", &bytes))
        .transpose()?;
    let mut plan = Plan::new(id, Document::Parsed(Box::new(spec)), rootfs, cgroups);
    plan.bundle = bundle.to_path_buf();
    plan.mounts = mounts;
    plan.seccomp_filter = filter;
    plan.host_proc = mount::open_path(Path::new("/proc")).ok();
    Ok(plan)
}

fn is_bind(mount: &Mount) -> bool {
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    !has("remount") && (mount.kind == "bind" || has("bind") || has("rbind"))
}

fn open_source(bundle: &Path, mount: &Mount, linux: &Linux) -> Result<std::os::fd::OwnedFd> {
    let source: PathBuf = bundle.join(&mount.source);
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    let fd = mount::clone_path(&source, has("rbind"))
        .with_context(|| format!("stat {}", source.display()))?;
    let has_maps = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if has_maps || has("idmap") || has("ridmap") {
        let (uids, gids) = if has_maps {
            (&mount.uid_mappings, &mount.gid_mappings)
        } else {
            (&linux.uid_mappings, &linux.gid_mappings)
        };
        let namespace = userns::namespace_for_mount(uids, gids, None)?;
        let change = Change {
            idmap: Some(std::os::fd::AsFd::as_fd(&namespace)),
            recursive: has("ridmap"),
            ..Change::default()
        };
        mount::change(&fd, &change).context("failed to set MOUNT_ATTR_IDMAP")?;
    }
    Ok(fd)
}
