//! Manifests and tags of a repository.

use super::{Catalog, ensure_repository, insert_blob, number, repository_id, size};
use crate::server::name::{ManifestName, RepositoryName};
use gantry_base::Result;
use gantry_oci::ContentDigest;
use gantry_state::rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use gantry_state::{Durability, sql_error};

/// A manifest whose bytes are on the disk, to be recorded.
#[derive(Clone)]
pub(crate) struct NewManifest {
    pub(crate) digest: ContentDigest,
    pub(crate) size_bytes: u64,
    pub(crate) media_type: String,
    pub(crate) subject: Option<ContentDigest>,
    pub(crate) artifact_type: Option<String>,
    /// As JSON.
    pub(crate) annotations: Option<String>,
    /// Blobs that must be in the repository, with the sizes that the manifest claims.
    pub(crate) blobs: Vec<(ContentDigest, u64)>,
    /// Manifests that must be there, likewise.
    pub(crate) manifests: Vec<(ContentDigest, u64)>,
    /// What may be there: it is kept if it is.
    pub(crate) optional: Vec<ContentDigest>,
    pub(crate) tags: Vec<String>,
}

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredManifest {
    pub(crate) digest: ContentDigest,
    pub(crate) media_type: String,
    pub(crate) size_bytes: u64,
}

/// What keeps a manifest from being recorded.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    /// Named, but not in the repository.
    pub(crate) unknown: Vec<ContentDigest>,
    /// There, but of another size than claimed.
    pub(crate) of_other_size: Vec<ContentDigest>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.of_other_size.is_empty()
    }
}

impl Catalog {
    pub(crate) fn manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<Option<StoredManifest>> {
        let (query, key) = match name {
            ManifestName::Digest(digest) => (
                "SELECT manifest.digest, manifest.media_type, blob.size_bytes FROM manifest
                 JOIN repository ON repository.id = manifest.repository
                 JOIN blob ON blob.digest = manifest.digest
                 WHERE repository.name = ?1 AND manifest.digest = ?2",
                digest.as_str(),
            ),
            ManifestName::Tag(tag) => (
                "SELECT manifest.digest, manifest.media_type, blob.size_bytes FROM tag
                 JOIN repository ON repository.id = tag.repository
                 JOIN manifest ON manifest.repository = tag.repository AND manifest.digest = tag.digest
                 JOIN blob ON blob.digest = manifest.digest
                 WHERE repository.name = ?1 AND tag.name = ?2",
                tag.as_str(),
            ),
        };
        let found = self.db.read(|connection| {
            let mut statement = connection.prepare_cached(query).map_err(sql_error)?;
            statement
                .query_row([repository.as_str(), key], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, i64>(2)?,
                    ))
                })
                .optional()
                .map_err(sql_error)
        })?;
        let Some((digest, media_type, size_bytes)) = found else {
            return Ok(None);
        };
        Ok(Some(StoredManifest {
            digest: ContentDigest::parse(&digest)?,
            media_type,
            size_bytes: size(size_bytes)?,
        }))
    }

    /// Begins a manifest's lease anew.
    pub(crate) fn renew_manifest(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
        now_s: i64,
    ) -> Result<()> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.db.write(Durability::Normal, move |tx| {
            tx.execute(
                "UPDATE manifest SET leased_s = ?3 WHERE digest = ?2 AND leased_s < ?3 - ?4
                 AND repository = (SELECT id FROM repository WHERE name = ?1)",
                params![
                    repository.as_str(),
                    digest.as_str(),
                    now_s,
                    super::LEASE_RENEWAL_S
                ],
            )
            .map_err(sql_error)
            .map(|_| ())
        })
    }

    /// Whether the repository has anything, ever had, or is unknown.
    pub(crate) fn repository_is_known(&self, repository: &RepositoryName) -> Result<bool> {
        self.db
            .read(|connection| Ok(repository_id(connection, repository)?.is_some()))
    }

    /// What would keep a manifest from being recorded now.
    pub(crate) fn missing(
        &self,
        repository: &RepositoryName,
        new: &NewManifest,
    ) -> Result<Missing> {
        self.db.read(|connection| {
            // No repository has the number 0, so that everything is missing in one that is not there yet.
            let id = repository_id(connection, repository)?.unwrap_or(0);
            missing(connection, id, new)
        })
    }

    /// Records a manifest and its tags, unless something that it names is missing. Durable when it returns.
    pub(crate) fn put_manifest(
        &self,
        repository: &RepositoryName,
        new: &NewManifest,
        now_s: i64,
    ) -> Result<Missing> {
        let (repository, new) = (repository.clone(), new.clone());
        self.db.write(Durability::Full, move |tx| {
            let id = ensure_repository(tx, &repository)?;
            // In the transaction that refers to it, so that a collection comes before or after both.
            let missing = missing(tx, id, &new)?;
            if missing.is_empty() {
                insert(tx, id, &new, now_s)?;
            }
            Ok(missing)
        })
    }

    /// Removes a tag, or a manifest with all its tags; `false` if there is none.
    pub(crate) fn delete_manifest(
        &self,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<bool> {
        let (repository, name) = (repository.clone(), name.clone());
        self.db.write(Durability::Full, move |tx| {
            let Some(id) = repository_id(tx, &repository)? else {
                return Ok(false);
            };
            let removed = match &name {
                ManifestName::Tag(tag) => tx.execute(
                    "DELETE FROM tag WHERE repository = ?1 AND name = ?2",
                    params![id, tag],
                ),
                ManifestName::Digest(digest) => tx.execute(
                    "DELETE FROM manifest WHERE repository = ?1 AND digest = ?2",
                    params![id, digest.as_str()],
                ),
            };
            Ok(removed.map_err(sql_error)? > 0)
        })
    }
}

