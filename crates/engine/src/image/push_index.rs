//! `docker push` of a name that stands for an index of which everything is here: it goes as it came.

use super::Images;
use super::push::{Original, Pushed};
use super::transfer::Events;
use bytes::Bytes;
use gantry_base::{Error, Result};
use gantry_image::{Image, ImageId, Lease, ListedKind, Target};
use gantry_oci::image::{Descriptor, Manifest};
use gantry_oci::{Digest, Reference};
use gantry_registry::client::{Content, Repository, Source};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// An index of which everything is here as it came.
pub(super) struct Whole {
    pub(super) target: Target,
    images: Vec<(Arc<Image>, Original)>,
    attestations: Vec<Descriptor>,
}

impl Whole {
    /// The images, with their manifests.
    pub(super) fn images(&self) -> Vec<(ImageId, Digest)> {
        let images = self.target.images();
        images
            .map(|(manifest, image)| (image.id.clone(), manifest.clone()))
            .collect()
    }
}

impl Images {
    /// The index that a name stands for; none where it stands for none, or something of it is not here.
    pub(super) fn whole(&self, reference: &Reference, lease: &Lease) -> Result<Option<Whole>> {
        let Some(named) = self.store.named(reference) else {
            return Ok(None);
        };
        let target = self.store.target(&named)?;
        let Some(target) = target.filter(|target| target.is_index() && target.is_complete()) else {
            return Ok(None);
        };
        lease.hold(&target.descriptor.digest);
        let (mut images, mut attestations) = (Vec::new(), Vec::new());
        for listed in &target.manifests {
            lease.hold(&listed.descriptor.digest);
            match &listed.kind {
                ListedKind::Image(_, Some(image)) => {
                    let found = self.original(image, &listed.descriptor.digest, lease)?;
                    let Some(original) = found else {
                        return Ok(None);
                    };
                    images.push((image.clone(), original));
                }
                _ => attestations.push(listed.descriptor.clone()),
            }
        }
        Ok(Some(Whole {
            target,
            images,
            attestations,
        }))
    }

    /// Brings everything that the index speaks of to the registry, but not the index.
    pub(super) async fn push_whole(
        &self,
        repository: &Repository,
        reference: &Reference,
        whole: &Whole,
        lease: &Arc<Lease>,
        events: &Events,
    ) -> Result<()> {
        for (image, (kind, bytes, manifest)) in &whole.images {
            let layers = Pushed::of(image, Some(manifest));
            self.push_layers(repository, reference, &layers, lease, events)
                .await?;
            let config = self.store.config_bytes(&image.id)?;
            push_bytes(repository, &manifest.config, config).await?;
            put(repository, kind, bytes).await?;
        }
        for descriptor in &whole.attestations {
            let bytes = self.store.document(&descriptor.digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| Error::invalid(error.to_string()))?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                push_bytes(repository, blob, self.store.document(&blob.digest)?).await?;
            }
            put(repository, &descriptor.media_type, &bytes).await?;
        }
        Ok(())
    }
}

async fn put(repository: &Repository, kind: &str, bytes: &[u8]) -> Result<()> {
    let digest = Digest::of(bytes);
    let bytes = Bytes::copy_from_slice(bytes);
    repository.put_manifest(digest.as_str(), kind, &bytes).await
}

/// Brings a small blob to the registry, unless it is there.
pub(super) async fn push_bytes(
    repository: &Repository,
    descriptor: &Descriptor,
    bytes: Vec<u8>,
) -> Result<()> {
    if repository.has_blob(descriptor).await? {
        return Ok(());
    }
    let bytes = Bytes::from(bytes);
    let source: Source = Arc::new(move || {
        let content: Box<dyn Content> = Box::new(std::io::Cursor::new(bytes.clone()));
        Ok(content)
    });
    let sent = Arc::new(AtomicU64::new(0));
    repository
        .upload(descriptor, &[], source, &sent)
        .await
        .map(drop)
}
