//! Lists, page by page: repositories, tags, and what refers to a manifest.

use super::{Catalog, repository_id, size};
use crate::server::name::RepositoryName;
use gantry_base::Result;
use gantry_oci::ContentDigest;
use gantry_state::rusqlite::params;
use gantry_state::sql_error;

/// A manifest whose `subject` is another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Referrer {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) size_bytes: u64,
    pub(crate) artifact_type: Option<String>,
    /// As JSON.
    pub(crate) annotations: Option<String>,
}

impl Catalog {
    /// At most `most` tags after `last`, in byte order; None if the repository is unknown.
    pub(crate) fn tags(
        &self,
        repository: &RepositoryName,
        last: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>> {
        self.db.read(|connection| {
            let Some(id) = repository_id(connection, repository)? else {
                return Ok(None);
            };
            let mut statement = connection
                .prepare_cached(
                    "SELECT name FROM tag WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3",
                )
                .map_err(sql_error)?;
            let names = statement
                .query_map(params![id, last, limit(most)], |row| row.get(0))
                .map_err(sql_error)?;
            names.collect::<Result<_, _>>().map(Some).map_err(sql_error)
        })
    }

    /// At most `most` repositories after `last`, in byte order.
    pub(crate) fn repositories(&self, last: &str, most: usize) -> Result<Vec<String>> {
        self.db.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT name FROM repository WHERE name > ?1 ORDER BY name LIMIT ?2",
                )
                .map_err(sql_error)?;
            let names = statement
                .query_map(params![last, limit(most)], |row| row.get(0))
                .map_err(sql_error)?;
            names.collect::<Result<_, _>>().map_err(sql_error)
        })
    }

    /// At most `most` manifests about `subject` after the digest `last`, of one artifact type if one is named.
    pub(crate) fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &ContentDigest,
        artifact_type: Option<&str>,
        last: &str,
        most: usize,
    ) -> Result<Vec<Referrer>> {
        self.db.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT manifest.digest, media_type, blob.size_bytes, artifact_type, annotations FROM manifest
                     JOIN repository ON repository.id = manifest.repository
                     JOIN blob ON blob.digest = manifest.digest
                     WHERE repository.name = ?1 AND subject = ?2 AND (?3 IS NULL OR artifact_type = ?3)
                     AND manifest.digest > ?4 ORDER BY manifest.digest LIMIT ?5",
                )
                .map_err(sql_error)?;
            let rows = statement
                .query_map(
                    params![repository.as_str(), subject.as_str(), artifact_type, last, limit(most)],
                    |row| {
                        let referrer = Referrer {
                            digest: row.get(0)?,
                            media_type: row.get(1)?,
                            size_bytes: 0,
                            artifact_type: row.get(3)?,
                            annotations: row.get(4)?,
                        };
                        Ok((referrer, row.get::<_, i64>(2)?))
                    },
                )
                .map_err(sql_error)?;
            rows.map(|row| {
                let (referrer, size_bytes) = row.map_err(sql_error)?;
                Ok(Referrer { size_bytes: size(size_bytes)?, ..referrer })
            })
            .collect()
        })
    }
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
