//! `docker pull`: from a name in a registry to an image here.
//!
//! Documents first (index, manifest, config), each checked against its digest; then the layers that are missing, all at
//! one time as far as permits go; at last everything becomes part of the store in one transaction.

use super::choose::{choose, is_index};
use super::fetch::{Fetch, State};
use super::transfer::{Asker, Events, tell, tell_layer};
use super::{Images, blocking};
use gantry_base::{Error, Result};
use gantry_image::{ImageId, Lease, NewImage, NewLayers, attestation_of};
use gantry_oci::image::{Descriptor, ImageConfig, Index, Manifest, media_type};
use gantry_oci::{Digest, Platform, Reference};
use gantry_registry::client::{Access, RemoteDocument, Repository};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two messages about a layer's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Indexes within indexes.
const DEPTH_MAX: usize = 4;

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// With a tag or digest; without both every tag is pulled.
    pub reference: Reference,
    /// This machine's, if none.
    pub platform: Option<Platform>,
    /// Who asks.
    pub asker: Asker,
}

/// The documents of one image, checked.
struct Documents {
    /// What the reference stands for.
    target: Digest,
    manifest_digest: Digest,
    manifest: Manifest,
    config: Vec<u8>,
    diff_ids: Vec<Digest>,
    /// What the index says about the image.
    attestations: Vec<Descriptor>,
    /// Index and manifest, byte for byte.
    kept: BTreeMap<Digest, Vec<u8>>,
}

impl Images {
    /// Pulls an image, or all tags of a repository.
    ///
    /// # Errors
    /// In Docker's words; what was downloaded until then is kept for the next attempt.
    pub async fn pull(&self, options: PullOptions, events: Events) -> Result<()> {
        let reference = &options.reference;
        if reference.familiar_name() == "scratch" {
            return Err(Error::invalid("'scratch' is a reserved name"));
        }
        let transfers = self.transfers()?;
        let asker = options.asker.clone();
        let repository = transfers.client.repository(
            reference,
            Access::Pull,
            asker.credentials,
            asker.headers,
        )?;
        let mut references = vec![reference.clone()];
        if reference.tag.is_none() && reference.digest.is_none() {
            let tags = repository.tags(&reference.familiar_name()).await?;
            references = tags
                .into_iter()
                .map(|tag| Reference {
                    tag: Some(tag),
                    ..reference.clone()
                })
                .collect();
        }
        let mut is_newer = false;
        for reference in &references {
            is_newer |= self
                .pull_one(&repository, reference, options.platform.as_ref(), &events)
                .await?;
        }
        let name = options.reference.familiar();
        let text = if is_newer {
            format!("Status: Downloaded newer image for {name}")
        } else {
            format!("Status: Image is up to date for {name}")
        };
        tell(&events, "", text).await;
        Ok(())
    }

    /// Gives whether anything is new.
    async fn pull_one(
        &self,
        repository: &Repository,
        reference: &Reference,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<bool> {
        let root = repository.manifest(reference).await?;
        let shown = reference
            .digest
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| reference.tag.clone())
            .unwrap_or_default();
        let lease = self.store.lease();
        let target = root.digest.clone();
        let mut documents = self
            .documents(repository, reference, root, platform, &lease)
            .await?;
        let signature = self
            .check_pull(repository, reference, &target, &documents.manifest_digest)
            .await?;
        let image = ImageId::parse(documents.manifest.config.digest.as_str())?;
        tell(
            events,
            &shown,
            format!("Pulling from {}", repository.path()),
        )
        .await;
        let is_newer = !self.leads_to(reference, &image);
        if is_newer || !self.has(reference, &documents) {
            // An image that is here needs no layers, whatever they are compressed with there.
            let wanted = if self.holds(&image, &documents, &lease)? {
                Vec::new()
            } else {
                self.fetch_layers(repository, &documents, &lease, events)
                    .await?
            };
            let about = std::mem::take(&mut documents.attestations);
            let kept = &mut documents.kept;
            self.fetch_attestations(repository, reference, &about, &lease, kept)
                .await;
            self.commit(documents, &wanted, reference, lease).await?;
        }
        self.record_signature(image, signature).await?;
        tell(events, "", format!("Digest: {target}")).await;
        self.publish("pull", &reference.familiar(), &reference.familiar());
        Ok(is_newer)
    }

    /// Whether this name leads to this image.
    fn leads_to(&self, reference: &Reference, image: &ImageId) -> bool {
        let named = self.store.named(reference);
        named.is_some_and(|named| {
            named.image == *image || named.variants.iter().any(|variant| variant.image == *image)
        })
    }

