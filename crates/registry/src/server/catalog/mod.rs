//! What each repository holds: links to blobs, manifests, tags, uploads. Rows only; content is in files.
//!
//! A row is written after the file that it speaks of is durable, and goes before the file does.

mod collect;
mod listing;
mod manifest;

pub(crate) use collect::{GarbageAge, GarbageManifests};
pub(crate) use listing::Referrer;
pub(crate) use manifest::{NewManifest, StoredManifest};

use super::name::{RepositoryName, UploadId};
use gantry_base::{Error, Result};
use gantry_oci::ContentDigest;
use gantry_state::rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use gantry_state::{Database, Durability, sql_error};
use std::path::Path;

/// Every migration ever released, in order. Append only: a released file never changes.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/0001_catalog.sql")];

/// A lease is written again only when it is older than this, so that reading does not write.
const LEASE_RENEWAL_S: i64 = 60;

/// The rows of one registry. Blocks; never call it on an async worker.
#[derive(Clone)]
pub(crate) struct Catalog {
    db: Database,
}

impl Catalog {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            db: Database::open_with(path, MIGRATIONS)?,
        })
    }

    /// Whether rows can be read, for a health check.
    pub(crate) fn probe(&self) -> Result<()> {
        self.db.read(|connection| {
            connection
                .query_row("SELECT 1", [], |_| Ok(()))
                .map_err(sql_error)
        })
    }

    /// The size of a blob that the repository may serve. Whoever asks relies on it, so its lease begins anew.
    pub(crate) fn blob(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
        now_s: i64,
    ) -> Result<Option<u64>> {
        let found = self.db.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT blob.size_bytes, link.leased_s FROM link
                     JOIN repository ON repository.id = link.repository
                     JOIN blob ON blob.digest = link.digest
                     WHERE repository.name = ?1 AND link.digest = ?2",
                )
                .map_err(sql_error)?;
            statement
                .query_row([repository.as_str(), digest.as_str()], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                })
                .optional()
                .map_err(sql_error)
        })?;
        let Some((size_bytes, leased_s)) = found else {
            return Ok(None);
        };
        if now_s - leased_s < LEASE_RENEWAL_S {
            return Ok(Some(size(size_bytes)?));
        }
        let (repository, digest) = (repository.clone(), digest.clone());
        let renewed = self.db.write(Durability::Normal, move |tx| {
            tx.execute(
                "UPDATE link SET leased_s = ?3 WHERE digest = ?2
                 AND repository = (SELECT id FROM repository WHERE name = ?1)",
                params![repository.as_str(), digest.as_str(), now_s],
            )
            .map_err(sql_error)
        })?;
        // It may have been collected between the two.
        if renewed == 0 {
            return Ok(None);
        }
        size(size_bytes).map(Some)
    }

    /// Records content that is on the disk, and lets the repository serve it.
    pub(crate) fn link_blob(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
        size_bytes: u64,
        now_s: i64,
    ) -> Result<()> {
        let (repository, digest) = (repository.clone(), digest.clone());
        let size_bytes = number(size_bytes)?;
        self.db.write(Durability::Full, move |tx| {
            insert_blob(tx, &digest, size_bytes)?;
            let repository = ensure_repository(tx, &repository)?;
            insert_link(tx, repository, &digest, now_s)
        })
    }

    /// Lets `target` serve a blob that `source`, or without it any repository, serves already. `false` if none does.
    pub(crate) fn mount_blob(
        &self,
        target: &RepositoryName,
        source: Option<&RepositoryName>,
        digest: &ContentDigest,
        now_s: i64,
    ) -> Result<bool> {
        let (target, source, digest) = (target.clone(), source.cloned(), digest.clone());
        self.db.write(Durability::Full, move |tx| {
            let is_there: bool = match &source {
                Some(source) => tx.query_row(
                    "SELECT EXISTS (SELECT 1 FROM link JOIN repository ON repository.id = link.repository
                     WHERE repository.name = ?1 AND link.digest = ?2)",
                    [source.as_str(), digest.as_str()],
                    |row| row.get(0),
                ),
                None => tx.query_row(
                    "SELECT EXISTS (SELECT 1 FROM link WHERE digest = ?1)",
                    [digest.as_str()],
                    |row| row.get(0),
                ),
            }
            .map_err(sql_error)?;
            if is_there {
                let target = ensure_repository(tx, &target)?;
                insert_link(tx, target, &digest, now_s)?;
            }
            Ok(is_there)
        })
    }

    /// Takes a blob from the repository; `false` if it has none such.
    pub(crate) fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<bool> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.db.write(Durability::Full, move |tx| {
            let removed = tx
                .execute(
                    "DELETE FROM link WHERE digest = ?2
                     AND repository = (SELECT id FROM repository WHERE name = ?1)",
                    [repository.as_str(), digest.as_str()],
                )
                .map_err(sql_error)?;
            Ok(removed > 0)
        })
    }

    pub(crate) fn begin_upload(&self, id: &UploadId, repository: &RepositoryName) -> Result<()> {
        let (id, repository) = (id.clone(), repository.clone());
        // After a power cut a client begins again.
        self.db.write(Durability::Normal, move |tx| {
            tx.execute(
                "INSERT INTO upload (id, repository) VALUES (?1, ?2)",
                [id.as_str(), repository.as_str()],
            )
            .map_err(sql_error)
            .map(|_| ())
        })
    }

    pub(crate) fn end_upload(&self, id: &UploadId) -> Result<()> {
        let id = id.clone();
        self.db.write(Durability::Normal, move |tx| {
            tx.execute("DELETE FROM upload WHERE id = ?1", [id.as_str()])
                .map_err(sql_error)
                .map(|_| ())
        })
    }

    /// Whether the upload is one of this repository.
    pub(crate) fn upload_is_known(
        &self,
        id: &UploadId,
        repository: &RepositoryName,
    ) -> Result<bool> {
        self.db.read(|connection| {
            connection
                .query_row(
                    "SELECT EXISTS (SELECT 1 FROM upload WHERE id = ?1 AND repository = ?2)",
                    [id.as_str(), repository.as_str()],
                    |row| row.get(0),
                )
                .map_err(sql_error)
        })
    }
}

