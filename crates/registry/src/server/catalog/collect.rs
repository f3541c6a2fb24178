//! Which rows nothing keeps any more.
//!
//! A link stays while a manifest of its repository names the blob, or while its lease runs; a blob stays while a link or a
//! manifest has it. Transactions follow each other, so a client that was told of a blob has at least its lease to use it.

use super::Catalog;
use crate::server::name::UploadId;
use gantry_base::Result;
use gantry_oci::ContentDigest;
use gantry_state::rusqlite::{Transaction, params};
use gantry_state::{Durability, sql_error};

/// What is old enough to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GarbageAge {
    /// Leases that began before this have ended.
    pub(crate) leased_before_s: i64,
    /// Which manifests go too.
    pub(crate) manifests: GarbageManifests,
}

/// Which manifests are garbage when their lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GarbageManifests {
    /// None: they stay until they are deleted.
    None,
    /// Those without a tag that nothing else keeps.
    Untagged,
    /// All: they can be had again.
    Unused,
}

/// Blobs that one transaction lets go of, so that others get their turn.
const BLOBS_A_TURN: i64 = 256;

impl Catalog {
    /// Removes links and manifests that nothing keeps; gives their number.
    pub(crate) fn collect_links(&self, age: GarbageAge) -> Result<usize> {
        self.db.write(Durability::Normal, move |tx| {
            let manifests = match age.manifests {
                GarbageManifests::None => 0,
                GarbageManifests::Untagged => collect_untagged(tx, age.leased_before_s)?,
                GarbageManifests::Unused => tx
                    .execute(
                        "DELETE FROM manifest WHERE leased_s < ?1",
                        [age.leased_before_s],
                    )
                    .map_err(sql_error)?,
            };
            let links = tx
                .execute(
                    "DELETE FROM link WHERE leased_s < ?1 AND NOT EXISTS (SELECT 1 FROM reference
                     WHERE reference.repository = link.repository AND reference.target = link.digest)",
                    [age.leased_before_s],
                )
                .map_err(sql_error)?;
            tx.execute(
                "DELETE FROM repository WHERE NOT EXISTS (SELECT 1 FROM link WHERE link.repository = repository.id)
                 AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.repository = repository.id)",
                [],
            )
            .map_err(sql_error)?;
            Ok(manifests + links)
        })
    }

    /// Forgets some blobs that no repository has; their files may go then. Empty when there are no more.
    pub(crate) fn collect_blobs(&self) -> Result<Vec<ContentDigest>> {
        let removed: Vec<String> = self.db.write(Durability::Full, |tx| {
            let mut statement = tx
                .prepare_cached(
                    "DELETE FROM blob WHERE digest IN (SELECT digest FROM blob
                     WHERE NOT EXISTS (SELECT 1 FROM link WHERE link.digest = blob.digest)
                     AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = blob.digest) LIMIT ?1)
                     RETURNING digest",
                )
                .map_err(sql_error)?;
            let rows = statement
                .query_map([BLOBS_A_TURN], |row| row.get(0))
                .map_err(sql_error)?;
            rows.collect::<Result<_, _>>().map_err(sql_error)
        })?;
        removed
            .iter()
            .map(|text| ContentDigest::parse(text))
            .collect()
    }

    /// All blobs that count.
    pub(crate) fn blobs(&self) -> Result<std::collections::HashSet<ContentDigest>> {
        let digests: Vec<String> = self.strings("SELECT digest FROM blob")?;
        digests
            .iter()
            .map(|text| ContentDigest::parse(text))
            .collect()
    }

    /// All uploads in progress.
    pub(crate) fn uploads(&self) -> Result<Vec<UploadId>> {
        let ids = self.strings("SELECT id FROM upload")?;
        Ok(ids.iter().filter_map(|id| UploadId::parse(id)).collect())
    }

    fn strings(&self, query: &str) -> Result<Vec<String>> {
        self.db.read(|connection| {
            let mut statement = connection.prepare(query).map_err(sql_error)?;
            let rows = statement
                .query_map([], |row| row.get(0))
                .map_err(sql_error)?;
            rows.collect::<Result<_, _>>().map_err(sql_error)
        })
    }
}

/// Manifests that no tag and no index has, and that are not about a manifest that is there. What an index let go of goes next.
fn collect_untagged(tx: &Transaction<'_>, leased_before_s: i64) -> Result<usize> {
    let mut all = 0;
    loop {
        let removed = tx
            .execute(
                "DELETE FROM manifest WHERE leased_s < ?1
                 AND NOT EXISTS (SELECT 1 FROM tag
                   WHERE tag.repository = manifest.repository AND tag.digest = manifest.digest)
                 AND NOT EXISTS (SELECT 1 FROM reference
                   WHERE reference.repository = manifest.repository AND reference.target = manifest.digest)
                 AND NOT EXISTS (SELECT 1 FROM manifest AS about
                   WHERE about.repository = manifest.repository AND about.digest = manifest.subject)",
                params![leased_before_s],
            )
            .map_err(sql_error)?;
        if removed == 0 {
            return Ok(all);
        }
        all += removed;
    }
}
