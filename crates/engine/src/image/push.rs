//! `docker push`: from an image here to a name in a registry.
//!
//! Where the image came with a manifest and everything that it names is here, that manifest goes, byte for byte; else one
//! is made as dockerd makes it, over layers that are compressed once and kept. Layers go at one time as far as permits go.

use super::push_index::push_bytes;
use super::transfer::{Asker, Events, TransferEvent, tell, tell_layer};
use super::{Images, blocking};
use bytes::Bytes;
use gantry_base::{Error, Result};
use gantry_image::{Compression, Image, Lease};
use gantry_oci::image::{Descriptor, Manifest, media_type};
use gantry_oci::{Digest, Platform, Reference};
use gantry_registry::client::{Access, Content, Repository, Source, Uploaded};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Repositories from which a layer is tried to be mounted.
const MOUNTS_MAX: usize = 3;
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// What to push.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// Without a tag: all tags of the repository.
    pub reference: Reference,
    /// Of several images behind the name.
    pub platform: Option<Platform>,
    /// Who asks.
    pub asker: Asker,
}

/// A manifest that an image came with: its media type, its bytes, and what they say.
pub(super) type Original = (String, Vec<u8>, Manifest);

/// One layer of a push.
pub(super) struct Pushed {
    diff_id: Digest,
    /// As the image's own manifest has it; none: of our making.
    descriptor: Option<Descriptor>,
}

impl Pushed {
    /// All layers of an image, as its manifest has them if it came with one.
    pub(super) fn of(image: &Image, manifest: Option<&Manifest>) -> Vec<Self> {
        let diff_ids = image.config.rootfs.diff_ids.iter();
        let layer = |(at, diff_id): (usize, &Digest)| Self {
            diff_id: diff_id.clone(),
            descriptor: manifest.and_then(|manifest| manifest.layers.get(at).cloned()),
        };
        diff_ids.enumerate().map(layer).collect()
    }
}

/// The documents of a manifest in dockerd's form.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewManifest {
    schema_version: u32,
    media_type: &'static str,
    config: NewDescriptor,
    layers: Vec<NewDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewDescriptor {
    media_type: String,
    size: u64,
    digest: Digest,
}

impl Images {
    /// Pushes an image, or all tags of a repository.
    ///
    /// # Errors
    /// In Docker's words.
    pub async fn push(&self, options: PushOptions, events: Events) -> Result<()> {
        let name = &options.reference;
        let text = format!("The push refers to repository [{}]", name.full_name());
        tell(&events, "", text).await;
        if name.digest.is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let references = self.to_push(name)?;
        let asker = options.asker.clone();
        let repository = self.transfers()?.client.repository(
            name,
            Access::Push,
            asker.credentials,
            asker.headers,
        )?;
        for reference in &references {
            self.push_one(&repository, reference, options.platform.as_ref(), &events)
                .await?;
        }
        Ok(())
    }