    /// Whether the image is here with all its layers; the lease then keeps them.
    fn holds(&self, image: &ImageId, documents: &Documents, lease: &Lease) -> Result<bool> {
        if self.store.config_bytes(image).is_err() {
            return Ok(false);
        }
        for diff_id in &documents.diff_ids {
            if lease.layer_of_blob(diff_id)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether this name already stands for exactly this.
    fn has(&self, reference: &Reference, documents: &Documents) -> bool {
        let Some(named) = self.store.named(reference) else {
            return false;
        };
        let is_here = |variant: &gantry_image::Variant| {
            variant.manifest.as_ref() == Some(&documents.manifest_digest)
        };
        named.target.as_ref() == Some(&documents.target) && named.variants.iter().any(is_here)
    }

    async fn documents(
        &self,
        repository: &Repository,
        reference: &Reference,
        root: RemoteDocument,
        platform: Option<&Platform>,
        lease: &Lease,
    ) -> Result<Documents> {
        let target = root.digest.clone();
        let mut kept = BTreeMap::new();
        let mut document = root;
        let mut attestations = Vec::new();
        for _ in 0..DEPTH_MAX {
            lease.hold(&document.digest);
            if !is_index(&document.media_type) {
                break;
            }
            let index: Index = parse(&document.bytes)?;
            let chosen = choose(&index, platform)?.clone();
            let is_about =
                |other: &&Descriptor| attestation_of(other) == Some(chosen.digest.as_str());
            attestations.extend(index.manifests.iter().filter(is_about).cloned());
            kept.insert(document.digest.clone(), document.bytes);
            document = match self.store.document(&chosen.digest) {
                // Here already, and checked on the way.
                Ok(bytes) if bytes.len() as u64 == chosen.size => RemoteDocument {
                    media_type: chosen.media_type.clone(),
                    digest: chosen.digest.clone(),
                    bytes,
                },
                _ => repository.child(reference, &chosen).await?,
            };
        }
        if is_index(&document.media_type) {
            return Err(Error::invalid("indexes within indexes within indexes"));
        }
        let manifest: Manifest = parse(&document.bytes)?;
        check_kinds(&manifest)?;
        let config = self.config(repository, &manifest.config).await?;
        let parsed: ImageConfig = parse(&config)?;
        check_config(&parsed, &manifest, reference, platform)?;
        kept.insert(document.digest.clone(), document.bytes);
        Ok(Documents {
            target,
            manifest_digest: document.digest,
            manifest,
            config,
            diff_ids: parsed.rootfs.diff_ids,
            attestations,
            kept,
        })
    }

    async fn config(&self, repository: &Repository, config: &Descriptor) -> Result<Vec<u8>> {
        let known =
            ImageId::parse(config.digest.as_str()).and_then(|id| self.store.config_bytes(&id));
        match known {
            Ok(bytes) if bytes.len() as u64 == config.size => Ok(bytes),
            _ => repository.small_blob(config).await,
        }
    }

    /// Fetches what is missing and says how far each layer is; gives up all if one fails.
    async fn fetch_layers(
        &self,
        repository: &Repository,
        documents: &Documents,
        lease: &Lease,
        events: &Events,
    ) -> Result<Vec<Wanted>> {
        let transfers = self.transfers()?;
        let mut wanted: Vec<Wanted> = Vec::new();
        for (layer, diff_id) in documents.manifest.layers.iter().zip(&documents.diff_ids) {
            let id = layer.digest.short();
            if let Some(known) = lease.layer_of_blob(&layer.digest)? {
                if known != *diff_id {
                    return Err(mismatch());
                }
                tell_layer(events, id, "Already exists", None).await;
                continue;
            }
            if let Some(same) = wanted
                .iter()
                .find(|known| known.layer.digest == layer.digest)
            {
                if same.diff_id != *diff_id {
                    return Err(mismatch());
                }
                continue;
            }
            tell_layer(events, id, "Pulling fs layer", None).await;
            wanted.push(Wanted {
                layer: layer.clone(),
                diff_id: diff_id.clone(),
                fetch: self.fetch(transfers, repository, layer),
            });
        }
        let watched = wanted.iter().map(|wanted| watch(wanted, events));
        join_all(watched.collect()).await?;
        Ok(wanted)
    }

    /// Makes image, layers and names part of the store, all or nothing.
    async fn commit(
        &self,
        documents: Documents,
        wanted: &[Wanted],
        reference: &Reference,
        lease: Lease,
    ) -> Result<()> {
        let by_digest = Reference {
            tag: None,
            digest: Some(documents.target.clone()),
            ..reference.clone()
        };
        let mut references = vec![by_digest];
        if reference.digest.is_none() {
            references.push(reference.clone());
        }
        let image = NewImage {
            config: documents.config,
            diff_ids: documents.diff_ids,
            parent: None,
            manifest: Some(documents.manifest_digest),
            target: Some(documents.target),
            documents: documents.kept,
            references,
        };
        // From taking what arrived to the end of the transaction: whoever finds it taken finds it in the store.
        let _committing = self.transfers()?.committing.lock().await;
        let mut layers = NewLayers::default();
        for wanted in wanted {
            let found = match wanted.fetch.take() {
                Some(ingested) => Some(layers.add(ingested)?),
                None => lease.layer_of_blob(&wanted.layer.digest)?,
            };
            match found {
                Some(diff_id) if diff_id == wanted.diff_id => {}
                Some(_) => return Err(mismatch()),
                None => {
                    return Err(Error::unavailable(format!(
                        "layer {} was lost by another pull",
                        wanted.layer.digest
                    )));
                }
            }
        }
        let store = self.store.clone();
        blocking(move || {
            store
                .commit(&lease, layers, vec![image], now_ns())
                .map(drop)
        })
        .await
    }
}

/// A layer that is missing.
struct Wanted {
    layer: Descriptor,
    diff_id: Digest,
    fetch: Arc<Fetch>,
}

/// Says how far a layer is until it is here.
async fn watch(wanted: &Wanted, events: &Events) -> Result<()> {
    let id = wanted.layer.digest.short();
    let mut state = wanted.fetch.state();
    let (mut is_downloaded, mut told) = (false, (0, 0));
    let mut is_waiting = false;
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            State::Waiting if !is_waiting => {
                is_waiting = true;
                tell_layer(events, id, "Waiting", None).await;
            }
            State::New | State::Waiting => {}
            State::Failed(kind, text) => return Err(Error::new(kind, text)),
            State::Arrived => {
                if !is_downloaded {
                    tell_downloaded(events, id).await;
                }
                tell_layer(events, id, "Pull complete", None).await;
                return Ok(());
            }
            State::Running(partial) => {
                let total = partial.size_bytes();
                let (arrived, read) = (partial.arrived_bytes(), partial.read_bytes());
                if arrived < total && arrived != told.0 {
                    tell_layer(events, id, "Downloading", Some((arrived, total))).await;
                }
                if arrived == total && !is_downloaded {
                    is_downloaded = true;
                    tell_downloaded(events, id).await;
                }
                if is_downloaded && read > 0 && read != told.1 {
                    tell_layer(events, id, "Extracting", Some((read, total))).await;
                }
                told = (arrived, read);
            }
        }
        // Either the state changes, or it is time to look again; a fetch that ended has said so.
        let _ = tokio::time::timeout(PROGRESS_INTERVAL, state.changed()).await;
    }
}

