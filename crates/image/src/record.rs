//! What is known of an image, and how it is found by name, id or digest.

use crate::Images;
use crate::store::{Index, Named};
use gantry_base::{Context, Error, ErrorKind, Result};
use gantry_oci::image::ImageConfig;
use gantry_oci::{Digest, Platform, Reference};
use std::fmt;
use std::sync::Arc;

/// The id of an image: the digest of its config document, as in Docker's classic store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub(crate) Digest);

impl ImageId {
    /// Takes `sha256:<hex>` or the 64 digits alone.
    pub fn parse(text: &str) -> Result<Self> {
        let digest = Digest::parse(text).or_else(|_| Digest::parse(&format!("sha256:{text}")))?;
        Ok(Self(digest))
    }
    /// With `sha256:`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
    /// The 64 digits alone.
    pub fn hex(&self) -> &str {
        self.0.hex()
    }
    /// The first 12 digits.
    pub fn short(&self) -> &str {
        self.0.short()
    }
    /// As a digest.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One image as it is now. Cheap to clone behind its `Arc`; never changes.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the config document.
    pub id: ImageId,
    /// The config document, parsed.
    pub config: Arc<ImageConfig>,
    /// The image this one was built on here.
    pub parent: Option<ImageId>,
    /// Sum of the layers' sizes, as Docker counts: apparent sizes of all files but directories.
    pub size_bytes: u64,
    /// When it was made, in nanoseconds since 1970; 0 if the config does not say.
    pub created_ns: i64,
    /// `RepoTags`: `busybox:latest`, sorted.
    pub repo_tags: Vec<String>,
    /// `RepoDigests`: `busybox@sha256:…`, sorted.
    pub repo_digests: Vec<String>,
    /// When a tag was last put on it here.
    pub last_tagged_ns: Option<i64>,
    /// The manifest it came with last.
    pub manifest: Option<Digest>,
    /// Whether it is behind a name, be it as the image for another platform than the name gives to containers.
    pub(crate) is_variant: bool,
}

impl Image {
    /// Operating system and processor.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os.clone(),
            architecture: self.config.architecture.clone(),
            variant: self.config.variant.clone(),
            ..Platform::default()
        }
    }
    /// Whether no name leads to it.
    pub fn is_dangling(&self) -> bool {
        !self.is_variant
    }
    /// Whether it is only there as another platform of some name.
    pub(crate) fn is_hidden(&self) -> bool {
        self.is_variant && self.repo_tags.is_empty() && self.repo_digests.is_empty()
    }
}

impl Images {
    /// All images, the newest first; of the platforms behind a name only the one that containers get.
    pub fn list(&self) -> Vec<Arc<Image>> {
        let index = self.index();
        let shown = index.images.values().filter(|image| !image.is_hidden());
        let mut images: Vec<_> = shown.cloned().collect();
        images.sort_by(|a, b| {
            b.created_ns
                .cmp(&a.created_ns)
                .then_with(|| a.id.cmp(&b.id))
        });
        images
    }

    /// Finds by reference, id, id prefix or `name@digest`.
    ///
    /// # Errors
    /// `No such image: X`, also for a prefix of several ids, as in Docker; `invalid reference format`.
    pub fn get(&self, name: &str) -> Result<Arc<Image>> {
        self.index().find(name)
    }

    /// The image that `reference` names exactly.
    pub fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.index().by_reference(reference)
    }

    /// The images that were built on this one.
    pub fn children(&self, id: &ImageId) -> Vec<ImageId> {
        let index = self.index();
        index
            .images
            .values()
            .filter(|image| image.parent.as_ref() == Some(id))
            .map(|image| image.id.clone())
            .collect()
    }

    /// The config document's bytes, whose digest is the id.
    ///
    /// # Errors
    /// `No such image`.
    pub fn config_bytes(&self, id: &ImageId) -> Result<Vec<u8>> {
        let found = self
            .shared
            .db
            .read(|connection| crate::store::config_bytes(connection, id));
        found.map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_such_image(id.as_str()),
            _ => error,
        })
    }

    /// The document with this digest that came with some image: a manifest, an index, an attestation.
    ///
    /// # Errors
    /// When it is not here or damaged.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.shared.blobs.path(digest);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(Error::internal(format!("{} is damaged", path.display())))
        }
    }
}

impl Index {
    pub(crate) fn named(&self, reference: &Reference) -> Option<&Named> {
        let mut reference = reference.clone().with_default_tag();
        if reference.digest.is_some() {
            reference.tag = None;
        }
        self.references.get(&reference.to_string())
    }

    pub(crate) fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        self.images.get(&self.named(reference)?.image).cloned()
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Image>> {
        if let Ok(id) = ImageId::parse(name) {
            return self
                .images
                .get(&id)
                .cloned()
                .ok_or_else(|| no_such_image(id.as_str()));
        }
        let reference = Reference::parse(name);
        let named = reference
            .as_ref()
            .ok()
            .and_then(|reference| self.by_reference(reference));
        if let Some(image) = named.or_else(|| self.by_prefix(name)) {
            return Ok(image);
        }
        Err(no_such_image(&reference?.with_default_tag().familiar()))
    }

    /// The only image whose id begins so.
    fn by_prefix(&self, prefix: &str) -> Option<Arc<Image>> {
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if prefix.is_empty()
            || !prefix
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        let mut found = self
            .images
            .values()
            .filter(|image| image.id.hex().starts_with(prefix));
        let first = found.next()?;
        found.next().is_none().then(|| first.clone())
    }
}

/// Docker's text for a name that leads nowhere.
pub(crate) fn no_such_image(name: &str) -> Error {
    Error::not_found(format!("No such image: {name}"))
}
