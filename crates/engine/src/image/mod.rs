//! Images for the daemon: asynchronous calls over the `image` crate, events, and who uses what.

mod attestation;
mod builtin;
mod choose;
mod fetch;
mod pull;
mod push;
mod push_index;
mod remote;
mod transfer;
mod trust;

pub use pull::PullOptions;
pub use push::PushOptions;
pub use remote::RemoteImage;
pub use transfer::{Asker, TransferEvent};

use crate::Shared;
use crate::event::Events;
use gantry_base::{ContainerId, Error, Layout, Result};
use gantry_image::{
    DeriveOptions, Image, ImportOptions, LoadEvent, Loaded, Lower, RemoveOptions, Removed,
    RootfsMount, Usage,
};
use gantry_oci::{Platform, Reference};
use gantry_state::Database;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// The vocabulary of the `image` crate that callers of this service need.
pub mod types {
    pub use gantry_image::{
        ArchiveSink, DiskUsage, HistoryEntry, Image, ImageId, ImportOptions, ListedKind, LoadEvent,
        Loaded, Lower, Piece, RemoveOptions, Removed, Target, VerifiedSignature,
    };
    pub use gantry_registry::client::Credentials;
}

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    store: gantry_image::Images,
    /// For events and uses; set once the rest of the engine exists.
    shared: Arc<OnceLock<Weak<Shared>>>,
    /// Where containers' layers are: asked for at each change of a container, and never changing.
    snapshots: Arc<Mutex<HashMap<ContainerId, Arc<SnapshotDirectories>>>>,
    transfers: transfer::LazyTransfers,
}

/// The directories of a container's file system.
#[derive(Debug)]
pub(crate) struct SnapshotDirectories {
    /// Topmost first.
    pub(crate) lowers: Vec<Lower>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
}

/// What a prune removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedImages {
    /// Every step.
    pub removed: Vec<Removed>,
    /// Bytes of the removed images.
    pub space_reclaimed_bytes: u64,
}

impl Images {
    pub(crate) fn open(layout: &Layout, database: Database) -> Result<Self> {
        let store = gantry_image::Images::open(&layout.images(), layout.run_root(), database)?;
        builtin::ensure(&store)?;
        Ok(Self {
            store,
            shared: Arc::default(),
            snapshots: Arc::default(),
            transfers: Arc::default(),
        })
    }

    pub(crate) fn watch_use(&self, shared: &Arc<Shared>) {
        // Only the boot sets it, once.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    /// Every image.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.store.list()
    }

    pub(crate) fn count(&self) -> usize {
        self.store.list().len()
    }

    /// By reference, id, unique prefix of an id, or digest.
    ///
    /// # Errors
    /// `No such image: X`
    pub fn get(&self, name: &str) -> Result<Arc<Image>> {
        self.store.get(name)
    }

    /// The image's history, newest first.
    pub fn history(&self, name: &str) -> Result<Vec<gantry_image::HistoryEntry>> {
        self.store.history(name)
    }

