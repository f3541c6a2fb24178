//! A layer on its way in: inflated, hashed and unpacked on threads, while its blob still arrives.

use super::{
    Compression, Folder, Piece, Pool, QUEUE_LENGTH, QueueReader, decoder, digest_of, join, spawn,
};
use crate::Limits;
use crate::erofs::{self, Outcome, TAR_OFFSET};
use crate::source::BlobReader;
use crate::store::LayerKind;
use crate::unpack::unpack;
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// A layer that has arrived and lies unpacked in its folder.
pub struct IngestedLayer {
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// Length of the plain tar.
    pub tar_bytes: u64,
    /// Apparent sizes of all files but directories.
    pub size_bytes: u64,
    /// How the blob is compressed.
    pub compression: Compression,
    pub(crate) kind: LayerKind,
    /// Whether the blob was stored beside the layer.
    pub(crate) is_blob_kept: bool,
}

/// What a layer is made of, and how.
pub(super) struct Recipe<'a> {
    pub(super) folder: &'a Folder,
    pub(super) compression: Compression,
    pub(super) kind: LayerKind,
    pub(super) is_blob_kept: bool,
    pub(super) limits: Limits,
    pub(super) pool: &'a Pool,
}

/// Dropping it waits for the threads.
pub(super) struct LayerThreads {
    compression: Compression,
    is_blob_kept: bool,
    /// Gone once the threads have failed and take no more.
    pub(super) input: Option<SyncSender<Piece>>,
    unpacked: Option<JoinHandle<Result<IngestedLayer>>>,
    /// None where the blob itself is the tar.
    inflated: Option<JoinHandle<Result<()>>>,
}

