//! The plain tar of a layer, byte for byte as it was loaded, from the blob it came in.

use crate::Images;
use crate::ingest::{Compression, PIECE_BYTES, Piece, decoder, spawn_scoped};
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use gantry_state::sql_error;
use sha2::Digest as _;
use std::fs::File;
use std::io::BufReader;
use std::sync::mpsc::sync_channel;

/// A layer as the database knows it.
pub(super) struct StoredLayer {
    pub(super) diff_id: Digest,
    pub(super) tar_bytes: u64,
    blob: Digest,
    compression: Compression,
}

impl Images {
    /// The layers with these digests, in their order.
    pub(super) fn stored_layers(&self, diff_ids: &[Digest]) -> Result<Vec<StoredLayer>> {
        diff_ids
            .iter()
            .map(|diff_id| self.stored_layer(diff_id))
            .collect()
    }

    fn stored_layer(&self, diff_id: &Digest) -> Result<StoredLayer> {
        let found = self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT tar_bytes, blob, compression FROM layer WHERE diff_id = ?1")
                .map_err(sql_error)?;
            let columns = |row: &rusqlite::Row<'_>| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                ))
            };
            statement
                .query_row([diff_id.as_str()], columns)
                .map_err(sql_error)
        });
        let (tar_bytes, blob, compression) =
            found.with_context(|| format!("layer {diff_id} is missing"))?;
        Ok(StoredLayer {
            diff_id: diff_id.clone(),
            tar_bytes: tar_bytes.unsigned_abs(),
            blob: Digest::parse(&blob)?,
            compression: Compression::parse(&compression)?,
        })
    }

    /// Gives the layer's bytes to `write`, piece by piece, inflated and hashed on threads beside it.
    ///
    /// # Errors
    /// What `write` met, or at the end that the bytes are not those of `diff_id`.
    pub(super) fn copy_layer(
        &self,
        diff_id: &Digest,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let layer = self.stored_layer(diff_id)?;
        let path = self.shared.blob(&layer.blob);
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let pool = &self.shared.pool;
        let damaged = || format!("the stored layer {} is damaged", path.display());
        std::thread::scope(|scope| {
            let (to_write, pieces) = sync_channel::<Piece>(8);
            let (to_hash, hash_pieces) = sync_channel::<Piece>(8);
            let reader = spawn_scoped(scope, "inflate", move || -> Result<()> {
                let input = BufReader::with_capacity(PIECE_BYTES, file);
                let mut decoder = decoder(input, layer.compression)?;
                loop {
                    let piece = pool.read_from(&mut decoder)?;
                    if piece.is_empty()
                        || to_write.send(piece.clone()).is_err()
                        || to_hash.send(piece).is_err()
                    {
                        return Ok(());
                    }
                }
            })?;
            let hasher = spawn_scoped(scope, "diff-hash", move || {
                let mut hash = sha2::Sha256::new();
                for piece in hash_pieces {
                    hash.update(&*piece);
                }
                Digest::from_sha256(&hash.finalize().into())
            })?;
            let written = pieces.iter().try_for_each(|piece| write(&piece));
            drop(pieces);
            let panicked = |_| Error::internal("a thread of save has panicked");
            reader.join().map_err(panicked)?.with_context(damaged)?;
            let found = hasher.join().map_err(panicked)?;
            written?;
            if found == *diff_id {
                Ok(())
            } else {
                Err(Error::internal(damaged()))
            }
        })
    }
}
