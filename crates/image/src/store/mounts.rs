//! Layers of kind erofs, mounted: each once, shared by all containers, at `<run root>/layers/<diff id>`.
//!
//! They are attached there so that the next daemon finds the same file systems again, and with them the pages that running
//! containers have in memory. Overlays are made from descriptors, so what happens to the path matters to none.

use super::Shared;
use crate::erofs;
use gantry_base::{Context, Result};
use gantry_oci::Digest;
use rustix::fs::Advice;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a layer's file stays in memory besides its mounted content: time enough for a first container to start.
const WARM_TIME: Duration = Duration::from_secs(10);

/// The layers that are mounted.
pub(crate) struct Mounts {
    folder: PathBuf,
    mounted: Mutex<HashMap<Digest, Arc<OwnedFd>>>,
    cool: Sender<(Instant, PathBuf)>,
}

impl Mounts {
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        let (cool, cooling) = channel();
        drop(crate::ingest::spawn("layer-cache", move || {
            cool_for_ever(&cooling);
        })?);
        Ok(Self {
            folder,
            mounted: Mutex::default(),
            cool,
        })
    }

    /// Where a layer is mounted while something uses it.
    pub(crate) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.folder.join(diff_id.hex())
    }

    /// The root of a layer's file system, mounted if it is not.
    ///
    /// # Errors
    /// When the kernel does not take the file.
    pub(crate) fn get(&self, diff_id: &Digest, file: &Path) -> Result<Arc<OwnedFd>> {
        let mut mounted = self.mounted();
        if let Some(root) = mounted.get(diff_id) {
            return Ok(root.clone());
        }
        let path = self.path(diff_id);
        let root = self
            .adopt_or_mount(&path, file)
            .with_context(|| format!("cannot mount the layer {diff_id}"))?;
        let root = Arc::new(root);
        mounted.insert(diff_id.clone(), root.clone());
        // The thread ends before us only if it panicked; the pages then stay until memory is short.
        let _ = self
            .cool
            .send((Instant::now() + WARM_TIME, file.to_owned()));
        Ok(root)
    }

    fn adopt_or_mount(&self, path: &Path, file: &Path) -> std::io::Result<OwnedFd> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.folder)?;
                std::fs::create_dir(path)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let found = gantry_sys::mount::open_path(path)?;
                if erofs::is_mount_of(&found) {
                    return Ok(found);
                }
            }
            made => made?,
        }
        let root = erofs::mount(file)?;
        gantry_sys::mount::attach_at(&root, path)?;
        Ok(root)
    }

    /// Detaches a layer; overlays that use it keep it.
    pub(super) fn forget(&self, diff_id: &Digest) {
        self.mounted().remove(diff_id);
        detach(&self.path(diff_id));
    }

    /// Detaches all.
    pub(super) fn close(&self) {
        self.mounted().clear();
        self.sweep(&HashSet::new());
    }

    /// Detaches what an earlier daemon left, except for these layers.
    pub(super) fn sweep(&self, known: &HashSet<String>) {
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let is_known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| known.contains(name));
            if !is_known {
                detach(&entry.path());
            }
        }
    }

    fn mounted(&self) -> MutexGuard<'_, HashMap<Digest, Arc<OwnedFd>>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Where the files of a layer are for overlayfs: a tree, or a mounted file.
    pub(crate) fn lower(
        &self,
        number: i64,
        kind: super::LayerKind,
        diff_id: &Digest,
    ) -> Result<super::Lower> {
        let content = self.layer(number).join(kind.file_name());
        Ok(match kind {
            super::LayerKind::Dir => super::Lower {
                path: content,
                root: None,
            },
            super::LayerKind::Erofs => super::Lower {
                path: self.mounts.path(diff_id),
                root: Some(self.mounts.get(diff_id, &content)?),
            },
        })
    }
}

fn detach(path: &Path) {
    // Not mounted, or not there: as it should be.
    let _ = gantry_sys::mount::unmount(path);
    let _ = std::fs::remove_dir(path);
}

/// What a mounted layer was asked for is in memory once more, as content of its file system: the file's own pages can go.
fn cool_for_ever(cooling: &Receiver<(Instant, PathBuf)>) {
    while let Ok((time, path)) = cooling.recv() {
        std::thread::sleep(time.saturating_duration_since(Instant::now()));
        if let Ok(file) = std::fs::File::open(path) {
            // Only a matter of memory.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}
