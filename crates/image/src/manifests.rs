//! What the manifest or index behind a name speaks of: images for platforms and attestations, and which of them are here.

use crate::store::{Index as Records, Named};
use crate::{Image, Images};
use gantry_base::{Error, Result};
use gantry_oci::image::{Descriptor, Index, Manifest, media_type};
use gantry_oci::{Digest, Platform};
use indexmap::IndexMap;
use std::sync::Arc;

/// In descriptors of an index: what kind of thing this is about another one of the index.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// In descriptors of an index: the digest of that other one.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The document that a name stands for.
#[derive(Debug, Clone)]
pub struct Target {
    /// A pointer to it.
    pub descriptor: Descriptor,
    /// Byte for byte.
    pub bytes: Vec<u8>,
    /// What it speaks of, in its order; one thing where it is a manifest itself.
    pub manifests: Vec<Listed>,
}

/// One thing that an index speaks of.
#[derive(Debug, Clone)]
pub struct Listed {
    /// As the index has it.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: ListedKind,
    /// Bytes of the manifest, and of all that it names, as they travel; 0 where the manifest is not here.
    pub content_bytes: u64,
}

/// What an index speaks of.
#[derive(Debug, Clone)]
pub enum ListedKind {
    /// An image; none if it is not here.
    Image(Platform, Option<Arc<Image>>),
    /// Something about another manifest of the index, and whether it is here with all that it names.
    Attestation {
        /// What it is about.
        about: String,
        /// Whether everything is here.
        is_here: bool,
    },
    /// Another index, or what nobody knows.
    Unknown,
}

impl Target {
    /// Whether it speaks of several things.
    pub fn is_index(&self) -> bool {
        is_index(&self.descriptor.media_type)
    }
    /// Whether everything that it speaks of is here.
    pub fn is_complete(&self) -> bool {
        self.manifests.iter().all(|listed| match &listed.kind {
            ListedKind::Image(_, image) => image.is_some(),
            ListedKind::Attestation { is_here, .. } => *is_here,
            ListedKind::Unknown => false,
        })
    }
    /// The images that are here, with their manifests' digests.
    pub fn images(&self) -> impl Iterator<Item = (&Digest, &Arc<Image>)> {
        self.manifests
            .iter()
            .filter_map(|listed| match &listed.kind {
                ListedKind::Image(_, Some(image)) => Some((&listed.descriptor.digest, image)),
                _ => None,
            })
    }
}

impl Images {
    /// What a name stands for; none if it came without manifest, or the document is not here.
    ///
    /// # Errors
    /// When the document cannot be understood.
    pub fn target(&self, named: &Named) -> Result<Option<Target>> {
        self.target_in(&self.index(), named)
    }

    /// What the first of an image's names stands for that came with a manifest: tags before digests.
    ///
    /// # Errors
    /// As [`Images::target`].
    pub fn target_of(&self, image: &Image) -> Result<Option<Target>> {
        let index = self.index();
        let mut names = index.names_of(&image.id);
        names.sort_by_key(|name| name.digest.is_some());
        let mut named = names.iter().filter_map(|name| index.named(name));
        match named.find(|named| named.target.is_some()) {
            Some(named) => self.target_in(&index, named),
            None => Ok(None),
        }
    }

    fn target_in(&self, records: &Records, named: &Named) -> Result<Option<Target>> {
        let Some(digest) = &named.target else {
            return Ok(None);
        };
        let Ok(bytes) = self.document(digest) else {
            return Ok(None);
        };
        let shape: Shape = parse(&bytes)?;
        let media_type = match (shape.media_type, &shape.manifests) {
            (kind, _) if !kind.is_empty() => kind,
            (_, Some(_)) => media_type::INDEX.to_owned(),
            (_, None) => media_type::MANIFEST.to_owned(),
        };
        let descriptor = Descriptor {
            media_type,
            digest: digest.clone(),
            size: bytes.len() as u64,
            urls: Vec::new(),
            annotations: IndexMap::new(),
            platform: None,
        };
        let listed = if is_index(&descriptor.media_type) {
            parse::<Index>(&bytes)?.manifests
        } else {
            vec![descriptor.clone()]
        };
        let manifests = listed.into_iter();
        let manifests = manifests.map(|descriptor| self.listed(records, named, descriptor));
        Ok(Some(Target {
            manifests: manifests.collect(),
            descriptor,
            bytes,
        }))
    }

    fn listed(&self, records: &Records, named: &Named, descriptor: Descriptor) -> Listed {
        let manifest = self.document(&descriptor.digest).ok();
        let manifest = manifest.and_then(|bytes| parse::<Manifest>(&bytes).ok());
        let content_bytes = manifest.as_ref().map_or(0, |manifest| {
            let named = manifest.layers.iter().chain([&manifest.config]);
            named.fold(descriptor.size, |sum, blob| sum.saturating_add(blob.size))
        });
        let kind = if let Some(about) = attestation_of(&descriptor) {
            let has = |blob: &Descriptor| self.document(&blob.digest).is_ok();
            let is_here = manifest
                .is_some_and(|manifest| manifest.layers.iter().chain([&manifest.config]).all(has));
            let about = about.to_owned();
            ListedKind::Attestation { about, is_here }
        } else if is_index(&descriptor.media_type) {
            ListedKind::Unknown
        } else {
            let mut variants = named.variants.iter();
            let variant =
                variants.find(|known| known.manifest.as_ref() == Some(&descriptor.digest));
            let image = variant.and_then(|known| records.images.get(&known.image).cloned());
            let platform = descriptor.platform.clone();
            let platform = platform.or_else(|| image.as_ref().map(|image| image.platform()));
            match platform {
                Some(platform) => ListedKind::Image(platform, image),
                None => ListedKind::Unknown,
            }
        };
        Listed {
            descriptor,
            kind,
            content_bytes,
        }
    }
}

/// What an attestation in an index is about; none if it is none.
pub fn attestation_of(descriptor: &Descriptor) -> Option<&str> {
    let annotations = &descriptor.annotations;
    annotations.get(REFERENCE_TYPE)?;
    let about = annotations.get(REFERENCE_DIGEST);
    Some(about.map_or("", String::as_str))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: String,
    manifests: Option<serde::de::IgnoredAny>,
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(error.to_string()))
}

fn is_index(kind: &str) -> bool {
    matches!(kind, media_type::INDEX | media_type::DOCKER_LIST)
}
