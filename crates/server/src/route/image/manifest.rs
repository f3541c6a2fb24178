//! What the index of an image speaks of, for lists and inspection that ask for manifests.

use super::super::State;
use gantry_api::types::{
    ManifestAttestation, ManifestImage, ManifestSize, ManifestSummary, ManifestUnpacked,
};
use gantry_base::Result;
use gantry_engine::image::types::{Image, ListedKind};
use gantry_oci::image::Descriptor;

/// A pointer to what the image's name stands for, and all that it speaks of.
pub(super) fn manifests(
    state: &State,
    image: &Image,
) -> Result<Option<(Descriptor, Vec<ManifestSummary>)>> {
    let images = &state.engine.images;
    let Some(target) = images.target_of(image)? else {
        return Ok(None);
    };
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut summaries = Vec::new();
    for listed in target.manifests {
        let (mut unpacked, mut image_data, mut attestation_data) = (0, None, None);
        let (kind, available) = match listed.kind {
            ListedKind::Image(platform, image) => {
                unpacked = image.as_ref().map_or(0, |image| image.size_bytes);
                let users = image.as_ref().map(|image| images.users(image));
                image_data = Some(ManifestImage {
                    platform,
                    size: ManifestUnpacked {
                        unpacked: number(unpacked),
                    },
                    containers: users.filter(|users| !users.is_empty()),
                });
                ("image", image.is_some())
            }
            ListedKind::Attestation { about, is_here } => {
                attestation_data = Some(ManifestAttestation { about });
                ("attestation", is_here)
            }
            ListedKind::Unknown => ("unknown", false),
        };
        let content = if available { listed.content_bytes } else { 0 };
        summaries.push(ManifestSummary {
            id: listed.descriptor.digest.to_string(),
            descriptor: listed.descriptor,
            available,
            size: ManifestSize {
                content: number(content),
                total: number(content.saturating_add(unpacked)),
            },
            kind: kind.to_owned(),
            image_data,
            attestation_data,
        });
    }
    Ok(Some((target.descriptor, summaries)))
}
