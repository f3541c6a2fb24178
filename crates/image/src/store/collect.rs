//! Letting go of layers and blobs that nothing refers to.
//!
//! Images and snapshots refer to chains, chains to layers, layers and images to blobs. What a lease holds stays, and is
//! looked at again when that lease ends.

use super::Shared;
use super::lease::Held;
use gantry_base::Result;
use gantry_oci::Digest;
use gantry_state::{Durability, rusqlite::Transaction, sql_error};
use std::collections::HashSet;

/// What a collection has taken out of the tables.
#[derive(Default)]
struct Orphans {
    layers: Vec<(i64, Digest)>,
    blobs: Vec<Digest>,
    /// Whether something stayed only because it is held.
    is_due: bool,
}

impl Shared {
    /// Removes unreferenced layers and blobs that no lease holds.
    pub(crate) fn collect(&self) -> Result<()> {
        // Locked to the end, so that no lease gets what is about to go.
        self.collect_held(&mut self.held())
    }

    pub(super) fn collect_held(&self, held: &mut Held) -> Result<()> {
        let kept = held.digests();
        let orphans = self
            .db
            .write(Durability::Normal, move |tx| orphans(tx, &kept))?;
        held.is_due = orphans.is_due;
        for (layer, diff_id) in orphans.layers {
            self.mounts.forget(&diff_id);
            self.discard(&self.layer(layer))?;
        }
        for blob in orphans.blobs {
            self.discard(&self.blobs.path(&blob))?;
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

fn orphans(tx: &Transaction<'_>, kept: &HashSet<Digest>) -> Result<Orphans> {
    delete_orphaned_chains(tx)?;
    let mut orphans = Orphans::default();
    for (layer, diff_id) in unused_layers(tx)? {
        if kept.contains(&diff_id) {
            orphans.is_due = true;
            continue;
        }
        // Its blobs follow, and are thereby released.
        tx.execute("DELETE FROM layer WHERE id = ?1", [layer])
            .map_err(sql_error)?;
        orphans.layers.push((layer, diff_id));
    }
    for digest in released_blobs(tx)? {
        let is_used: bool = tx
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM layer_blob WHERE digest = ?1) OR EXISTS (SELECT 1 FROM image_blob WHERE digest = ?1)",
                [digest.as_str()],
                |row| row.get(0),
            )
            .map_err(sql_error)?;
        if !is_used && kept.contains(&digest) {
            orphans.is_due = true;
            continue;
        }
        tx.execute(
            "DELETE FROM released_blob WHERE digest = ?1",
            [digest.as_str()],
        )
        .map_err(sql_error)?;
        if !is_used {
            orphans.blobs.push(digest);
        }
    }
    Ok(orphans)
}

fn unused_layers(tx: &Transaction<'_>) -> Result<Vec<(i64, Digest)>> {
    let mut statement = tx
        .prepare_cached(
            "SELECT id, diff_id FROM layer WHERE NOT EXISTS (SELECT 1 FROM chain_layer WHERE chain_layer.layer = layer.id)",
        )
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .map_err(sql_error)?;
    rows.map(|row| {
        let (layer, diff_id) = row.map_err(sql_error)?;
        Ok((layer, Digest::parse(&diff_id)?))
    })
    .collect()
}

fn released_blobs(tx: &Transaction<'_>) -> Result<Vec<Digest>> {
    let mut statement = tx
        .prepare_cached("SELECT digest FROM released_blob")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| row.get::<_, String>(0))
        .map_err(sql_error)?;
    rows.map(|digest| Digest::parse(&digest.map_err(sql_error)?))
        .collect()
}
