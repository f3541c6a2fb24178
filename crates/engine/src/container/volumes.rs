//! The volumes of a container: their names, and what a create does for them.

use super::config::{Config, MountConfig, MountSource};
use super::record::ContainerRecord;
use super::{Shared, create};
use crate::volume;
use gantry_base::{Error, Result};
use gantry_sys::beneath::Root;
use std::collections::{BTreeMap, BTreeSet};

/// The names of a container's volumes.
pub(super) fn names(config: &Config) -> BTreeSet<String> {
    let mounts = config.mounts.iter();
    mounts
        .filter_map(|mount| match &mount.source {
            MountSource::Volume { name, .. } => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// Rows and directories of the container's volumes, with what the image has in their places.
pub(super) fn fill(shared: &Shared, record: &ContainerRecord, anonymous: &[String]) -> Result<()> {
    let volumes: BTreeMap<String, bool> = names(&record.config)
        .into_iter()
        .map(|name| (name.clone(), anonymous.contains(&name)))
        .collect();
    if volumes.is_empty() {
        return Ok(());
    }
    shared.volumes.ensure_used(&volumes)?;
    let snapshot = shared.images.snapshot_directories(&record.id);
    let snapshot = snapshot.ok_or_else(|| Error::internal("the new file system is missing"))?;
    let rootfs = crate::workload::rootfs::mount_overlay(&snapshot, record.config.auto_remove)?;
    let root = Root::from_fd(rootfs);
    for mount in &record.config.mounts {
        if let MountSource::Volume {
            name,
            no_copy: false,
            ..
        } = &mount.source
        {
            volume::copy_up(&shared.volumes.directory(name)?, &root, &mount.target)?;
        }
    }
    Ok(())
}

/// Image and request volumes without a mount of their own become anonymous volumes; gives the new names.
pub(super) fn name_anonymous(config: &mut Config) -> Vec<String> {
    let mut names = Vec::new();
    let mut fresh = || {
        let name = volume::anonymous_name();
        names.push(name.clone());
        name
    };
    for mount in &mut config.mounts {
        if let MountSource::Volume { name, .. } = &mut mount.source
            && name.is_empty()
        {
            *name = fresh();
        }
    }
    for path in config.volumes.clone() {
        let target = create::clean_path(&path);
        if config.mounts.iter().all(|mount| mount.target != target) {
            let source = MountSource::Volume {
                name: fresh(),
                no_copy: false,
                mode: String::new(),
            };
            config.mounts.push(MountConfig {
                target,
                source,
                readonly: false,
                from_mounts: false,
            });
        }
    }
    names
}