impl LayerThreads {
    /// `blob_digest` comes when the whole blob was hashed; a plain tar's diff id is that.
    pub(super) fn start(recipe: &Recipe<'_>, blob_digest: Receiver<Digest>) -> Result<Self> {
        let target = Target::create(recipe)?;
        let (input, pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let reader = QueueReader::new(pieces);
        let mut threads = Self {
            compression: recipe.compression,
            is_blob_kept: recipe.is_blob_kept,
            input: Some(input),
            unpacked: None,
            inflated: None,
        };
        if recipe.compression == Compression::None {
            let unpacked = spawn("unpack", move || target.fill(reader, &blob_digest))?;
            threads.unpacked = Some(unpacked);
            return Ok(threads);
        }
        let (plain, plain_pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let (to_hash, hash_pieces) = sync_channel::<Piece>(QUEUE_LENGTH);
        let (digest, diff_id) = sync_channel(1);
        let plain_reader = QueueReader::new(plain_pieces);
        threads.unpacked = Some(spawn("unpack", move || {
            target.fill(plain_reader, &diff_id)
        })?);
        spawn("diff-hash", move || {
            // Nobody waits for it if unpacking has failed.
            let _ = digest.send(digest_of(&hash_pieces));
        })?;
        let (pool, limits) = (recipe.pool.clone(), recipe.limits);
        let compression = recipe.compression;
        threads.inflated = Some(spawn("inflate", move || {
            inflate(reader, compression, &limits, &pool, &[&plain, &to_hash])
        })?);
        Ok(threads)
    }

    pub(super) fn wait(mut self) -> Result<IngestedLayer> {
        self.input = None;
        let inflated = self.inflated.take().map_or(Ok(Ok(())), join)?;
        let unpacked = self
            .unpacked
            .take()
            .expect("only dropping takes it besides");
        let unpacked = join(unpacked)?;
        // The inflater's failure is the cause where both fail: the unpacker then only saw its input end.
        match (inflated, &unpacked) {
            (Err(error), Err(_)) if error.message() == STOPPED => {}
            (Err(error), _) => return Err(error),
            (Ok(()), _) => {}
        }
        let mut layer = unpacked?;
        if !layer.is_blob_kept {
            layer.is_blob_kept = self.is_blob_kept;
            layer.compression = self.compression;
        }
        Ok(layer)
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

/// Where a layer's tar goes.
struct Target {
    kind: LayerKind,
    tree: PathBuf,
    file: PathBuf,
    blob: PathBuf,
    is_blob_kept: bool,
    limits: Limits,
}

impl Target {
    fn create(recipe: &Recipe<'_>) -> Result<Self> {
        let target = Self {
            kind: recipe.kind,
            tree: recipe.folder.content(LayerKind::Dir),
            file: recipe.folder.content(LayerKind::Erofs),
            blob: recipe.folder.blob(),
            is_blob_kept: recipe.is_blob_kept,
            limits: recipe.limits,
        };
        if target.kind == LayerKind::Dir {
            create_tree(&target.tree)?;
        }
        Ok(target)
    }

    /// Reads the plain tar to its end; its digest comes then.
    fn fill(self, mut tar: QueueReader, diff_id: &Receiver<Digest>) -> Result<IngestedLayer> {
        let counted = tar.count();
        let digest = || {
            diff_id
                .recv()
                .map_err(|_| Error::internal("the hashing thread has ended"))
        };
        let layer = |kind, diff_id, tar_bytes, size_bytes| IngestedLayer {
            diff_id,
            tar_bytes,
            size_bytes,
            kind,
            compression: Compression::None,
            is_blob_kept: false,
        };
        if self.kind == LayerKind::Dir {
            let unpacked = unpack(&mut tar, open_tree(&self.tree)?, &self.limits)?;
            drop(tar);
            let tar_bytes = counted.load(Ordering::Relaxed);
            return Ok(layer(self.kind, digest()?, tar_bytes, unpacked.size_bytes));
        }
        let create = || format!("cannot create {}", self.file.display());
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let file = options.open(&self.file).with_context(create)?;
        let outcome = erofs::write(&mut tar, &file, &self.limits)?;
        drop(tar);
        let diff_id = digest()?;
        match outcome {
            Outcome::Written(written) => {
                written.seal(&file, &diff_id)?;
                file.sync_data().with_context(create)?;
                let (tar_bytes, size_bytes) = (written.tar_bytes, written.size_bytes);
                Ok(layer(self.kind, diff_id, tar_bytes, size_bytes))
            }
            Outcome::TooLarge { tar_bytes } => {
                create_tree(&self.tree)?;
                let tar = BlobReader::of(file, TAR_OFFSET, tar_bytes);
                let reader = BufReader::with_capacity(super::PIECE_BYTES, tar);
                let unpacked = unpack(reader, open_tree(&self.tree)?, &self.limits)?;
                let is_blob_kept = !self.is_blob_kept;
                if is_blob_kept {
                    self.keep_tar(tar_bytes)?;
                }
                Ok(IngestedLayer {
                    is_blob_kept,
                    ..layer(LayerKind::Dir, diff_id, tar_bytes, unpacked.size_bytes)
                })
            }
        }
    }

    /// A directory cannot give the tar back, so it needs a blob.
    fn keep_tar(&self, tar_bytes: u64) -> Result<()> {
        let copy = || -> std::io::Result<()> {
            let mut tar = BlobReader::of(File::open(&self.file)?, TAR_OFFSET, tar_bytes);
            std::io::copy(&mut tar, &mut File::create(&self.blob)?)?;
            std::fs::remove_file(&self.file)
        };
        copy().with_context(|| format!("cannot write {}", self.blob.display()))
    }
}

/// A layer's root is 0755 whatever the daemon's file mode mask says.
fn create_tree(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::create_dir(path)
        .and_then(|()| std::fs::set_permissions(path, mode))
        .with_context(|| format!("cannot create {}", path.display()))
}

fn open_tree(path: &Path) -> Result<std::os::fd::OwnedFd> {
    gantry_sys::mount::open_path(path).with_context(|| format!("cannot open {}", path.display()))
}

const STOPPED: &str = "unpacking has stopped";

fn inflate(
    reader: QueueReader,
    compression: Compression,
    limits: &Limits,
    pool: &Pool,
    outputs: &[&SyncSender<Piece>],
) -> Result<()> {
    let arrived = reader.count();
    let mut decoder = decoder(reader, compression)?;
    let mut length = 0u64;
    loop {
        let piece = pool
            .read_from(&mut decoder)
            .with_context(|| format!("cannot decompress {compression} data"))?;
        if piece.is_empty() {
            return Ok(());
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