    /// What all images take up.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn disk_usage(&self) -> Result<gantry_image::DiskUsage> {
        self.store.usage()
    }

    /// By name, for a platform: also another than the one that containers of this name get.
    ///
    /// # Errors
    /// `No such image: X`, or that there is none for the platform.
    pub fn get_for(&self, name: &str, platform: Option<&Platform>) -> Result<Arc<Image>> {
        let image = self.store.get(name)?;
        let Some(wanted) = platform else {
            return Ok(image);
        };
        self.store.get_for(name, wanted)?.ok_or_else(|| Error::not_found(format!(
            "image with reference {name} was found but its platform ({}) does not match the specified platform ({wanted})",
            image.platform()
        )))
    }

    /// The manifest or index that an image's name stands for, and what it speaks of.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn target_of(&self, image: &Image) -> Result<Option<types::Target>> {
        self.store.target_of(image)
    }

    /// The containers that use an image.
    pub fn users(&self, image: &Image) -> Vec<String> {
        let users = self.usage(image.id.as_str()).into_iter();
        users.map(|usage| usage.container).collect()
    }

    /// How many containers use an image.
    pub fn use_count(&self, image: &Image) -> usize {
        self.usage(image.id.as_str()).len()
    }

    fn usage(&self, id: &str) -> Vec<Usage> {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return Vec::new();
        };
        let views = shared.containers.views();
        let users = views.iter().filter(|view| view.image.as_str() == id);
        users
            .map(|view| Usage {
                container: view.id.as_str().to_owned(),
                running: view.state.status.is_live(),
            })
            .collect()
    }

    /// Takes away a name, and the image with its last one.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<Vec<Removed>> {
        let (this, name) = (self.clone(), name.to_owned());
        let id = self.get(&name)?.id.as_str().to_owned();
        let removed = blocking(move || {
            this.store
                .remove(&name, options, &|image| this.usage(image.as_str()))
        })
        .await?;
        self.publish_removed(&id, &removed);
        Ok(removed)
    }

    /// As [`Images::remove`], only the image for one platform; the others stay.
    ///
    /// # Errors
    /// Also when the name has no image for it.
    pub async fn remove_platform(
        &self,
        name: &str,
        platform: &Platform,
        options: RemoveOptions,
    ) -> Result<Vec<Removed>> {
        let image = self.get_for(name, Some(platform))?;
        let reference = Reference::parse(name).ok();
        let named = reference.and_then(|reference| self.store.named(&reference));
        if named.is_none_or(|named| named.variants.len() < 2) {
            return self.remove(name, options).await;
        }
        let (this, id) = (self.clone(), image.id.clone());
        let removed = blocking(move || {
            this.store
                .remove_variant(&id, options, &|image| this.usage(image.as_str()))
        })
        .await?;
        self.publish_removed(image.id.as_str(), &removed);
        Ok(removed)
    }

    fn publish_removed(&self, id: &str, removed: &[Removed]) {
        for step in removed {
            match step {
                // Docker names the image, not the reference that it lost.
                Removed::Untagged(_) => self.publish("untag", id, id),
                Removed::Deleted(id) => self.publish("delete", id, id),
            }
        }
    }

    /// Removes every image that no container uses and that `wanted` accepts.
    pub async fn prune(&self, wanted: impl Fn(&Image) -> bool) -> Result<PrunedImages> {
        let mut pruned = PrunedImages::default();
        let before_bytes = self.store.usage()?.layers_bytes;
        for image in self.list() {
            if self.use_count(&image) > 0 || !wanted(&image) {
                continue;
            }
            let names = if image.repo_tags.is_empty() {
                vec![image.id.as_str().to_owned()]
            } else {
                image.repo_tags.clone()
            };
            for name in names {
                // One that a container took meanwhile stays.
                if let Ok(removed) = self.remove(&name, RemoveOptions::default()).await {
                    pruned.removed.extend(removed);
                }
            }
        }
        // Layers that another image or a container still has are not reclaimed.
        let after_bytes = self.store.usage()?.layers_bytes;
        pruned.space_reclaimed_bytes = before_bytes.saturating_sub(after_bytes);
        Ok(pruned)
    }

    /// Gives an image one more name.
    pub async fn tag(&self, name: &str, reference: &Reference) -> Result<()> {
        let (this, owned, reference) = (self.clone(), name.to_owned(), reference.clone());
        let shown = reference.familiar();
        blocking(move || this.store.tag(&owned, &reference)).await?;
        let id = self.get(&shown)?.id.as_str().to_owned();
        self.publish("tag", &id, &shown);
        Ok(())
    }

    /// Reads a docker-archive or an OCI layout.
    pub async fn load(
        &self,
        input: impl Read + Send + 'static,
        platform: Option<Platform>,
        mut progress: impl FnMut(LoadEvent) + Send + 'static,
    ) -> Result<Vec<Loaded>> {
        let this = self.clone();
        let loaded =
            blocking(move || this.store.load(input, platform.as_ref(), &mut progress)).await?;
        for image in &loaded {
            self.publish(
                "load",
                image.id.as_str(),
                image.reference.as_deref().unwrap_or(image.id.as_str()),
            );
        }
        Ok(loaded)
    }

    /// Makes an image from the tar of a root file system; the answer is its id.
    pub async fn import(
        &self,
        input: impl Read + Send + 'static,
        options: ImportOptions,
    ) -> Result<String> {
        let this = self.clone();
        let id = blocking(move || this.store.import(input, options))
            .await?
            .as_str()
            .to_owned();
        self.publish("import", &id, &id);
        Ok(id)
    }

    /// Writes images as one archive.
    pub async fn save(
        &self,
        names: Vec<String>,
        platform: Option<Platform>,
        output: impl types::ArchiveSink + Send + 'static,
    ) -> Result<()> {
        let this = self.clone();
        blocking(move || this.store.save(&names, platform.as_ref(), output)).await
    }

    fn publish(&self, action: &str, id: &str, name: &str) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return;
        };
        let events: &Events = &shared.events;
        events.publish(
            "image",
            action,
            id,
            IndexMap::from([("name".to_owned(), name.to_owned())]),
        );
    }

    // ---- for containers ----

    pub(crate) fn resolve(&self, name: &str, platform: Option<&Platform>) -> Result<Arc<Image>> {
        let image = self.get_for(name, platform)?;
        self.check_use(name, &image)?;
        Ok(image)
    }

    pub(crate) fn prepare_snapshot(&self, id: &ContainerId, image: &Image) -> Result<()> {
        self.store.prepare_snapshot(id, image).map(drop)
    }

    /// Where a container's layers are; none if it has no snapshot.
    pub(crate) fn snapshot_directories(
        &self,
        id: &ContainerId,
    ) -> Option<Arc<SnapshotDirectories>> {
        if let Some(known) = self.snapshot_table().get(id) {
            return Some(known.clone());
        }
        let snapshot = self.store.snapshot(id).ok()?;
        let RootfsMount::Overlay {
            lowers,
            upper,
            work,
        } = self.store.mount_description(&snapshot);
        let found = Arc::new(SnapshotDirectories {
            lowers,
            upper,
            work,
        });
        self.snapshot_table().insert(id.clone(), found.clone());
        Some(found)
    }

    /// Where the layers of a container are that should have some.
    pub(crate) fn directories_of(&self, id: &ContainerId) -> Result<Arc<SnapshotDirectories>> {
        self.snapshot_directories(id)
            .ok_or_else(|| Error::internal(format!("the file system of container {id} is missing")))
    }

    /// Makes an image of another one and what a container changed; gives its id.
    pub(crate) fn derive(
        &self,
        parent: &str,
        upper: BorrowedFd<'_>,
        options: DeriveOptions,
    ) -> Result<String> {
        let parent = self.store.get(parent)?;
        let name = options.reference.as_ref().map(ToString::to_string);
        let id = self.store.derive(&parent, upper, options)?;
        if let Some(name) = name {
            self.publish("tag", id.as_str(), &name);
        }
        Ok(id.as_str().to_owned())
    }

    fn snapshot_table(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<ContainerId, Arc<SnapshotDirectories>>> {
        self.snapshots
            .lock()
            .expect("no code panics while it holds the table")
    }

    /// For a daemon that ends and leaves nothing running.
    pub(crate) fn unmount_layers(&self) {
        self.store.close();
    }

    pub(crate) fn remove_snapshot(&self, id: &ContainerId) -> Result<()> {
        self.snapshot_table().remove(id);
        self.store.remove_snapshot(id)
    }

    pub(crate) fn snapshot_usage(&self, id: &ContainerId) -> u64 {
        self.store
            .snapshot_usage(id)
            .map(|usage| usage.size_bytes)
            .unwrap_or_default()
    }

    pub(crate) fn snapshot_owners(&self) -> Result<Vec<ContainerId>> {
        self.store.snapshots()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::internal("the work on images ended unexpectedly"))?
}
