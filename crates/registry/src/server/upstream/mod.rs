//! The registry as a cache of another one: what is not here is fetched there, handed on while it arrives, and kept.
//!
//! Tags are asked for again after a while; what has a digest never. When the other registry cannot be reached, what is here is
//! served. All content here was open to the cache's own credentials, so its repositories share it.

mod fetch;

use super::App;
use super::catalog::StoredManifest;
use super::failure::Failure;
use super::manifest;
use super::name::{ManifestName, RepositoryName};
use super::storage::now_s;
use super::upload::blocking;
use crate::client::{self, Access, Client, Credentials, Repository};
use fetch::Fetch;
use gantry_base::{Error, ErrorKind, Result};
use gantry_oci::{ContentDigest, Digest, Reference};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// Tags of which is remembered when they were asked for.
const CHECKED_MAX: usize = 10_000;

/// Another registry.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Its host, as it stands in references: `docker.io`, `registry.example:5000`.
    pub host: String,
    /// With what it is asked.
    pub credentials: Option<Credentials>,
    /// How long a tag is taken for what it was.
    pub tag_lifetime: Duration,
    /// How it is reached.
    pub client: client::Options,
}

/// Blobs on their way here; a cell is empty while the other registry is being asked for the first time.
type Fetches = HashMap<ContentDigest, Arc<OnceCell<Arc<Fetch>>>>;

/// Another registry, and what is being fetched from it.
pub(crate) struct Upstream {
    options: UpstreamOptions,
    client: Client,
    fetches: Mutex<Fetches>,
    checked: Mutex<HashMap<(RepositoryName, String), Instant>>,
}

impl Upstream {
    pub(crate) fn new(options: UpstreamOptions) -> Self {
        Self {
            client: Client::new(options.client.clone()),
            options,
            fetches: Mutex::default(),
            checked: Mutex::default(),
        }
    }

