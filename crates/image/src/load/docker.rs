//! `manifest.json`: the images of a docker-archive.

use super::archive::Contents;
use crate::store::{NewImage, parse_config};
use gantry_base::{Context, Error, Result};
use gantry_oci::{Platform, Reference};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// All images of the archive, or those for `platform`.
pub(super) fn images(
    contents: &mut Contents,
    manifest: &[u8],
    platform: Option<&Platform>,
) -> Result<Vec<NewImage>> {
    let items: Vec<Item> = serde_json::from_slice(manifest)
        .map_err(|error| Error::invalid(error.to_string()))
        .context("cannot read manifest.json")?;
    let mut images = Vec::new();
    let mut refused = None;
    for item in &items {
        let bytes = contents.document(&item.config)?.ok_or_else(|| {
            Error::invalid(format!("open {}: no such file or directory", item.config))
        })?;
        let config = parse_config(&bytes)?;
        let found = Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            ..Platform::default()
        };
        if let Some(wanted) = platform
            && !found.satisfies(wanted)
        {
            refused = Some(found);
            continue;
        }
        let paths = item.layers.as_deref().unwrap_or_default();
        let diff_ids = config.rootfs.diff_ids;
        if paths.len() != diff_ids.len() {
            return Err(Error::invalid(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                diff_ids.len(),
                paths.len()
            )));
        }
        for (index, (path, expected)) in paths.iter().zip(&diff_ids).enumerate() {
            let found = contents.layer(path)?.diff_id;
            if found != *expected {
                return Err(Error::invalid(format!(
                    "invalid diffID for layer {index}: expected \"{expected}\", got \"{found}\""
                )));
            }
        }
        let references = item
            .repo_tags
            .iter()
            .flatten()
            .map(|name| tagged(name))
            .collect::<Result<_>>()?;
        images.push(NewImage {
            config: bytes,
            diff_ids,
            references,
            ..NewImage::default()
        });
    }
    match (platform, refused) {
        (Some(wanted), Some(found)) if images.is_empty() => Err(Error::not_found(format!(
            "image was found but does not provide the specified platform ({wanted}): it is for {found}"
        ))),
        _ => Ok(images),
    }
}

fn tagged(name: &str) -> Result<Reference> {
    let reference = Reference::parse(name)?;
    if reference.tag.is_none() || reference.digest.is_some() {
        return Err(Error::invalid(format!("invalid tag \"{name}\"")));
    }
    Ok(reference)
}