    fn to_push(&self, name: &Reference) -> Result<Vec<Reference>> {
        if name.tag.is_some() {
            if self.store.by_reference(name).is_none() {
                let text = format!("tag does not exist: {}", name.familiar());
                return Err(Error::not_found(text));
            }
            return Ok(vec![name.clone()]);
        }
        let full = name.full_name();
        let mut references: Vec<Reference> = Vec::new();
        for image in self.store.list() {
            let tags = image.repo_tags.iter();
            let parsed = tags.filter_map(|tag| Reference::parse(tag).ok());
            references.extend(parsed.filter(|reference| reference.full_name() == full));
        }
        if references.is_empty() {
            return Err(Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                name.familiar_name()
            )));
        }
        references.sort_by_key(ToString::to_string);
        Ok(references)
    }

    async fn push_one(
        &self,
        repository: &Repository,
        reference: &Reference,
        platform: Option<&Platform>,
        events: &Events,
    ) -> Result<()> {
        let name = reference.familiar();
        let image = match platform {
            None => self.store.get(&name)?,
            Some(wanted) => self.store.get_for(&name, wanted)?.ok_or_else(|| {
                Error::not_found(format!(
                    "image with reference {name} was found but does not provide the specified platform ({wanted})"
                ))
            })?,
        };
        let lease = Arc::new(self.store.lease());
        let whole = match platform {
            None => self.whole(reference, &lease)?,
            Some(_) => None,
        };
        let (kind, bytes, images) = if let Some(whole) = whole {
            self.push_whole(repository, reference, &whole, &lease, events)
                .await?;
            let images = whole.images();
            let target = whole.target;
            (target.descriptor.media_type, target.bytes, images)
        } else {
            let (kind, bytes) = self
                .push_image(repository, reference, &image, &lease, events)
                .await?;
            let manifest = Digest::of(&bytes);
            (kind, bytes, vec![(image.id.clone(), manifest)])
        };
        let digest = Digest::of(&bytes);
        let size_bytes = bytes.len() as u64;
        let tag = reference.tag.clone().unwrap_or_default();
        let body = Bytes::from(bytes.clone());
        repository.put_manifest(&tag, &kind, &body).await?;
        let text = format!("{tag}: digest: {digest} size: {size_bytes}");
        tell(events, "", text).await;
        let by_digest = Reference {
            tag: None,
            digest: Some(digest.clone()),
            ..reference.clone()
        };
        let store = self.store.clone();
        let documents = BTreeMap::from([(digest.clone(), bytes)]);
        blocking(move || {
            images.iter().try_for_each(|(id, manifest)| {
                let documents = documents.clone();
                store.record_pushed(&lease, id, &by_digest, manifest, documents)
            })
        })
        .await?;
        let event = TransferEvent::Pushed {
            tag,
            digest: digest.to_string(),
            size_bytes,
        };
        // Whoever reads the events owns the work.
        let _ = events.send(event).await;
        self.publish("push", &name, &name);
        Ok(())
    }

    /// Brings an image to the registry, all but its manifest: that is given back.
    async fn push_image(
        &self,
        repository: &Repository,
        reference: &Reference,
        image: &Image,
        lease: &Arc<Lease>,
        events: &Events,
    ) -> Result<(String, Vec<u8>)> {
        let original = match &image.manifest {
            Some(digest) => self.original(image, digest, lease)?,
            None => None,
        };
        let manifest = original.as_ref().map(|(_, _, manifest)| manifest);
        let layers = Pushed::of(image, manifest);
        let descriptors = self
            .push_layers(repository, reference, &layers, lease, events)
            .await?;
        let config = self.store.config_bytes(&image.id)?;
        let (kind, bytes) = match original {
            Some((kind, bytes, _)) => (kind, bytes),
            None => made(image, &config, &descriptors)?,
        };
        let descriptor = descriptor(
            media_type::DOCKER_CONFIG,
            image.id.digest(),
            config.len() as u64,
        );
        push_bytes(repository, &descriptor, config).await?;
        Ok((kind, bytes))
    }

    /// This manifest of the image, if all that it names is here as it came.
    pub(super) fn original(
        &self,
        image: &Image,
        digest: &Digest,
        lease: &Lease,
    ) -> Result<Option<Original>> {
        let Ok(bytes) = self.store.document(digest) else {
            return Ok(None);
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else {
            return Ok(None);
        };
        if manifest.config.digest != *image.id.digest()
            || manifest.layers.len() != image.config.rootfs.diff_ids.len()
        {
            return Ok(None);
        }
        for layer in &manifest.layers {
            lease.hold(&layer.digest);
            let found = self.store.open_blob(&layer.digest)?;
            if found.is_none_or(|found| found.size_bytes() != layer.size) {
                return Ok(None);
            }
        }
        let kind = match manifest.media_type.as_str() {
            "" => media_type::MANIFEST.to_owned(),
            kind => kind.to_owned(),
        };
        Ok(Some((kind, bytes, manifest)))
    }

    /// Brings all layers to the registry; gives their descriptors in the image's order.
    pub(super) async fn push_layers(
        &self,
        repository: &Repository,
        reference: &Reference,
        layers: &[Pushed],
        lease: &Arc<Lease>,
        events: &Events,
    ) -> Result<Vec<Descriptor>> {
        let mut seen = Vec::new();
        // From the top, as dockerd does.
        for layer in layers.iter().rev() {
            if !seen.contains(&&layer.diff_id) {
                seen.push(&layer.diff_id);
                tell_layer(events, layer.diff_id.short(), "Preparing", None).await;
            }
        }
        let found = std::sync::Mutex::new(BTreeMap::new());
        let found_ref = &found;
        let work = seen.into_iter().map(|diff_id| async move {
            let layer = layers.iter().find(|layer| layer.diff_id == *diff_id);
            let layer = layer.expect("was taken from there");
            let pushed = self
                .push_layer(repository, reference, layer, lease, events)
                .await?;
            let mut found = found_ref
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            found.insert(diff_id.clone(), pushed);
            Ok(())
        });
        super::pull::join_all(work.collect()).await?;
        let found = found
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(layers
            .iter()
            .filter_map(|layer| found.get(&layer.diff_id).cloned())
            .collect())
    }

    async fn push_layer(
        &self,
        repository: &Repository,
        reference: &Reference,
        layer: &Pushed,
        lease: &Arc<Lease>,
        events: &Events,
    ) -> Result<Descriptor> {
        let id = layer.diff_id.short();
        let permits = &self.transfers()?.uploads;
        if permits.available_permits() == 0 {
            tell_layer(events, id, "Waiting", None).await;
        }
        let permit = permits.acquire().await;
        let _permit = permit.map_err(|_| Error::unavailable("the daemon is going down"))?;
        let descriptor = match &layer.descriptor {
            Some(descriptor) => descriptor.clone(),
            None => self.compressed(&layer.diff_id, lease).await?,
        };
        if repository.has_blob(&descriptor).await? {
            tell_layer(events, id, "Layer already exists", None).await;
            return Ok(descriptor);
        }
        let (store, digest) = (self.store.clone(), descriptor.digest.clone());
        let source: Source = Arc::new(move || {
            let found = store.open_blob(&digest)?;
            let found = found.ok_or_else(|| Error::internal(format!("{digest} is missing")))?;
            let content: Box<dyn Content> = Box::new(found);
            Ok(content)
        });
        let mounts = self.mounts(reference, &layer.diff_id);
        let sent = Arc::new(AtomicU64::new(0));
        let uploaded = {
            let upload = repository.upload(&descriptor, &mounts, source, &sent);
            tokio::pin!(upload);
            let mut told = 0;
            loop {
                tokio::select! {
                    uploaded = &mut upload => break uploaded?,
                    () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
                }
                let now = sent.load(Ordering::Relaxed);
                if now != told {
                    told = now;
                    tell_layer(events, id, "Pushing", Some((now, descriptor.size))).await;
                }
            }
        };
        let status = match uploaded {
            Uploaded::Exists => "Layer already exists".to_owned(),
            Uploaded::Mounted(from) => format!("Mounted from {from}"),
            Uploaded::Sent => {
                tell_layer(
                    events,
                    id,
                    "Pushing",
                    Some((descriptor.size, descriptor.size)),
                )
                .await;
                "Pushed".to_owned()
            }
        };
        tell_layer(events, id, &status, None).await;
        Ok(descriptor)
    }

    /// The layer in a compression that registries take: one that is here, or gzip.
    async fn compressed(&self, diff_id: &Digest, lease: &Arc<Lease>) -> Result<Descriptor> {
        let known = self.store.layer_blobs(diff_id)?;
        let has_gzip = known
            .iter()
            .any(|blob| blob.compression == Compression::Gzip);
        let zstd = known
            .iter()
            .find(|blob| blob.compression == Compression::Zstd);
        if let (false, Some(blob)) = (has_gzip, zstd) {
            lease.hold(&blob.digest);
            return Ok(descriptor(DOCKER_LAYER_ZSTD, &blob.digest, blob.size_bytes));
        }
        let (store, lease, diff_id) = (self.store.clone(), lease.clone(), diff_id.clone());
        let blob = blocking(move || store.compress_layer(&lease, &diff_id, &|_| {})).await?;
        Ok(descriptor(
            media_type::DOCKER_LAYER_GZIP,
            &blob.digest,
            blob.size_bytes,
        ))
    }

    /// Other repositories of the same registry that should have this layer: those that an image with it came from.
    fn mounts(&self, reference: &Reference, diff_id: &Digest) -> Vec<String> {
        let mut found = Vec::new();
        for image in self.store.list() {
            if !image.config.rootfs.diff_ids.contains(diff_id) {
                continue;
            }
            let names = image.repo_digests.iter();
            for name in names.filter_map(|name| Reference::parse(name).ok()) {
                let is_other = name.domain == reference.domain && name.path != reference.path;
                if is_other && !found.contains(&name.path) && found.len() < MOUNTS_MAX {
                    found.push(name.path);
                }
            }
        }
        found
    }
}