    fn fetches(&self) -> MutexGuard<'_, Fetches> {
        self.fetches
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<(RepositoryName, String), Instant>> {
        self.checked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn reference(&self, repository: &RepositoryName, name: &ManifestName) -> Result<Reference> {
        let separator = match name {
            ManifestName::Tag(_) => ':',
            ManifestName::Digest(_) => '@',
        };
        Reference::parse(&format!(
            "{}/{repository}{separator}{name}",
            self.options.host
        ))
    }

    fn repository(&self, reference: &Reference) -> Result<Repository> {
        let credentials = self.options.credentials.clone();
        self.client
            .repository(reference, Access::Pull, credentials, Vec::new())
    }

    /// Sees to it that a manifest is here and current, as far as can be.
    pub(crate) async fn refresh_manifest(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        name: &ManifestName,
    ) -> Result<(), Failure> {
        let stored = stored(app, repository, name).await?;
        let key = match name {
            ManifestName::Digest(_) if stored.is_some() => return Ok(()),
            ManifestName::Digest(_) => None,
            ManifestName::Tag(tag) => Some((repository.clone(), tag.clone())),
        };
        let is_fresh = key.as_ref().is_some_and(|key| {
            let checked = self.checked().get(key).copied();
            checked.is_some_and(|checked| checked.elapsed() < self.options.tag_lifetime)
        });
        if stored.is_some() && is_fresh {
            return Ok(());
        }
        let reference = self.reference(repository, name)?;
        let fetched = match self.repository(&reference) {
            Ok(remote) => remote.manifest(&reference).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(document) => {
                store(app, repository, name, document).await?;
                if let Some(key) = key {
                    self.remember(key);
                }
                Ok(())
            }
            // What was deleted there is gone here, too.
            Err(error) if error.kind() == ErrorKind::NotFound && stored.is_some() => {
                let (catalog, owner, name) = (
                    app.storage.catalog.clone(),
                    repository.clone(),
                    name.clone(),
                );
                blocking(move || catalog.delete_manifest(&owner, &name)).await?;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if stored.is_some() => {
                tracing::warn!(%reference, %error, "serving what is here");
                Ok(())
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn remember(&self, key: (RepositoryName, String)) {
        let mut checked = self.checked();
        if checked.len() >= CHECKED_MAX {
            checked.clear();
        }
        checked.insert(key, Instant::now());
    }

    /// A blob on its way here; none if it is here by now, or there is none.
    pub(crate) async fn fetch(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<Option<Arc<Fetch>>, Failure> {
        let (catalog, owner, wanted) = (
            app.storage.catalog.clone(),
            repository.clone(),
            digest.clone(),
        );
        if blocking(move || catalog.mount_blob(&owner, None, &wanted, now_s())).await? {
            return Ok(None);
        }
        let cell = self.fetches().entry(digest.clone()).or_default().clone();
        let fetch = cell
            .get_or_try_init(|| self.begin(app, repository, digest))
            .await;
        match fetch {
            Ok(fetch) => Ok(Some(fetch.clone())),
            Err(failure) => {
                self.forget(digest);
                if failure.status == hyper::StatusCode::NOT_FOUND {
                    return Ok(None);
                }
                Err(failure)
            }
        }
    }

    /// Removes a cell that nothing came into, or whose fetch has ended.
    fn forget(&self, digest: &ContentDigest) {
        self.fetches().remove(digest);
    }

    async fn begin(
        &self,
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<Arc<Fetch>, Failure> {
        let mut reference = self.reference(repository, &ManifestName::Tag("latest".to_owned()))?;
        reference.tag = None;
        let remote = self.repository(&reference)?;
        let stream = match remote.stream(digest, 0).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Failure::blob_unknown(digest));
            }
            Err(error) => return Err(unavailable(&error)),
        };
        if stream.size_bytes > app.options.blob_bytes_max {
            return Err(unavailable(&Error::internal("a blob is too large")));
        }
        let (fetch, arriving) = Fetch::begin(app, repository, digest, &stream).await?;
        let fetch = Arc::new(fetch);
        let (app, running) = (app.clone(), fetch.clone());
        tokio::spawn(async move {
            running.run(&app, remote, stream, arriving).await;
            if let Some(upstream) = &app.upstream {
                upstream.forget(&running.digest);
            }
        });
        Ok(fetch)
    }
}

impl Upstream {
    /// All tags of a repository there, in byte order; none if it cannot be asked.
    pub(crate) async fn tags(&self, repository: &RepositoryName) -> Option<Vec<String>> {
        let name = ManifestName::Tag("latest".to_owned());
        let reference = self.reference(repository, &name).ok()?;
        let remote = self.repository(&reference).ok()?;
        let mut tags = remote.tags(repository.as_str()).await.ok()?;
        tags.sort_unstable();
        Some(tags)
    }
}

fn unavailable(error: &Error) -> Failure {
    tracing::warn!(%error, "the upstream registry does not help");
    Failure::new(
        hyper::StatusCode::BAD_GATEWAY,
        "UNAVAILABLE",
        "the upstream registry cannot be asked",
    )
}

async fn stored(
    app: &Arc<App>,
    repository: &RepositoryName,
    name: &ManifestName,
) -> Result<Option<StoredManifest>, Failure> {
    let (catalog, owner, wanted) = (
        app.storage.catalog.clone(),
        repository.clone(),
        name.clone(),
    );
    let found = blocking(move || catalog.manifest(&owner, &wanted)).await?;
    let Some(found) = found else { return Ok(None) };
    let (catalog, owner, digest) = (
        app.storage.catalog.clone(),
        repository.clone(),
        found.digest.clone(),
    );
    blocking(move || catalog.renew_manifest(&owner, &digest, now_s())).await?;
    Ok(Some(found))
}

/// Keeps a manifest; what it names may come later or never.
async fn store(
    app: &Arc<App>,
    repository: &RepositoryName,
    name: &ManifestName,
    document: client::RemoteDocument,
) -> Result<(), Failure> {
    let digest = ContentDigest::from(Digest::of(&document.bytes));
    let mut new = manifest::parse(&document.bytes, &document.media_type, digest)?;
    let named = new.blobs.drain(..).chain(new.manifests.drain(..));
    new.optional.extend(named.map(|(digest, _)| digest));
    if let ManifestName::Tag(tag) = name {
        new.tags.push(tag.clone());
    }
    let (storage, owner) = (app.storage.clone(), repository.clone());
    blocking(move || {
        storage.put(&new.digest, &document.bytes, || {
            storage.catalog.put_manifest(&owner, &new, now_s())
        })
    })
    .await?;
    Ok(())
}
