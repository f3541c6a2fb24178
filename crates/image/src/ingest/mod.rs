//! A blob on its way in: stored, hashed, and if it is a layer, inflated and unpacked while it still arrives.
//!
//! [`Ingest`] is fed pieces by one thread; hashing, inflating and unpacking have a thread each, with short queues between
//! them, so that the slowest alone sets the pace and memory stays bounded. What arrives lies in a directory of its own
//! under `ingest/` until the store takes it over; dropping it removes it.

mod compression;
mod layer;
mod pool;
mod queue;

pub use compression::Compression;
pub(crate) use compression::{MAGIC_BYTES, decoder};
pub use layer::IngestedLayer;
use layer::LayerThreads;
pub(crate) use pool::PIECE_BYTES;
pub use pool::{Piece, Pool};
pub(crate) use queue::QueueReader;

use crate::Images;
use crate::store::{LayerKind, Shared};
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use sha2::Digest as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Pieces that may wait in front of each thread.
const QUEUE_LENGTH: usize = 16;

/// What the bytes are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only stored.
    Blob,
    /// Stored and unpacked.
    Layer(Compression),
    /// Unpacked; stored only if the layer needs it to give its tar back. The digest of a compressed one is that of its tar.
    Import(Compression),
}

/// A blob that is arriving.
pub struct Ingest {
    /// None: the bytes are stored by somebody else, or not at all.
    file: Option<std::fs::File>,
    size_bytes: u64,
    /// Behind it: the hash of the blob. None: only the tar within is hashed.
    hash: Option<SyncSender<Piece>>,
    hashed: Option<JoinHandle<Digest>>,
    layer: Option<LayerThreads>,
    /// Last, so that it is dropped, and removed, when nobody writes into it any more.
    folder: Folder,
}

/// A blob that has arrived whole.
pub struct Ingested {
    pub(crate) folder: Folder,
    /// Of the bytes as they came.
    pub digest: Digest,
    /// Of the bytes as they came.
    pub size_bytes: u64,
    /// Why it is no layer, if it was taken for one and is none.
    pub layer: Option<Result<IngestedLayer>>,
}

/// A directory under `ingest/`; removed when dropped, unless its content was moved out.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create(parent: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }
    pub(crate) fn blob(&self) -> PathBuf {
        self.path.join("blob")
    }
    /// Where the unpacked layer lies.
    pub(crate) fn content(&self, kind: LayerKind) -> PathBuf {
        self.path.join(kind.file_name())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return;
        };
        // What cannot be removed now is swept when the store is opened next.
        if let Ok(parent) = std::fs::File::open(parent) {
            drop(gantry_sys::file::remove_tree(&parent, name));
        }
    }
}

impl Purpose {
    /// Whether the bytes as they come need a digest: they are stored under it, are asked for by it, or are the tar.
    fn is_hashed(self, kind: LayerKind) -> bool {
        let is_compressed_import =
            matches!(self, Self::Import(compression) if compression != Compression::None);
        !is_compressed_import || is_blob_kept(self, kind)
    }
}

/// A file that is a layer holds its tar itself; a tree needs the bytes it was made from.
fn is_blob_kept(purpose: Purpose, kind: LayerKind) -> bool {
    match purpose {
        Purpose::Blob => true,
        Purpose::Layer(compression) => kind == LayerKind::Dir || compression != Compression::None,
        Purpose::Import(_) => kind == LayerKind::Dir,
    }
}