async fn tell_downloaded(events: &Events, id: &str) {
    tell_layer(events, id, "Verifying Checksum", None).await;
    tell_layer(events, id, "Download complete", None).await;
}

/// Runs all at one time, until all have ended well or one has failed.
pub(super) async fn join_all<F: Future<Output = Result<()>>>(futures: Vec<F>) -> Result<()> {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(move |context| {
        let mut failure = None;
        running.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Pending => true,
            std::task::Poll::Ready(Ok(())) => false,
            std::task::Poll::Ready(Err(error)) => {
                failure = Some(error);
                false
            }
        });
        match failure {
            Some(error) => std::task::Poll::Ready(Err(error)),
            None if running.is_empty() => std::task::Poll::Ready(Ok(())),
            None => std::task::Poll::Pending,
        }
    })
    .await
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(error.to_string()))
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Whether the manifest is one of an image, with layers that can be unpacked.
fn check_kinds(manifest: &Manifest) -> Result<()> {
    let config = manifest.config.media_type.as_str();
    let class = match config {
        media_type::CONFIG | media_type::DOCKER_CONFIG => None,
        "application/vnd.docker.plugin.v1+json" => Some("plugin"),
        _ => Some("unknown"),
    };
    if let Some(class) = class {
        return Err(Error::invalid(format!(
            "Encountered remote \"{config}\"({class}) when fetching"
        )));
    }
    for layer in &manifest.layers {
        match layer.media_type.as_str() {
            media_type::LAYER
            | media_type::LAYER_GZIP
            | media_type::LAYER_ZSTD
            | media_type::DOCKER_LAYER
            | media_type::DOCKER_LAYER_GZIP
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {}
            other if other.contains("foreign") || other.contains("nondistributable") => {
                return Err(Error::not_implemented(format!(
                    "layers of the media type {other} are not supported"
                )));
            }
            other => {
                return Err(Error::invalid(format!("unsupported media type {other}")));
            }
        }
    }
    Ok(())
}

fn check_config(
    config: &ImageConfig,
    manifest: &Manifest,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<()> {
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(mismatch());
    }
    let found = Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        ..Platform::default()
    };
    if found.os != "linux" && !found.os.is_empty() {
        return Err(Error::invalid(format!(
            "cannot download image with operating system \"{}\" when requesting \"linux\"",
            found.os
        )));
    }
    match platform {
        Some(wanted) if !found.satisfies(wanted) => Err(Error::not_found(format!(
            "image with reference {} was found but its platform ({found}) does not match the specified platform ({wanted})",
            reference.familiar()
        ))),
        _ => Ok(()),
    }
}

fn mismatch() -> Error {
    Error::invalid("layers from manifest don't match image configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_failure_ends_all() {
        let never = async {
            std::future::pending::<()>().await;
            Ok(())
        };
        let fails = async { Err(Error::internal("no")) };
        let futures: Vec<std::pin::Pin<Box<dyn Future<Output = Result<()>>>>> =
            vec![Box::pin(never), Box::pin(fails)];
        assert_eq!(join_all(futures).await.expect_err("fails").message(), "no");
        let none: Vec<std::future::Ready<Result<()>>> = Vec::new();
        assert!(join_all(none).await.is_ok());
    }
}