fn descriptor(kind: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: kind.to_owned(),
        digest: digest.clone(),
        size,
        urls: Vec::new(),
        annotations: indexmap::IndexMap::new(),
        platform: None,
    }
}

/// A manifest as dockerd makes it; an OCI one where a layer is compressed in a way that Docker's does not know.
fn made(image: &Image, config: &[u8], layers: &[Descriptor]) -> Result<(String, Vec<u8>)> {
    let is_oci = layers
        .iter()
        .any(|layer| layer.media_type == DOCKER_LAYER_ZSTD);
    let layer_kind = |kind: &str| match kind {
        DOCKER_LAYER_ZSTD => media_type::LAYER_ZSTD.to_owned(),
        _ if is_oci => media_type::LAYER_GZIP.to_owned(),
        kind => kind.to_owned(),
    };
    let (kind, config_kind) = if is_oci {
        (media_type::MANIFEST, media_type::CONFIG)
    } else {
        (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG)
    };
    let manifest = NewManifest {
        schema_version: 2,
        media_type: kind,
        config: NewDescriptor {
            media_type: config_kind.to_owned(),
            size: config.len() as u64,
            digest: image.id.digest().clone(),
        },
        layers: layers
            .iter()
            .map(|layer| NewDescriptor {
                media_type: layer_kind(&layer.media_type),
                size: layer.size,
                digest: layer.digest.clone(),
            })
            .collect(),
    };
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    manifest
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes, formatter,
        ))
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok((kind.to_owned(), bytes))
}
