//! A layer on its way in: inflated, hashed and unpacked on threads, while its blob still arrives.

use super::{
    Compression, Folder, Piece, Pool, QUEUE_LENGTH, QueueReader, decoder, digest_of, join, spawn,
};
use crate::Limits;
use crate::store::LayerKind;
use crate::unpack::{Unpacked, unpack};
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
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

/// Dropping it waits for the threads.
pub(super) struct LayerThreads {
    compression: Compression,
    /// Gone once the threads have failed and take no more.
    pub(super) input: Option<SyncSender<Piece>>,
    unpacked: Option<JoinHandle<Result<Unpacked>>>,
    /// Uncompressed digest and length; none where the blob itself is the tar.
    inflated: Option<JoinHandle<Result<(Digest, u64)>>>,
}

impl LayerThreads {
    pub(super) fn start(
        folder: &Folder,
        compression: Compression,
        limits: Limits,
        pool: &Pool,
    ) -> Result<Self> {
        let path = folder.content(LayerKind::Dir);
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

    pub(super) fn wait(mut self, blob: &Digest, blob_bytes: u64) -> Result<IngestedLayer> {
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
            kind: LayerKind::Dir,
            is_blob_kept: true,
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
