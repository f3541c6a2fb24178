//! The writable layer of a container over the layers of its image.
//!
//! Its directory is derived from the container's id, so that every step can be repeated after a crash. Mounts nothing.

use crate::chain::chain_id;
use crate::store::{LayerKind, Lower};
use crate::unpack::tree_size;
use crate::{Image, Images};
use gantry_base::{ContainerId, Context, Error, ErrorKind, Result};
use gantry_oci::Digest;
use gantry_state::{Durability, sql_error};
use rusqlite::{OptionalExtension as _, params};
use rustix::fs::{Mode, OFlags};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How many layers an image may have: overlayfs takes 500, some of which are ours.
const LAYERS_MAX: usize = 400;

/// A container's snapshot, prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Read-only layers, the topmost first, then the mount points every container needs.
    pub lowers: Vec<Lower>,
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
        lowers: Vec<Lower>,
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
    ///
    /// # Errors
    /// When the image is gone or has too many layers, or a directory cannot be made.
    pub fn prepare_snapshot(&self, container: &ContainerId, image: &Image) -> Result<Snapshot> {
        let diff_ids = &image.config.rootfs.diff_ids;
        if diff_ids.len() > LAYERS_MAX {
            return Err(Error::invalid("max depth exceeded"));
        }
        let (key, chain) = (container.clone(), chain_id(diff_ids));
        let recorded = self.shared.db.write(Durability::Normal, move |tx| {
            let mut statement = tx
                .prepare_cached("INSERT INTO snapshot (container, chain) VALUES (?1, ?2) ON CONFLICT (container) DO NOTHING")
                .map_err(sql_error)?;
            statement.execute(params![key.as_str(), chain.as_str()]).map_err(sql_error)
        });
        recorded.map_err(|error| match error.kind() {
            // The foreign key: somebody removed the image since it was looked up.
            ErrorKind::Conflict => Error::not_found(format!("No such image: {}", image.id)),
            _ => error,
        })?;
        gantry_base::failpoint!("snapshot.row");
        let folder = self.snapshot_folder(container);
        make(&folder, 0o700)?;
        make(&folder.join("diff"), 0o755)?;
        make(&folder.join("work"), 0o700)?;
        self.snapshot(container)
    }

    /// The snapshot of `container`.
    ///
    /// # Errors
    /// When none was prepared.
    pub fn snapshot(&self, container: &ContainerId) -> Result<Snapshot> {
        let layers = self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT chain FROM snapshot WHERE container = ?1")
                .map_err(sql_error)?;
            let chain: Option<String> = statement
                .query_row([container.as_str()], |row| row.get(0))
                .optional()
                .map_err(sql_error)?;
            let chain = chain.ok_or_else(|| {
                Error::not_found(format!("container {container} has no snapshot"))
            })?;
            let mut statement = connection
                .prepare_cached(
                    "SELECT layer, kind, diff_id FROM chain_layer JOIN layer ON layer.id = chain_layer.layer
                     WHERE chain = ?1 ORDER BY position DESC",
                )
                .map_err(sql_error)?;
            let layers = statement
                .query_map([chain], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                    ))
                })
                .map_err(sql_error)?;
            layers
                .collect::<Result<Vec<_>, _>>()
                .map_err(sql_error)
        })?;
        let mut lowers = Vec::with_capacity(layers.len() + 1);
        for (number, kind, diff_id) in layers {
            let (kind, diff_id) = (LayerKind::parse(&kind)?, Digest::parse(&diff_id)?);
            lowers.push(self.shared.lower(number, kind, &diff_id)?);
        }
        lowers.push(Lower {
            path: self.shared.init_layer(),
            root: None,
        });
        let folder = self.snapshot_folder(container);
        Ok(Snapshot {
            lowers,
            upper: folder.join("diff"),
            work: folder.join("work"),
        })
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
    ///
    /// # Errors
    /// When the directory or the row cannot be taken away; it can be tried again.
    pub fn remove_snapshot(&self, container: &ContainerId) -> Result<()> {
        self.shared.discard(&self.snapshot_folder(container))?;
        gantry_base::failpoint!("snapshot.trashed");
        let key = container.clone();
        let is_last_use = self.shared.db.write(Durability::Normal, move |tx| {
            let chain: Option<String> = tx
                .query_row("DELETE FROM snapshot WHERE container = ?1 RETURNING chain", [key.as_str()], |row| row.get(0))
                .optional()
                .map_err(sql_error)?;
            let Some(chain) = chain else { return Ok(false) };
            tx.query_row(
                "SELECT NOT EXISTS (SELECT 1 FROM image WHERE chain = ?1) AND NOT EXISTS (SELECT 1 FROM snapshot WHERE chain = ?1)",
                [chain],
                |row| row.get(0),
            )
            .map_err(sql_error)
        })?;
        // The image went while this container still needed its layers.
        if is_last_use {
            self.shared.collect()
        } else {
            Ok(())
        }
    }

    /// Measures the writable layer.
    ///
    /// # Errors
    /// When there is none.
    pub fn snapshot_usage(&self, container: &ContainerId) -> Result<SnapshotUsage> {
        let path = self.snapshot_folder(container).join("diff");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(std::io::Error::from)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let (size_bytes, inodes) = tree_size(folder)?;
        Ok(SnapshotUsage { size_bytes, inodes })
    }

    /// Containers that have a snapshot, for reconciliation at boot.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn snapshots(&self) -> Result<Vec<ContainerId>> {
        self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT container FROM snapshot")
                .map_err(sql_error)?;
            let rows = statement
                .query_map([], |row| row.get::<_, String>(0))
                .map_err(sql_error)?;
            rows.map(|row| ContainerId::parse(&row.map_err(sql_error)?))
                .collect()
        })
    }

    fn snapshot_folder(&self, container: &ContainerId) -> PathBuf {
        self.shared.root.join("snapshots").join(container.as_str())
    }
}

/// Makes a directory with exactly this mode; fine if it is there.
fn make(path: &Path, mode: u32) -> Result<()> {
    let made = match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) if mode & 0o077 != 0 => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.with_context(|| format!("cannot create {}", path.display()))
}
