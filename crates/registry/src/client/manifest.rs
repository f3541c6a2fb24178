//! Manifests, indexes and small blobs: whole in memory, and never used before their digest is checked.

use super::Repository;
use super::failure::Failure;
use super::request::{Ask, next_bytes};
use crate::media_type;
use gantry_base::{Error, Result};
use gantry_oci::image::Descriptor;
use gantry_oci::{Digest, Reference};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};
use serde::Deserialize;

/// Bytes of a manifest, an index or an image config.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// A document as a registry gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteDocument {
    /// What it is.
    pub media_type: String,
    /// Of the bytes.
    pub digest: Digest,
    /// Byte for byte.
    pub bytes: Vec<u8>,
}

impl RemoteDocument {
    /// A pointer to it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.bytes.len() as u64,
            urls: Vec::new(),
            annotations: indexmap::IndexMap::new(),
            platform: None,
        }
    }
}

impl Repository {
    /// The manifest or index that a reference leads to: by digest, or by tag.
    ///
    /// # Errors
    /// In Docker's words, when there is none, it is of an unknown kind, or not what its digest says.
    pub async fn manifest(&self, reference: &Reference) -> Result<RemoteDocument> {
        let wanted = &reference.digest;
        let name = match (wanted, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        let name = &name;
        let found = self
            .ask(|endpoint| async move {
                let endpoint = &*endpoint;
                let url = endpoint.url(&format!("{}/manifests/{name}", self.path))?;
                let mut ask = Ask::new(Method::GET, url);
                for accepted in media_type::MANIFESTS {
                    ask = ask.header(ACCEPT, accepted);
                }
                let mut response = self.send_patiently(endpoint, &ask).await?;
                let bytes = self.read_document(&mut response).await?;
                let digest = Digest::of(&bytes);
                if wanted.as_ref().is_some_and(|wanted| *wanted != digest) {
                    return Err(Failure::refused(format!(
                        "manifest verification failed for digest {name}"
                    )));
                }
                let media_type = kind_of(&response, &bytes, reference)?;
                Ok(RemoteDocument {
                    media_type,
                    digest,
                    bytes,
                })
            })
            .await;
        found.map_err(|failure| {
            failure.into_pull_error(&reference.familiar(), &reference.familiar_name())
        })
    }

    /// The manifest that an index speaks of.
    ///
    /// # Errors
    /// As [`Repository::manifest`]; when its length is not that of its descriptor.
    pub async fn child(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<RemoteDocument> {
        let mut child = reference.clone();
        child.digest = Some(descriptor.digest.clone());
        let found = self.manifest(&child).await?;
        if found.bytes.len() as u64 != descriptor.size || found.media_type != descriptor.media_type
        {
            return Err(Error::invalid(format!(
                "manifest {} is not the {} of {} bytes that its index speaks of",
                found.digest, descriptor.media_type, descriptor.size
            )));
        }
        Ok(found)
    }

    /// A small blob: an image config.
    ///
    /// # Errors
    /// When it cannot be had, or is not what its digest says.
    pub async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        if descriptor.size > DOCUMENT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "{} is longer than a document may be",
                descriptor.digest
            )));
        }
        let patience = self.client.patience();
        let found = self
            .ask(|endpoint| async move {
                let endpoint = &*endpoint;
                let mut attempt = 1;
                loop {
                    let url =
                        endpoint.url(&format!("{}/blobs/{}", self.path, descriptor.digest))?;
                    let ask = Ask::new(Method::GET, url);
                    let mut response = self.send_patiently(endpoint, &ask).await?;
                    match self.read_document(&mut response).await {
                        Ok(bytes) => break Ok(bytes),
                        // The body broke off: the same as no answer.
                        Err(failure) if failure.is_passing() && attempt < patience.attempts => {
                            super::request::pause(patience, attempt, &failure).await?;
                            attempt += 1;
                        }
                        Err(failure) => break Err(failure),
                    }
                }
            })
            .await
            .map_err(Failure::into_error)?;
        if found.len() as u64 != descriptor.size || Digest::of(&found) != descriptor.digest {
            return Err(Error::internal(format!(
                "image config verification failed for digest {}",
                descriptor.digest
            )));
        }
        Ok(found)
    }

    async fn read_document(&self, response: &mut Response) -> Result<Vec<u8>, Failure> {
        let stated = response.content_length();
        let mut bytes = Vec::new();
        let until = tokio::time::Instant::now() + self.client.patience().slow;
        loop {
            let next = next_bytes(self.client.patience(), response);
            let next = tokio::time::timeout_at(until, next)
                .await
                .map_err(|_| Failure::broken("a document arrives too slowly"))??;
            let Some(more) = next else { break };
            bytes.extend_from_slice(&more);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(Failure::refused(
                    "a document is longer than a document may be",
                ));
            }
        }
        if stated.is_some_and(|stated| stated != bytes.len() as u64) {
            return Err(Failure::broken("unexpected EOF"));
        }
        Ok(bytes)
    }
}

/// What a document is, by the answer's header and by itself; both have to agree.
fn kind_of(response: &Response, bytes: &[u8], reference: &Reference) -> Result<String, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: Option<u32>,
        #[serde(default)]
        media_type: String,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(bytes)
        .map_err(|error| Failure::Refused(Error::invalid(error.to_string())))?;
    let header = response.headers().get(CONTENT_TYPE);
    let header = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let stated = media_type::essence(header);
    let is_schema1 = matches!(
        stated,
        media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED
    ) || shape.schema_version == Some(1);
    if is_schema1 {
        return Err(Failure::Refused(Error::invalid(format!(
            "[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support is disabled by default and will be removed in an upcoming release. Suggest the author of {reference} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/"
        ))));
    }
    let is_known = |kind: &str| media_type::is_index(kind) || media_type::is_manifest(kind);
    let kind = match (stated, shape.media_type.as_str()) {
        (stated, "") if is_known(stated) => stated,
        (stated, own) if stated == own && is_known(own) => own,
        // Some servers give every file the same type.
        ("" | "application/json" | "application/octet-stream" | "text/plain", own)
            if is_known(own) =>
        {
            own
        }
        (stated, own) if is_known(stated) => {
            return Err(Failure::Refused(Error::invalid(format!(
                "the registry calls a document {stated} that calls itself {own}"
            ))));
        }
        (stated, own) => {
            let unknown = if stated.is_empty() { own } else { stated };
            return Err(Failure::Refused(Error::invalid(format!(
                "unsupported media type {unknown}"
            ))));
        }
    };
    let is_ambiguous =
        shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some());
    if is_ambiguous || shape.manifests.is_some() != media_type::is_index(kind) {
        return Err(Failure::Refused(Error::invalid(
            "unsupported manifest format",
        )));
    }
    Ok(kind.to_owned())
}
