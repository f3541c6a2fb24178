//! What is known of an image, and how it is found by name, id or digest.

use gantry_base::{Error, Result};
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
    /// The manifest it came with.
    pub manifest: Option<Digest>,
}

/// One line of `docker history`, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The image, where it is known here.
    pub id: Option<ImageId>,
    /// Nanoseconds since 1970.
    pub created_ns: i64,
    /// The instruction.
    pub created_by: String,
    /// Tags of that image.
    pub tags: Vec<String>,
    /// Size of the layer it made.
    pub size_bytes: u64,
    /// Free text.
    pub comment: String,
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
        self.repo_tags.is_empty() && self.repo_digests.is_empty()
    }
}

impl super::Images {
    /// All images, the newest first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        Vec::new()
    }
    /// Finds by reference, id, id prefix or `name@digest`.
    ///
    /// # Errors
    /// `No such image: X`; an ambiguous prefix.
    pub fn get(&self, name: &str) -> Result<Arc<Image>> {
        Err(Error::not_found(format!("No such image: {name}")))
    }
    /// The image that `reference` names exactly.
    pub fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        let _ = reference;
        None
    }
    /// `docker history`
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        Err(Error::not_found(format!("No such image: {name}")))
    }
    /// The config document's bytes, whose digest is the id.
    pub fn config_bytes(&self, id: &ImageId) -> Result<Vec<u8>> {
        Err(Error::not_found(format!("No such image: {id}")))
    }
}