fn missing(connection: &Connection, repository: i64, new: &NewManifest) -> Result<Missing> {
    let mut found = Missing::default();
    let blob = "SELECT blob.size_bytes FROM link JOIN blob ON blob.digest = link.digest
                WHERE link.repository = ?1 AND link.digest = ?2";
    let manifest = "SELECT blob.size_bytes FROM manifest JOIN blob ON blob.digest = manifest.digest
                    WHERE manifest.repository = ?1 AND manifest.digest = ?2";
    for (query, wanted) in [(blob, &new.blobs), (manifest, &new.manifests)] {
        let mut statement = connection.prepare_cached(query).map_err(sql_error)?;
        for (digest, claimed) in wanted {
            let stored: Option<i64> = statement
                .query_row(params![repository, digest.as_str()], |row| row.get(0))
                .optional()
                .map_err(sql_error)?;
            match stored {
                None => found.unknown.push(digest.clone()),
                Some(stored) if size(stored)? != *claimed => {
                    found.of_other_size.push(digest.clone());
                }
                Some(_) => {}
            }
        }
    }
    Ok(found)
}

fn insert(tx: &Transaction<'_>, repository: i64, new: &NewManifest, now_s: i64) -> Result<()> {
    insert_blob(tx, &new.digest, number(new.size_bytes)?)?;
    tx.execute(
        "INSERT INTO manifest (repository, digest, media_type, subject, artifact_type, annotations, leased_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (repository, digest) DO UPDATE SET
         media_type = excluded.media_type, artifact_type = excluded.artifact_type, leased_s = excluded.leased_s",
        params![
            repository,
            new.digest.as_str(),
            new.media_type,
            new.subject.as_ref().map(ContentDigest::as_str),
            new.artifact_type,
            new.annotations,
            now_s
        ],
    )
    .map_err(sql_error)?;
    let named = new
        .blobs
        .iter()
        .chain(&new.manifests)
        .map(|(digest, _)| digest);
    for target in named.chain(&new.optional) {
        tx.execute(
            "INSERT OR IGNORE INTO reference (repository, manifest, target) VALUES (?1, ?2, ?3)",
            params![repository, new.digest.as_str(), target.as_str()],
        )
        .map_err(sql_error)?;
    }
    for tag in &new.tags {
        tx.execute(
            "INSERT INTO tag (repository, name, digest) VALUES (?1, ?2, ?3)
             ON CONFLICT (repository, name) DO UPDATE SET digest = excluded.digest",
            params![repository, tag, new.digest.as_str()],
        )
        .map_err(sql_error)?;
    }
    Ok(())
}
