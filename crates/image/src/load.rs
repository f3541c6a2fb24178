//! `docker load`: archives of images.

use crate::{ImageId, Images};
use gantry_base::{Error, Result};
use gantry_oci::{Digest, Platform};
use std::io::Read;

/// What a load tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadEvent {
    /// So much of a layer that is not here yet has been read.
    Layer {
        /// Digest of the uncompressed layer if the archive names it, else of its blob.
        id: Digest,
        /// Bytes of the blob read so far.
        current_bytes: u64,
        /// Bytes of the blob.
        total_bytes: u64,
    },
    /// A layer is complete.
    LayerDone {
        /// As in [`LoadEvent::Layer`].
        id: Digest,
    },
}

/// An image that was loaded; [`std::fmt::Display`] gives dockerd's line without the line end.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The name it was given: `busybox:latest`.
    pub reference: Option<String>,
    /// The image to which that name led before, if another: dockerd prints a line about it.
    pub replaced: Option<ImageId>,
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reference {
            Some(name) => write!(f, "Loaded image: {name}"),
            None => write!(f, "Loaded image ID: {}", self.id),
        }
    }
}

impl Images {
    /// Reads a docker-archive or an OCI layout, plain, gzip or zstd.
    pub fn load(
        &self,
        input: impl Read + Send,
        platform: Option<&Platform>,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Vec<Loaded>> {
        let _ = (input, platform, progress);
        Err(Error::not_implemented("load is not written yet"))
    }
}
