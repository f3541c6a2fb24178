//! Letting go of layers and blobs that nothing refers to.
//!
//! What an unfinished load relies on has no row that says so. Therefore nothing is collected while a [`Lease`] is held;
//! the last one to go collects.

use super::{Images, Shared};
use gantry_base::Result;
use gantry_oci::Digest;
use gantry_state::{Durability, rusqlite::Transaction, sql_error};

/// How many leases are held, and whether something waits for the last of them.
#[derive(Default)]
pub(super) struct Leases {
    held: usize,
    is_due: bool,
}

/// Keeps all layers and blobs while it lives.
pub(crate) struct Lease {
    images: Images,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.images.shared.leases();
        leases.held -= 1;
        if leases.held == 0 && leases.is_due {
            leases.is_due = false;
            // What stays after a failure is swept when the store is opened next, or by the next collection.
            drop(self.images.shared.collect_now());
        }
    }
}

impl Images {
    pub(crate) fn lease(&self) -> Lease {
        self.shared.leases().held += 1;
        Lease {
            images: self.clone(),
        }
    }
}

impl Shared {
    fn leases(&self) -> std::sync::MutexGuard<'_, Leases> {
        self.leases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Removes unreferenced layers and blobs, now or when the last lease ends.
    pub(crate) fn collect(&self) -> Result<()> {
        // Held to the end, so that no lease begins meanwhile.
        let mut leases = self.leases();
        if leases.held > 0 {
            leases.is_due = true;
            return Ok(());
        }
        self.collect_now()
    }

    fn collect_now(&self) -> Result<()> {
        let (layers, blobs) = self.db.write(Durability::Normal, orphans)?;
        for layer in layers {
            self.discard(&self.layer(layer))?;
        }
        for blob in blobs {
            self.discard(&self.blob(&blob))?;
        }
        Ok(())
    }
}

/// Deletes chains that no image and no snapshot has; gives their ids.
pub(crate) fn delete_orphaned_chains(tx: &Transaction<'_>) -> Result<Vec<Digest>> {
    let mut statement = tx
        .prepare_cached(
            "DELETE FROM chain WHERE NOT EXISTS (SELECT 1 FROM image WHERE image.chain = chain.id)
             AND NOT EXISTS (SELECT 1 FROM snapshot WHERE snapshot.chain = chain.id) RETURNING id",
        )
        .map_err(sql_error)?;
    let ids = statement
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(sql_error)?;
    ids.map(|id| Digest::parse(&id.map_err(sql_error)?))
        .collect()
}

fn orphans(tx: &Transaction<'_>) -> Result<(Vec<i64>, Vec<Digest>)> {
    delete_orphaned_chains(tx)?;
    let mut statement = tx
        .prepare_cached(
            "DELETE FROM layer WHERE NOT EXISTS (SELECT 1 FROM chain_layer WHERE chain_layer.layer = layer.id)
             RETURNING id, blob",
        )
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .map_err(sql_error)?;
    let (mut layers, mut candidates) = (Vec::new(), Vec::new());
    for row in rows {
        let (layer, blob) = row.map_err(sql_error)?;
        layers.push(layer);
        candidates.push(blob);
    }
    let mut statement = tx
        .prepare_cached("SELECT digest FROM released_blob")
        .map_err(sql_error)?;
    let released = statement
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(sql_error)?;
    for digest in released {
        candidates.push(digest.map_err(sql_error)?);
    }
    tx.execute("DELETE FROM released_blob", [])
        .map_err(sql_error)?;
    let mut blobs = Vec::new();
    for digest in candidates {
        let is_used: bool = tx
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM layer WHERE blob = ?1) OR EXISTS (SELECT 1 FROM image_blob WHERE digest = ?1)",
                [&digest],
                |row| row.get(0),
            )
            .map_err(sql_error)?;
        if !is_used {
            blobs.push(Digest::parse(&digest)?);
        }
    }
    Ok((layers, blobs))
}