fn insert_blob(tx: &Transaction<'_>, digest: &ContentDigest, size_bytes: i64) -> Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO blob (digest, size_bytes) VALUES (?1, ?2)",
        params![digest.as_str(), size_bytes],
    )
    .map_err(sql_error)
    .map(|_| ())
}

fn insert_link(
    tx: &Transaction<'_>,
    repository: i64,
    digest: &ContentDigest,
    now_s: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO link (repository, digest, leased_s) VALUES (?1, ?2, ?3)
         ON CONFLICT (repository, digest) DO UPDATE SET leased_s = excluded.leased_s",
        params![repository, digest.as_str(), now_s],
    )
    .map_err(sql_error)
    .map(|_| ())
}

fn ensure_repository(tx: &Transaction<'_>, name: &RepositoryName) -> Result<i64> {
    tx.execute(
        "INSERT OR IGNORE INTO repository (name) VALUES (?1)",
        [name.as_str()],
    )
    .map_err(sql_error)?;
    repository_id(tx, name)?.ok_or_else(|| Error::internal("a row just written is not there"))
}

fn repository_id(connection: &Connection, name: &RepositoryName) -> Result<Option<i64>> {
    let mut statement = connection
        .prepare_cached("SELECT id FROM repository WHERE name = ?1")
        .map_err(sql_error)?;
    statement
        .query_row([name.as_str()], |row| row.get(0))
        .optional()
        .map_err(sql_error)
}

fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::invalid("a size is out of range"))
}

fn size(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::internal("a recorded size is negative"))
}
