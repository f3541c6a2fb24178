//! The plain tar of a layer, or a blob, byte for byte as it came.

use crate::Images;
use crate::ingest::{Piece, spawn_scoped};
use crate::source::StoredLayer;
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use sha2::Digest as _;
use std::io::Read;
use std::sync::mpsc::sync_channel;

impl Images {
    /// The layers with these digests, in their order.
    pub(super) fn stored_layers(&self, diff_ids: &[Digest]) -> Result<Vec<StoredLayer>> {
        diff_ids
            .iter()
            .map(|diff_id| {
                self.stored_layer(diff_id)?
                    .ok_or_else(|| Error::internal(format!("layer {diff_id} is missing")))
            })
            .collect()
    }

    /// Gives the layer's bytes to `write`, piece by piece, inflated and hashed on threads beside it.
    ///
    /// # Errors
    /// What `write` met, or at the end that the bytes are not those of `diff_id`.
    pub(super) fn copy_layer(
        &self,
        diff_id: &Digest,
        write: impl FnMut(&Piece) -> Result<()>,
    ) -> Result<()> {
        self.copy(diff_id, self.layer_tar(diff_id)?, write)
    }

    /// As [`Images::copy_layer`], for a blob as it came.
    ///
    /// # Errors
    /// Likewise.
    pub(super) fn copy_blob(
        &self,
        digest: &Digest,
        write: impl FnMut(&Piece) -> Result<()>,
    ) -> Result<()> {
        let missing = || Error::internal(format!("blob {digest} is missing"));
        let blob = self.open_blob(digest)?.ok_or_else(missing)?;
        self.copy(digest, Box::new(blob), write)
    }

    fn copy(
        &self,
        digest: &Digest,
        mut bytes: Box<dyn Read + Send>,
        mut write: impl FnMut(&Piece) -> Result<()>,
    ) -> Result<()> {
        let pool = &self.shared.pool;
        let damaged = || format!("the stored layer {digest} is damaged");
        std::thread::scope(|scope| {
            let (to_write, pieces) = sync_channel::<Piece>(8);
            let (to_hash, hash_pieces) = sync_channel::<Piece>(8);
            let reader = spawn_scoped(scope, "inflate", move || -> Result<()> {
                loop {
                    let piece = pool.read_from(&mut bytes)?;
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
            if found == *digest {
                Ok(())
            } else {
                Err(Error::internal(damaged()))
            }
        })
    }
}
