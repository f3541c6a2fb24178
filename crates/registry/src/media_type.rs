//! Which media types the protocol treats as what. The names themselves are those of `gantry_oci`.

pub use gantry_oci::image::media_type::*;

/// Docker's first manifests: recognised in order to be refused by name.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same, signed.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Every kind of manifest and index that is understood; also the `Accept` header of a client.
pub const MANIFESTS: [&str; 4] = [DOCKER_MANIFEST, DOCKER_LIST, MANIFEST, INDEX];

/// Whether it is a list of manifests.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_LIST)
}

/// Whether it is one image's manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// A `Content-Type` without its parameters.
pub fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
