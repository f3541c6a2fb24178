//! A name that stands for an index: all that is here of it, as it came, so that it is loaded with the same digests.

use super::{Content, Selected};
use crate::manifests::{ListedKind, Target};
use crate::{Image, Images};
use gantry_base::{Error, Result};
use gantry_oci::image::{Descriptor, Manifest};
use gantry_oci::{Digest, Reference};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The blobs of an archive: what they hold, and the time of their files.
pub(super) type Blobs = BTreeMap<Digest, (Content, i64)>;

/// An index with several images or with attestations.
pub(super) struct Whole {
    pub(super) name: Reference,
    pub(super) target: Descriptor,
    /// The image that containers of the name get, which older programs load.
    pub(super) image: Arc<Image>,
    pub(super) manifest: Manifest,
}

impl Images {
    /// Moves the names that stand for such an index out of what is selected; their blobs are added.
    pub(super) fn take_whole(
        &self,
        selected: &mut Vec<Selected>,
        blobs: &mut Blobs,
    ) -> Result<Vec<Whole>> {
        let mut found = Vec::new();
        for one in selected.iter_mut() {
            let before = found.len();
            let mut others = Vec::new();
            for name in std::mem::take(&mut one.names) {
                match self.whole(&name, &one.image, blobs)? {
                    Some(whole) => found.push(whole),
                    None => others.push(name),
                }
            }
            one.is_taken = found.len() > before && others.is_empty();
            one.names = others;
        }
        selected.retain(|one| !one.is_taken);
        Ok(found)
    }

    /// None for what has one image and nothing else, and where something is not here as it came.
    fn whole(
        &self,
        name: &Reference,
        image: &Arc<Image>,
        blobs: &mut Blobs,
    ) -> Result<Option<Whole>> {
        let Some(named) = self.named(name) else {
            return Ok(None);
        };
        let target = self.target(&named)?;
        let Some(target) = target.filter(|target| target.is_index() && is_more(target)) else {
            return Ok(None);
        };
        let mut own = None;
        let mut added = Blobs::new();
        for listed in &target.manifests {
            let (time_s, is_own) = match &listed.kind {
                ListedKind::Image(_, Some(found)) => {
                    let time_s = found.created_ns.div_euclid(1_000_000_000);
                    (time_s, found.id == image.id)
                }
                ListedKind::Attestation { is_here: true, .. } => (0, false),
                _ => continue,
            };
            let bytes = self.document(&listed.descriptor.digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|error| Error::invalid(error.to_string()))?;
            if !self.add_blobs(&manifest, time_s, &mut added)? {
                return Ok(None);
            }
            if is_own {
                own = Some(manifest);
            }
            added.insert(listed.descriptor.digest.clone(), (Content::Bytes(bytes), 0));
        }
        let Some(manifest) = own else {
            return Ok(None);
        };
        added.insert(
            target.descriptor.digest.clone(),
            (Content::Bytes(target.bytes), 0),
        );
        blobs.append(&mut added);
        Ok(Some(Whole {
            name: name.clone(),
            target: target.descriptor,
            image: image.clone(),
            manifest,
        }))
    }

    /// What a manifest names; false if something is not here as it came.
    fn add_blobs(&self, manifest: &Manifest, time_s: i64, blobs: &mut Blobs) -> Result<bool> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let config = crate::ImageId(blob.digest.clone());
            if let Ok(bytes) = self.config_bytes(&config) {
                blobs.insert(blob.digest.clone(), (Content::Bytes(bytes), time_s));
                continue;
            }
            let opened = self.open_blob(&blob.digest)?;
            if opened.is_none_or(|opened| opened.size_bytes() != blob.size) {
                return Ok(false);
            }
            let content = Content::Blob {
                size_bytes: blob.size,
            };
            blobs.insert(blob.digest.clone(), (content, time_s));
        }
        Ok(true)
    }
}

/// Whether there is more than one image here, or an attestation.
fn is_more(target: &Target) -> bool {
    let here = target.manifests.iter().filter(|listed| match &listed.kind {
        ListedKind::Image(_, image) => image.is_some(),
        ListedKind::Attestation { is_here, .. } => *is_here,
        ListedKind::Unknown => false,
    });
    here.count() > 1
}
