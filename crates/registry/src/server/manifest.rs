//! Reading a manifest that a client pushes: what it is, what it names, and what makes it none.
//!
//! Only what the registry must know is read; the bytes are stored as they are. Source: OCI image-spec 1.1.

use super::catalog::NewManifest;
use super::failure::Failure;
use crate::media_type;
use gantry_oci::ContentDigest;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Descriptors that one manifest may have.
const DESCRIPTORS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default, borrow)]
    annotations: Option<&'a RawValue>,
    /// Of manifests of Docker's first version.
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl Descriptor {
    fn digest(&self) -> Result<ContentDigest, Failure> {
        ContentDigest::parse(&self.digest)
            .map_err(|error| Failure::manifest_invalid(error.message()))
    }

    /// Layers that are got elsewhere by agreement need not be here.
    fn is_distributable(&self) -> bool {
        !self.media_type.contains("nondistributable")
            && self.media_type != "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    }
}

/// Reads a manifest sent as `content_type`; its digest and tags are for the caller to fill in.
pub(crate) fn parse(
    bytes: &[u8],
    content_type: &str,
    digest: ContentDigest,
) -> Result<NewManifest, Failure> {
    let document: Document<'_> = serde_json::from_slice(bytes)
        .map_err(|error| Failure::manifest_invalid(&format!("manifest invalid: {error}")))?;
    if document.schema_version != 2 || document.fs_layers.is_some() {
        return Err(Failure::manifest_invalid(
            "manifest invalid: only schema version 2 is supported",
        ));
    }
    let media_type = kind(&document, content_type)?;
    let annotations = annotations(&document)?;
    let mut new = NewManifest {
        digest,
        size_bytes: bytes.len() as u64,
        subject: document
            .subject
            .as_ref()
            .map(Descriptor::digest)
            .transpose()?,
        artifact_type: document.artifact_type.filter(|kind| !kind.is_empty()),
        annotations,
        blobs: Vec::new(),
        manifests: Vec::new(),
        optional: Vec::new(),
        tags: Vec::new(),
        media_type,
    };
    for descriptor in document.manifests.iter().flatten() {
        new.manifests.push((descriptor.digest()?, descriptor.size));
    }
    if let Some(config) = &document.config {
        new.blobs.push((config.digest()?, config.size));
        if new.artifact_type.is_none() {
            new.artifact_type = Some(config.media_type.clone()).filter(|kind| !kind.is_empty());
        }
    }
    for layer in document.layers.iter().flatten() {
        if layer.is_distributable() {
            new.blobs.push((layer.digest()?, layer.size));
        } else {
            new.optional.push(layer.digest()?);
        }
    }
    if new.blobs.len() + new.manifests.len() + new.optional.len() > DESCRIPTORS_MAX {
        return Err(Failure::manifest_invalid(
            "manifest invalid: too many descriptors",
        ));
    }
    Ok(new)
}

/// What the document is. That its parts, its own word and the header agree is checked here, so that no two clients can read
/// the same bytes as different things (CVE-2021-41190).
fn kind(document: &Document<'_>, content_type: &str) -> Result<String, Failure> {
    let header = media_type::essence(content_type);
    let own = document.media_type.as_deref().unwrap_or_default();
    if !own.is_empty() && !header.is_empty() && own != header {
        return Err(Failure::manifest_invalid(&format!(
            "manifest invalid: its mediaType {own:?} is not the Content-Type {header:?}"
        )));
    }
    let is_index = document.manifests.is_some();
    if is_index && (document.layers.is_some() || document.config.is_some()) {
        return Err(Failure::manifest_invalid(
            "manifest invalid: it is both a manifest and an index",
        ));
    }
    let named = [own, header]
        .into_iter()
        .find(|name| !name.is_empty() && *name != "application/json");
    let kind = named.unwrap_or(if is_index {
        media_type::INDEX
    } else {
        media_type::MANIFEST
    });
    if !media_type::MANIFESTS.contains(&kind) {
        return Err(Failure::manifest_invalid(&format!(
            "manifest invalid: the media type {kind:?} is not supported"
        )));
    }
    if media_type::is_index(kind) != is_index {
        return Err(Failure::manifest_invalid(&format!(
            "manifest invalid: its content is not what {kind} says"
        )));
    }
    if !is_index && document.config.is_none() {
        return Err(Failure::manifest_invalid(
            "manifest invalid: it has no config",
        ));
    }
    Ok(kind.to_owned())
}

fn annotations(document: &Document<'_>) -> Result<Option<String>, Failure> {
    let Some(raw) = document.annotations.filter(|raw| raw.get() != "null") else {
        return Ok(None);
    };
    let invalid = |_| Failure::manifest_invalid("manifest invalid: annotations are not strings");
    let read: BTreeMap<String, String> = serde_json::from_str(raw.get()).map_err(invalid)?;
    if read.is_empty() {
        return Ok(None);
    }
    Ok(Some(
        serde_json::to_string(&read).expect("strings become JSON"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_oci::content_digest::Algorithm;
    use serde_json::json;

    fn read(document: &serde_json::Value, content_type: &str) -> Result<NewManifest, Failure> {
        let digest = ContentDigest::of(Algorithm::Sha256, b"");
        parse(document.to_string().as_bytes(), content_type, digest)
    }

    fn descriptor(media_type: &str) -> serde_json::Value {
        let digest = ContentDigest::of(Algorithm::Sha256, media_type.as_bytes());
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": 3})
    }

    #[test]
    fn what_a_manifest_names_is_found() {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": descriptor("application/x.thing"),
            "layers": [descriptor("a"), descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")],
            "subject": descriptor("s"), "annotations": {"k": "v"}, "unknown": 1,
        });
        let new = read(
            &manifest,
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
        )
        .expect("is one");
        assert_eq!(
            (new.blobs.len(), new.optional.len(), new.manifests.len()),
            (2, 1, 0)
        );
        assert_eq!(new.artifact_type.as_deref(), Some("application/x.thing"));
        assert_eq!(new.annotations.as_deref(), Some(r#"{"k":"v"}"#));
        assert!(new.subject.is_some());
        let index = json!({"schemaVersion": 2, "manifests": [descriptor("a")]});
        let new = read(&index, "").expect("is one");
        assert_eq!(
            (
                new.media_type.as_str(),
                new.manifests.len(),
                new.artifact_type
            ),
            (media_type::INDEX, 1, None)
        );
    }

    #[test]
    fn what_is_ambiguous_or_broken_is_refused() {
        let config = descriptor("c");
        for (document, content_type) in [
            (json!([]), ""),
            (
                json!({"schemaVersion": 1, "fsLayers": []}),
                media_type::DOCKER_SCHEMA1,
            ),
            (
                json!({"schemaVersion": 2, "config": config, "layers": [], "manifests": []}),
                media_type::MANIFEST,
            ),
            (
                json!({"schemaVersion": 2, "config": config, "layers": []}),
                media_type::INDEX,
            ),
            (
                json!({"schemaVersion": 2, "manifests": []}),
                media_type::MANIFEST,
            ),
            (
                json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": []}),
                media_type::DOCKER_LIST,
            ),
            (
                json!({"schemaVersion": 2, "layers": []}),
                media_type::MANIFEST,
            ),
            (json!({"schemaVersion": 2, "config": config}), "text/plain"),
            (
                json!({"schemaVersion": 2, "config": {"mediaType": "c", "digest": "sha256:../..", "size": 1}}),
                "",
            ),
            (
                json!({"schemaVersion": 2, "config": {"mediaType": "c", "digest": config["digest"], "size": -1}}),
                "",
            ),
            (
                json!({"schemaVersion": 2, "config": config, "annotations": {"a": 1}}),
                "",
            ),
        ] {
            assert!(read(&document, content_type).is_err(), "{document}");
        }
    }
}
