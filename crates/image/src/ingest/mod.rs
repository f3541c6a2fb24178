//! A blob on its way in: stored, hashed, and if it is a layer, inflated and unpacked while it still arrives.
//!
//! [`Ingest`] is fed pieces by one thread; hashing, inflating and unpacking have a thread each, with short queues between
//! them, so that the slowest alone sets the pace and memory stays bounded. What arrives lies in a directory of its own
//! under `ingest/` until the store takes it over; dropping it removes it.

mod compression;
mod pool;
mod queue;

pub(crate) use compression::{Compression, MAGIC_BYTES, decoder};
pub(crate) use pool::{PIECE_BYTES, Piece, Pool};
pub(crate) use queue::QueueReader;

use crate::Limits;
use crate::unpack::{Unpacked, unpack};
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
pub(crate) enum Purpose {
    /// Only stored.
    Blob,
    /// Stored and unpacked.
    Layer(Compression),
}

/// A blob that is arriving.
pub(crate) struct Ingest {
    file: std::fs::File,
    size_bytes: u64,
    /// Behind it: the hash of the blob.
    hash: SyncSender<Piece>,
    hashed: JoinHandle<Digest>,
    layer: Option<LayerThreads>,
    /// Last, so that it is dropped, and removed, when nobody writes into it any more.
    folder: Folder,
}

/// Dropping it waits for the threads.
struct LayerThreads {
    compression: Compression,
    /// Gone once the threads have failed and take no more.
    input: Option<SyncSender<Piece>>,
    unpacked: Option<JoinHandle<Result<Unpacked>>>,
    /// Uncompressed digest and length; none where the blob itself is the tar.
    inflated: Option<JoinHandle<Result<(Digest, u64)>>>,
}

/// A blob that has arrived whole.
pub(crate) struct Ingested {
    pub(crate) folder: Folder,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    /// Why it is no layer, if it was taken for one and is none.
    pub(crate) layer: Option<Result<IngestedLayer>>,
}

/// A layer that has arrived and lies unpacked in [`Folder::diff`].
pub(crate) struct IngestedLayer {
    pub(crate) diff_id: Digest,
    pub(crate) tar_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) compression: Compression,
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
    pub(crate) fn diff(&self) -> PathBuf {
        self.path.join("diff")
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

impl Ingest {
    /// Begins a blob in a new directory under `parent`.
    pub(crate) fn begin(
        parent: &Path,
        purpose: Purpose,
        limits: &Limits,
        pool: &Pool,
    ) -> Result<Self> {
        let folder = Folder::create(parent)?;
        let path = folder.blob();
        let file = std::fs::File::create_new(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let (hash, pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let hashed = spawn("blob-hash", move || digest_of(&pieces))?;
        let layer = match purpose {
            Purpose::Blob => None,
            Purpose::Layer(compression) => {
                Some(LayerThreads::start(&folder, compression, *limits, pool)?)
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
    pub(crate) fn feed(&mut self, piece: Piece) -> Result<()> {
        self.size_bytes += piece.len() as u64;
        if let Some(layer) = &mut self.layer
            && let Some(input) = &layer.input
            && input.send(piece.clone()).is_err()
        {
            layer.input = None;
        }
        self.hash
            .send(piece.clone())
            .map_err(|_| Error::internal("the hashing thread has ended"))?;
        self.file
            .write_all(&piece)
            .with_context(|| format!("cannot write {}", self.folder.blob().display()))
    }

    /// Tells the threads that this was all; they go on while the caller begins the next blob.
    pub(crate) fn end(self) -> Ending {
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

/// A blob that has arrived but may still be unpacked.
pub(crate) struct Ending {
    size_bytes: u64,
    hashed: JoinHandle<Digest>,
    layer: Option<LayerThreads>,
    folder: Folder,
}

impl Ending {
    /// Waits for the threads.
    pub(crate) fn wait(self) -> Result<Ingested> {
        let digest = join(self.hashed)?;
        let layer = self.layer.map(|layer| layer.wait(&digest, self.size_bytes));
        Ok(Ingested {
            folder: self.folder,
            digest,
            size_bytes: self.size_bytes,
            layer,
        })
    }
}

impl LayerThreads {
    fn start(
        folder: &Folder,
        compression: Compression,
        limits: Limits,
        pool: &Pool,
    ) -> Result<Self> {
        let path = folder.diff();
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        set_root_mode(&path)?;
        let directory = gantry_sys::mount::open_path(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let (input, pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let mut reader = QueueReader::new(pieces);
        if compression == Compression::None {
            let unpacked = spawn("unpack", move || unpack(&mut reader, directory, &limits))?;
            return Ok(Self {
                compression,
                input: Some(input),
                unpacked: Some(unpacked),
                inflated: None,
            });
        }
        let (plain, plain_pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let (to_hash, hash_pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let mut plain_reader = QueueReader::new(plain_pieces);
        let unpacked = spawn("unpack", move || {
            unpack(&mut plain_reader, directory, &limits)
        })?;
        let hashed = spawn("diff-hash", move || digest_of(&hash_pieces))?;
        let pool = pool.clone();
        let inflated = spawn("inflate", move || {
            let length = inflate(reader, compression, &limits, &pool, &[&plain, &to_hash]);
            drop((plain, to_hash));
            let digest = join(hashed)?;
            Ok((digest, length?))
        })?;
        Ok(Self {
            compression,
            input: Some(input),
            unpacked: Some(unpacked),
            inflated: Some(inflated),
        })
    }

    fn wait(mut self, blob: &Digest, blob_bytes: u64) -> Result<IngestedLayer> {
        self.input = None;
        // The inflater's failure is the cause where both fail: the unpacker then only saw its input end.
        let inflated = self.inflated.take().map(join);
        let unpacked = join(
            self.unpacked
                .take()
                .expect("only dropping takes it besides"),
        )?;
        let (diff_id, tar_bytes) = match (inflated, &unpacked) {
            (None, _) => (blob.clone(), blob_bytes),
            (Some(Err(error)), _) => return Err(error),
            (Some(Ok(Err(error))), Ok(_)) => return Err(error),
            (Some(Ok(Err(error))), Err(_)) if error.message() != STOPPED => return Err(error),
            (Some(Ok(inflated)), _) => inflated.unwrap_or_else(|_| (blob.clone(), 0)),
        };
        let size_bytes = unpacked?.size_bytes;
        Ok(IngestedLayer {
            diff_id,
            tar_bytes,
            size_bytes,
            compression: self.compression,
        })
    }
}

impl Drop for LayerThreads {
    fn drop(&mut self) {
        self.input = None;
        // Their outcome is of no use to anybody now.
        self.unpacked.take().map(JoinHandle::join);
        self.inflated.take().map(JoinHandle::join);
    }
}

/// A layer's root is 0755 whatever the daemon's file mode mask says.
fn set_root_mode(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode)
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

const STOPPED: &str = "unpacking has stopped";

fn inflate(
    reader: QueueReader,
    compression: Compression,
    limits: &Limits,
    pool: &Pool,
    outputs: &[&SyncSender<Piece>],
) -> Result<u64> {
    let arrived = reader.count();
    let mut decoder = decoder(reader, compression)?;
    let mut length = 0u64;
    loop {
        let piece = pool
            .read_from(&mut decoder)
            .with_context(|| format!("cannot decompress {compression} data"))?;
        if piece.is_empty() {
            return Ok(length);
        }
        length += piece.len() as u64;
        limits.check_inflated(length, arrived.load(Ordering::Relaxed))?;
        for output in outputs {
            output
                .send(piece.clone())
                .map_err(|_| Error::internal(STOPPED))?;
        }
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