impl Ingest {
    fn begin(shared: &Shared, purpose: Purpose) -> Result<Self> {
        let folder = Folder::create(&shared.ingest())?;
        let file = if is_blob_kept(purpose, shared.layer_kind) {
            let path = folder.blob();
            let file = std::fs::File::create_new(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            Some(file)
        } else {
            None
        };
        Self::start(shared, folder, file, purpose)
    }

    /// Begins a blob whose bytes lie somewhere else: it is only hashed, and unpacked.
    pub(crate) fn begin_beside(shared: &Shared, purpose: Purpose) -> Result<Self> {
        Self::start(shared, Folder::create(&shared.ingest())?, None, purpose)
    }

    fn start(
        shared: &Shared,
        folder: Folder,
        file: Option<std::fs::File>,
        purpose: Purpose,
    ) -> Result<Self> {
        let (tell, blob_digest) = sync_channel(1);
        let (hash, hashed) = if purpose.is_hashed(shared.layer_kind) {
            let (hash, pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
            let hashed = spawn("blob-hash", move || {
                let digest = digest_of(&pieces);
                // Only the threads of a plain tar wait for it.
                let _ = tell.send(digest.clone());
                digest
            })?;
            (Some(hash), Some(hashed))
        } else {
            (None, None)
        };
        let layer = match purpose {
            Purpose::Blob => None,
            Purpose::Layer(compression) | Purpose::Import(compression) => {
                let recipe = layer::Recipe {
                    folder: &folder,
                    compression,
                    kind: shared.layer_kind,
                    is_blob_kept: is_blob_kept(purpose, shared.layer_kind),
                    limits: shared.limits,
                    pool: &shared.pool,
                };
                Some(LayerThreads::start(&recipe, blob_digest)?)
            }
        };
        Ok(Self {
            folder,
            file,
            size_bytes: 0,
            hash,
            hashed,
            layer,
        })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the disk takes no more. A damaged layer shows in [`Ingest::finish`] only, since the blob may be wanted anyway.
    pub fn feed(&mut self, piece: Piece) -> Result<()> {
        let before = self.size_bytes;
        self.size_bytes += piece.len() as u64;
        if let Some(layer) = &mut self.layer
            && let Some(input) = &layer.input
            && input.send(piece.clone()).is_err()
        {
            layer.input = None;
        }
        if let Some(hash) = &self.hash {
            hash.send(piece.clone())
                .map_err(|_| Error::internal("the hashing thread has ended"))?;
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write_all(&piece)
            .with_context(|| format!("cannot write {}", self.folder.blob().display()))?;
        gantry_sys::file::write_behind(&*file, before, self.size_bytes);
        Ok(())
    }

    /// Tells the threads that this was all; they go on while the caller begins the next blob.
    pub fn end(self) -> Ending {
        let Self {
            folder,
            size_bytes,
            hashed,
            layer,
            ..
        } = self;
        let layer = layer.map(|mut layer| {
            layer.input = None;
            layer
        });
        Ending {
            size_bytes,
            hashed,
            layer,
            folder,
        }
    }
}

impl Images {
    /// Begins a blob.
    ///
    /// # Errors
    /// When its directory or a thread cannot be made.
    pub fn begin_ingest(&self, purpose: Purpose) -> Result<Ingest> {
        Ingest::begin(&self.shared, purpose)
    }

    /// Buffers for what is fed.
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }
}

/// A blob that has arrived but may still be unpacked.
pub struct Ending {
    size_bytes: u64,
    hashed: Option<JoinHandle<Digest>>,
    layer: Option<LayerThreads>,
    folder: Folder,
}

impl Ending {
    /// Waits for the threads.
    ///
    /// # Errors
    /// When a thread panicked. Why the blob is no layer is said in [`Ingested::layer`].
    pub fn wait(self) -> Result<Ingested> {
        let digest = self.hashed.map(join).transpose()?;
        let layer = self.layer.map(LayerThreads::wait);
        let digest = match (digest, &layer) {
            (Some(digest), _) => digest,
            (None, Some(Ok(layer))) => layer.diff_id.clone(),
            // Nobody asks for the digest of what is not taken in.
            (None, _) => Digest::of(b""),
        };
        Ok(Ingested {
            folder: self.folder,
            digest,
            size_bytes: self.size_bytes,
            layer,
        })
    }
}

fn digest_of(pieces: &Receiver<Piece>) -> Digest {
    let mut hash = sha2::Sha256::new();
    for piece in pieces {
        hash.update(&*piece);
    }
    Digest::from_sha256(&hash.finalize().into())
}

pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .with_context(|| format!("cannot start the thread {name}"))
}

/// Like [`spawn`], for work that borrows.
pub(crate) fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<std::thread::ScopedJoinHandle<'scope, T>> {
    let builder = std::thread::Builder::new().name(name.into());
    builder
        .spawn_scoped(scope, work)
        .with_context(|| format!("cannot start the thread {name}"))
}

pub(crate) fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread
        .join()
        .map_err(|_| Error::internal("a thread of the image store has panicked"))
}

/// Reads `input` to its end into `ingest`.
pub(crate) fn feed_all(ingest: &mut Ingest, input: &mut impl Read, pool: &Pool) -> Result<()> {
    loop {
        let piece = pool.read_from(input).context("cannot read the archive")?;
        if piece.is_empty() {
            return Ok(());
        }
        ingest.feed(piece)?;
    }
}
