//! `index.json`: the images of an OCI layout.

use super::archive::{Contents, blob_path};
use crate::store::{NewImage, parse_config};
use gantry_base::{Context, Error, Result};
use gantry_oci::image::{Descriptor, Index, Manifest, media_type};
use gantry_oci::{Digest, Platform, Reference};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// How deep indexes may hold indexes.
const DEPTH_MAX: usize = 4;

/// One manifest that could be loaded, and the documents that led to it.
struct Candidate {
    descriptor: Descriptor,
    manifest: Manifest,
    bytes: Vec<u8>,
}

/// What lies beneath one descriptor of index.json.
#[derive(Default)]
struct Tree {
    candidates: Vec<Candidate>,
    documents: BTreeMap<Digest, Vec<u8>>,
}

/// Whether an index.json speaks of indexes, which another document cannot tell of.
pub(super) fn has_indexes(index: &[u8]) -> bool {
    parse::<Index>(index).is_ok_and(|index| index.manifests.iter().any(is_index))
}

/// The images of each name of the layout: of several platforms the wanted one, else all that are whole, with this machine's
/// or else the first at last, which is the one that the name gives to containers.
pub(super) fn images(
    contents: &mut Contents,
    index: &[u8],
    platform: Option<&Platform>,
) -> Result<Vec<NewImage>> {
    let index: Index = parse(index).context("cannot read index.json")?;
    let mut images: Vec<NewImage> = Vec::new();
    for descriptor in &index.manifests {
        if is_attestation(descriptor) {
            continue;
        }
        let mut tree = Tree::default();
        collect(contents, descriptor, &mut tree, 0)?;
        let Some(chosen) = choose(contents, &tree, platform)? else {
            continue;
        };
        let mut wanted = Vec::new();
        if platform.is_none() {
            let others = (0..tree.candidates.len()).filter(|other| *other != chosen);
            wanted.extend(others.filter(|other| is_whole(contents, &tree.candidates[*other])));
        }
        wanted.push(chosen);
        for candidate in wanted {
            let documents = tree.documents.clone();
            let mut image = image(contents, &tree.candidates[candidate], documents)?;
            image.references = name(descriptor)?.into_iter().collect();
            image.target = Some(descriptor.digest.clone());
            let same = images.iter_mut().find(|known| {
                known.config == image.config
                    && known.manifest == image.manifest
                    && known.target == image.target
            });
            match same {
                Some(known) => known.references.append(&mut image.references),
                None => images.push(image),
            }
        }
    }
    match platform {
        Some(wanted) if images.is_empty() => Err(Error::not_found(format!(
            "image was found but does not provide the specified platform ({wanted})"
        ))),
        None if images.is_empty() => Err(Error::invalid("the archive holds no image")),
        _ => Ok(images),
    }
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(error.to_string()))
}

fn is_index(descriptor: &Descriptor) -> bool {
    matches!(
        descriptor.media_type.as_str(),
        media_type::INDEX | media_type::DOCKER_LIST
    )
}

/// Build provenance and the like: belongs to an image, runs nowhere.
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor
        .annotations
        .contains_key("vnd.docker.reference.type")
        || descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
}

/// A document may be one thing only, and what its descriptor says it is.
fn check_kind(bytes: &[u8], descriptor: &Descriptor) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        #[serde(default)]
        media_type: Option<String>,
        manifests: Option<IgnoredAny>,
        layers: Option<IgnoredAny>,
        config: Option<IgnoredAny>,
    }
    let shape: Shape = parse(bytes)?;
    let is_ambiguous =
        shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some());
    let is_other = shape
        .media_type
        .is_some_and(|stated| stated != descriptor.media_type);
    if is_ambiguous || is_other || shape.manifests.is_some() != is_index(descriptor) {
        return Err(Error::invalid(format!(
            "{} is not a {}",
            descriptor.digest, descriptor.media_type
        )));
    }
    Ok(())
}

