//! The store on disk and in the database: opening it, taking in new layers and images, letting go of old ones.
//!
//! Beneath the root (0700): `layers/<n>/` (a tree or one file), `blobs/sha256/<hex>` (as they came), `snapshots/<container>/`
//! (writable layers), `init/` (mount points), `ingest/` (arriving), `trash/` (leaving). A row in the database is what
//! makes a directory or blob count: whatever has none is removed when the store is opened.

mod blobs;
mod collect;
mod commit;
mod index;
mod init_layer;
mod kind;
mod lease;
mod limits;
mod mounts;
mod reference;
mod trash;

pub use blobs::Blobs;
pub(crate) use collect::delete_orphaned_chains;
pub use commit::{NewImage, NewLayers};
pub(crate) use index::{Index, config_bytes, nanoseconds, parse_config};
pub use kind::{LayerKind, Lower};
pub use lease::Lease;
pub use limits::Limits;
pub use reference::{Named, Variant};
pub(crate) use reference::{NewReference, insert_reference};

use crate::ingest::Pool;
use gantry_base::{Context, Result};
use gantry_state::{Database, sql_error};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, RwLock};

/// How a store is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Bounds on what archives may cost.
    pub limits: Limits,
    /// In which kind new layers are stored; the best one that the kernel and the file system can do, if not given.
    pub layer_kind: Option<LayerKind>,
}

/// All images of one data root. Clones share everything.
#[derive(Clone)]
pub struct Images {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) db: Database,
    pub(crate) limits: Limits,
    /// In which kind new layers are stored.
    pub(crate) layer_kind: LayerKind,
    pub(crate) pool: Pool,
    /// What readers see; replaced whole after each change.
    index: RwLock<Arc<Index>>,
    /// Held while a change is made and the index replaced, so that indexes follow each other in order.
    changing: Mutex<()>,
    held: Mutex<lease::Held>,
    pub(crate) blobs: Blobs,
    pub(crate) partials: crate::partial::Partials,
    pub(crate) mounts: mounts::Mounts,
    next_layer: AtomicI64,
    trash: trash::Trash,
}

impl Images {
    /// Opens or creates the store beneath `root`, and removes what an earlier process left unfinished. Layers are mounted
    /// beneath `run`.
    ///
    /// # Errors
    /// When a directory cannot be made or the database not be read.
    pub fn open(root: &Path, run: &Path, db: Database) -> Result<Self> {
        Self::open_with(root, run, db, Options::default())
    }

    /// Like [`Images::open`], with other bounds, or layers of another kind.
    ///
    /// # Errors
    /// As [`Images::open`].
    pub fn open_with(root: &Path, run: &Path, db: Database, options: Options) -> Result<Self> {
        make_private(root)?;
        for name in ["layers", "blobs", "snapshots", "ingest", "trash"] {
            make_private(&root.join(name))?;
        }
        let blobs = Blobs::open(&root.join("blobs/sha256"))?;
        let trash = trash::Trash::open(root.join("trash"))?;
        let next_layer = sweep(root, &db, &trash)?;
        crate::partial::sweep(root, &db)?;
        init_layer::ensure(root)?;
        let mounts = mounts::Mounts::open(run.join("layers"))?;
        mounts.sweep(&known(
            &db,
            "SELECT substr(diff_id, 8) FROM layer WHERE kind = 'erofs'",
        )?);
        let layer_kind = options
            .layer_kind
            .unwrap_or_else(|| best_kind(&root.join("ingest")));
        let index = Index::read(&db, &Index::default())?;
        let shared = Shared {
            root: root.to_owned(),
            db,
            limits: options.limits,
            pool: Pool::default(),
            index: RwLock::new(Arc::new(index)),
            changing: Mutex::default(),
            held: Mutex::default(),
            blobs,
            partials: crate::partial::Partials::default(),
            mounts,
            layer_kind,
            next_layer: AtomicI64::new(next_layer),
            trash,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Unmounts all layers; for a daemon that ends and leaves no container behind.
    pub fn close(&self) {
        self.shared.mounts.close();
    }

    /// In which kind new layers are stored.
    pub fn layer_kind(&self) -> LayerKind {
        self.shared.layer_kind
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        self.shared
            .index
            .read()
            .expect("no code panics while it holds the index")
            .clone()
    }
}

impl Shared {
    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }
    pub(crate) fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }
    pub(crate) fn layer(&self, number: i64) -> PathBuf {
        self.root.join("layers").join(number.to_string())
    }
    pub(crate) fn init_layer(&self) -> PathBuf {
        self.root.join(init_layer::NAME)
    }
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        self.trash.take(path)
    }

    /// Runs `change` and then lets readers see its outcome.
    pub(crate) fn change<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let _changing = self
            .changing
            .lock()
            .expect("a change that panicked has left the database consistent");
        let value = change()?;
        let current = self
            .index
            .read()
            .expect("no code panics while it holds the index")
            .clone();
        let next = Arc::new(Index::read(&self.db, &current)?);
        *self
            .index
            .write()
            .expect("no code panics while it holds the index") = next;
        Ok(value)
    }
}

pub(crate) fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Files, if the kernel mounts them where the store is.
fn best_kind(folder: &Path) -> LayerKind {
    match crate::erofs::probe(folder) {
        Ok(()) => LayerKind::Erofs,
        // Older kernels, other file systems, and processes without the right to mount.
        Err(_) => LayerKind::Dir,
    }
}

/// The names that a query gives.
fn known(db: &Database, query: &str) -> Result<HashSet<String>> {
    db.read(|connection| {
        let mut statement = connection.prepare(query).map_err(sql_error)?;
        let names = statement
            .query_map([], |row| row.get::<_, String>(0))
            .map_err(sql_error)?;
        names.collect::<Result<_, _>>().map_err(sql_error)
    })
}

/// Throws away what no row speaks of; gives the first free layer number.
fn sweep(root: &Path, db: &Database, trash: &trash::Trash) -> Result<i64> {
    let layers = known(db, "SELECT CAST(id AS TEXT) FROM layer")?;
    let snapshots = known(db, "SELECT container FROM snapshot")?;
    let blobs = known(
        db,
        "SELECT substr(digest, 8) FROM layer_blob UNION SELECT substr(digest, 8) FROM image_blob",
    )?;
    for (folder, wanted) in [
        ("ingest", &HashSet::new()),
        ("layers", &layers),
        ("snapshots", &snapshots),
        ("blobs/sha256", &blobs),
    ] {
        let folder = root.join(folder);
        let read = || format!("cannot read {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(read)? {
            let entry = entry.with_context(read)?;
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name))
            {
                trash.take(&entry.path())?;
            }
        }
    }
    let highest = layers
        .iter()
        .filter_map(|number| number.parse::<i64>().ok())
        .max();
    Ok(highest.unwrap_or(0) + 1)
}
