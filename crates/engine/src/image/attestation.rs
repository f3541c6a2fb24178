//! What an index says about the image that is pulled: build provenance and the like, kept as they are.
//!
//! So that the image goes on to another registry as the index that it came as.

use super::Images;
use gantry_base::{Error, Result};
use gantry_image::Lease;
use gantry_oci::image::{Descriptor, Manifest};
use gantry_oci::{Digest, Reference};
use gantry_registry::client::Repository;
use std::collections::BTreeMap;

/// More about one image than anybody says.
const ATTESTATIONS_MAX: usize = 8;
/// Documents that one attestation names.
const DOCUMENTS_MAX: usize = 32;

impl Images {
    /// Adds the documents of these attestations to `kept`. What cannot be had is left out: the image is whole without.
    pub(super) async fn fetch_attestations(
        &self,
        repository: &Repository,
        reference: &Reference,
        attestations: &[Descriptor],
        lease: &Lease,
        kept: &mut BTreeMap<Digest, Vec<u8>>,
    ) {
        for descriptor in attestations.iter().take(ATTESTATIONS_MAX) {
            let fetched = self
                .fetch_attestation(repository, reference, descriptor, lease)
                .await;
            match fetched {
                Ok(documents) => kept.extend(documents),
                Err(error) => {
                    tracing::warn!(%reference, digest = %descriptor.digest, %error, "an attestation is left out");
                }
            }
        }
    }

    async fn fetch_attestation(
        &self,
        repository: &Repository,
        reference: &Reference,
        descriptor: &Descriptor,
        lease: &Lease,
    ) -> Result<BTreeMap<Digest, Vec<u8>>> {
        lease.hold(&descriptor.digest);
        let bytes = match self.store.document(&descriptor.digest) {
            Ok(bytes) => bytes,
            Err(_) => repository.child(reference, descriptor).await?.bytes,
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| Error::invalid(error.to_string()))?;
        if manifest.layers.len() >= DOCUMENTS_MAX {
            return Err(Error::invalid("it has too many documents"));
        }
        let mut documents = BTreeMap::from([(descriptor.digest.clone(), bytes)]);
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            lease.hold(&blob.digest);
            let bytes = match self.store.document(&blob.digest) {
                Ok(bytes) => bytes,
                Err(_) => repository.small_blob(blob).await?,
            };
            documents.insert(blob.digest.clone(), bytes);
        }
        Ok(documents)
    }
}
