//! Which manifest of an index is for which machine.

use gantry_base::{Error, Result};
use gantry_oci::Platform;
use gantry_oci::image::{Descriptor, Index, media_type};

pub(super) fn is_index(kind: &str) -> bool {
    matches!(kind, media_type::INDEX | media_type::DOCKER_LIST)
}

/// The manifest for the platform; the first that satisfies it, as in Docker.
pub(super) fn choose<'a>(index: &'a Index, platform: Option<&Platform>) -> Result<&'a Descriptor> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let is_known = |descriptor: &&Descriptor| {
        is_index(&descriptor.media_type)
            || matches!(
                descriptor.media_type.as_str(),
                media_type::MANIFEST | media_type::DOCKER_MANIFEST
            )
    };
    let satisfies = |descriptor: &&Descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_some_and(|platform| platform.satisfies(&wanted))
    };
    let mut found = index.manifests.iter().filter(is_known).filter(satisfies);
    found.next().ok_or_else(|| {
        Error::not_found(format!(
            "no matching manifest for {wanted} in the manifest list entries"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_oci::Digest;

    #[test]
    fn the_platform_chooses() {
        let index: Index = serde_json::from_value(serde_json::json!({
            "schemaVersion": 2,
            "manifests": [
                {"mediaType": media_type::MANIFEST, "digest": Digest::of(b"a"), "size": 1,
                 "platform": {"os": "linux", "architecture": "amd64"}},
                {"mediaType": media_type::MANIFEST, "digest": Digest::of(b"b"), "size": 1,
                 "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            ]
        }))
        .expect("is an index");
        let arm = Platform::parse("linux/arm64").expect("is a platform");
        assert_eq!(
            choose(&index, Some(&arm)).expect("is there").digest,
            Digest::of(b"b")
        );
        let mips = Platform::parse("linux/mips").expect("is a platform");
        let error = choose(&index, Some(&mips)).expect_err("is not there");
        assert!(
            error
                .message()
                .starts_with("no matching manifest for linux/mips")
        );
    }
}
