//! Blobs and manifests for the tests, pushed with single requests.

use gantry_testkit::registry::Registry;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Computed here and not with our own code.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes that differ from those of other seeds.
pub(crate) fn bytes(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).expect("is one byte")
    };
    (0..length).map(|_| next()).collect()
}

/// Pushes a blob in one request; gives its digest.
#[track_caller]
pub(crate) fn push_blob(registry: &Registry, repository: &str, content: &[u8]) -> String {
    let digest = digest(content);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let answer = registry.ask("POST", &path, &[], content);
    assert_eq!(answer.status, 201, "{}", answer.text());
    digest
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

/// A manifest of a config and one layer.
pub(crate) fn manifest(config: &[u8], layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    })
}

/// Pushes a document; gives its digest.
#[track_caller]
pub(crate) fn push_manifest(
    registry: &Registry,
    repository: &str,
    tag: &str,
    document: &Value,
) -> String {
    let text = document.to_string();
    let digest = digest(text.as_bytes());
    let name = if tag.is_empty() { &digest } else { tag };
    let kind = document["mediaType"].as_str().expect("says what it is");
    let path = format!("/v2/{repository}/manifests/{name}");
    let answer = registry.ask("PUT", &path, &[("Content-Type", kind)], text.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("docker-content-digest"), digest);
    digest
}

/// Pushes a small image; gives the digests of manifest, config and layer.
#[track_caller]
pub(crate) fn push_image(
    registry: &Registry,
    repository: &str,
    tag: &str,
    seed: u8,
) -> [String; 3] {
    let (config, layer) = (bytes(seed, 100), bytes(seed.wrapping_add(100), 5000));
    let config_digest = push_blob(registry, repository, &config);
    let layer_digest = push_blob(registry, repository, &layer);
    let manifest = push_manifest(registry, repository, tag, &manifest(&config, &layer));
    [manifest, config_digest, layer_digest]
}

#[track_caller]
pub(crate) fn status(registry: &Registry, method: &str, path: &str) -> u16 {
    registry.ask(method, path, &[], &[]).status
}

/// The files of content that there are.
pub(crate) fn files(registry: &Registry) -> usize {
    ["blobs/sha256", "blobs/sha512", "uploads"]
        .iter()
        .map(|folder| {
            std::fs::read_dir(registry.root().join(folder))
                .expect("is a folder")
                .count()
        })
        .sum()
}