fn collect(
    contents: &Contents,
    descriptor: &Descriptor,
    tree: &mut Tree,
    depth: usize,
) -> Result<()> {
    let is_manifest = matches!(
        descriptor.media_type.as_str(),
        media_type::MANIFEST | media_type::DOCKER_MANIFEST
    );
    if !is_manifest && !is_index(descriptor) {
        // An artifact that is no image.
        return Ok(());
    }
    if depth > DEPTH_MAX {
        return Err(Error::invalid("indexes within indexes within indexes"));
    }
    // Layouts may leave out platforms.
    if depth > 0 && contents.document(&blob_path(&descriptor.digest))?.is_none() {
        return Ok(());
    }
    let bytes = contents.blob(&descriptor.digest, descriptor.size)?;
    check_kind(&bytes, descriptor)?;
    tree.documents
        .insert(descriptor.digest.clone(), bytes.clone());
    if is_index(descriptor) {
        let index: Index = parse(&bytes)?;
        return index
            .manifests
            .iter()
            .try_for_each(|child| collect(contents, child, tree, depth + 1));
    }
    let manifest: Manifest = parse(&bytes)?;
    if is_attestation(descriptor) {
        for kept in manifest.layers.iter().chain([&manifest.config]) {
            if let Some(bytes) = contents.document(&blob_path(&kept.digest))? {
                tree.documents.insert(kept.digest.clone(), bytes);
            }
        }
        return Ok(());
    }
    let is_image = matches!(
        manifest.config.media_type.as_str(),
        media_type::CONFIG | media_type::DOCKER_CONFIG
    );
    if is_image {
        tree.candidates.push(Candidate {
            descriptor: descriptor.clone(),
            manifest,
            bytes,
        });
    }
    Ok(())
}

/// Whether config and layers of an image are there; archives may have some platforms only.
fn is_whole(contents: &mut Contents, candidate: &Candidate) -> bool {
    let manifest = &candidate.manifest;
    let has_config = contents
        .document(&blob_path(&manifest.config.digest))
        .is_ok_and(|found| found.is_some());
    has_config
        && manifest
            .layers
            .iter()
            .all(|layer| contents.layer(&blob_path(&layer.digest)).is_ok())
}

fn choose(contents: &Contents, tree: &Tree, platform: Option<&Platform>) -> Result<Option<usize>> {
    let mut platforms = Vec::with_capacity(tree.candidates.len());
    for candidate in &tree.candidates {
        let config = &candidate.manifest.config;
        platforms.push(match &candidate.descriptor.platform {
            Some(platform) => platform.clone(),
            None => parse(&contents.blob(&config.digest, config.size)?)?,
        });
    }
    let position = |wanted: &Platform| {
        platforms
            .iter()
            .position(|platform| platform.satisfies(wanted))
    };
    Ok(match platform {
        Some(wanted) => position(wanted),
        None => position(&Platform::host()).or(if platforms.is_empty() { None } else { Some(0) }),
    })
}

fn image(
    contents: &mut Contents,
    candidate: &Candidate,
    mut documents: BTreeMap<Digest, Vec<u8>>,
) -> Result<NewImage> {
    let Candidate {
        descriptor,
        manifest,
        bytes,
    } = candidate;
    let config_bytes = contents.blob(&manifest.config.digest, manifest.config.size)?;
    let config = parse_config(&config_bytes)?;
    let diff_ids = config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(Error::invalid(format!(
            "invalid manifest, layers length mismatch: expected {}, got {}",
            diff_ids.len(),
            manifest.layers.len()
        )));
    }
    for (index, (layer, expected)) in manifest.layers.iter().zip(&diff_ids).enumerate() {
        let found = contents.layer(&blob_path(&layer.digest))?;
        if found.size_bytes.is_some_and(|size| size != layer.size) {
            return Err(Error::invalid(format!(
                "{} has not the {} bytes of its descriptor",
                layer.digest, layer.size
            )));
        }
        if found.diff_id != *expected {
            return Err(Error::invalid(format!(
                "invalid diffID for layer {index}: expected \"{expected}\", got \"{}\"",
                found.diff_id
            )));
        }
    }
    documents.insert(descriptor.digest.clone(), bytes.clone());
    Ok(NewImage {
        config: config_bytes,
        diff_ids,
        manifest: Some(descriptor.digest.clone()),
        documents,
        ..NewImage::default()
    })
}

/// The name that a layout gives an image. `ref.name` alone is often only a tag, which names nothing.
fn name(descriptor: &Descriptor) -> Result<Option<Reference>> {
    if let Some(name) = descriptor.annotations.get("io.containerd.image.name") {
        return Ok(Some(Reference::parse(name)?.with_default_tag()));
    }
    let name = descriptor
        .annotations
        .get("org.opencontainers.image.ref.name");
    let is_whole = |name: &&String| name.contains([':', '/']);
    Ok(name
        .filter(is_whole)
        .and_then(|name| Reference::parse(name).ok())
        .map(Reference::with_default_tag))
}
