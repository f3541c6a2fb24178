//! The signatures of an image: under its signature tag, and among what refers to it.
//!
//! What cannot be had or read is no signature; whether those that are found are good is judged in [`crate::signature`].

use super::Repository;
use super::failure::Failure;
use super::request::{Ask, read_up_to};
use crate::media_type;
use crate::public_key::PublicKey;
use crate::signature::{self, ARTIFACT, SIGNATURES_MAX};
use gantry_base::{Error, ErrorKind, Result};
use gantry_oci::image::{Descriptor, Manifest};
use gantry_oci::{Digest, Reference};
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde::Deserialize;

/// The longest list of referrers that is read.
const REFERRERS_BYTES_MAX: usize = 4 << 20;

#[derive(Deserialize)]
struct Referrers {
    #[serde(default)]
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    #[serde(default)]
    artifact_type: String,
    #[serde(flatten)]
    descriptor: Descriptor,
}

impl Repository {
    /// Which of `keys` has signed the manifest or index `image`.
    ///
    /// # Errors
    /// Forbidden, with the reason, if none has; and when the registry cannot be asked.
    pub async fn verify_signature(
        &self,
        reference: &Reference,
        image: &Digest,
        keys: &[PublicKey],
    ) -> Result<usize> {
        let mut layers = self.tagged_layers(reference, image).await?;
        layers.extend(self.referring_layers(reference, image).await?);
        layers.truncate(SIGNATURES_MAX);
        let mut reason = "it has no signature".to_owned();
        for layer in layers {
            match self.judge(&layer, image, keys).await {
                Ok(Some(key)) => return Ok(key),
                Ok(None) => "no trusted key has signed it".clone_into(&mut reason),
                Err(error) => error.message().clone_into(&mut reason),
            }
        }
        let text = format!(
            "{} ({image}) is refused by the signature policy: {reason}",
            reference.familiar()
        );
        Err(Error::new(ErrorKind::Forbidden, text))
    }

    async fn judge(
        &self,
        layer: &Descriptor,
        image: &Digest,
        keys: &[PublicKey],
    ) -> Result<Option<usize>> {
        let Some(found) = signature::signature_of(layer)? else {
            return Ok(None);
        };
        let payload = self.small_blob(layer).await?;
        signature::verify(&payload, &found, image, keys)
    }

    async fn tagged_layers(
        &self,
        reference: &Reference,
        image: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let tagged = Reference {
            tag: Some(signature::tag_of(image)),
            digest: None,
            ..reference.clone()
        };
        match self.manifest(&tagged).await {
            Ok(document) => Ok(layers_of(&document.bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn referring_layers(
        &self,
        reference: &Reference,
        image: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let mut layers = Vec::new();
        for referrer in self.referrers(image).await? {
            if referrer.artifact_type != ARTIFACT || layers.len() >= SIGNATURES_MAX {
                continue;
            }
            // One that is gone meanwhile is no signature.
            if let Ok(document) = self.child(reference, &referrer.descriptor).await {
                layers.extend(layers_of(&document.bytes));
            }
        }
        Ok(layers)
    }

    /// Empty where the registry knows no referrers.
    async fn referrers(&self, image: &Digest) -> Result<Vec<Referrer>> {
        let found = self
            .ask(|endpoint| async move {
                let mut url = endpoint.url(&format!("{}/referrers/{image}", self.path))?;
                url.query_pairs_mut().append_pair("artifactType", ARTIFACT);
                let ask = Ask::new(Method::GET, url).header(ACCEPT, media_type::INDEX);
                let mut response = self.send_patiently(&endpoint, &ask).await?;
                let patience = self.client.patience();
                let body = read_up_to(patience, &mut response, REFERRERS_BYTES_MAX).await?;
                // Registries without this endpoint answer with pages of all kinds.
                let document = serde_json::from_slice::<Referrers>(&body).ok();
                Ok(document.map(|document| document.manifests))
            })
            .await;
        match found {
            Ok(found) => Ok(found.unwrap_or_default()),
            Err(Failure::Answer(answer)) if answer.status.is_client_error() => Ok(Vec::new()),
            Err(failure) => Err(failure.into_error()),
        }
    }
}

fn layers_of(bytes: &[u8]) -> Vec<Descriptor> {
    let manifest = serde_json::from_slice::<Manifest>(bytes);
    manifest.map_or_else(|_| Vec::new(), |manifest| manifest.layers)
}
