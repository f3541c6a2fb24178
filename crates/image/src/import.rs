//! `docker import`: an image of one layer from a tar of a root file system.

use crate::{ImageId, Images};
use gantry_base::{Error, Result};
use gantry_oci::image::ContainerDefaults;
use gantry_oci::{Platform, Reference};
use std::io::Read;

/// What the new image says of itself.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Comment in config and history.
    pub message: String,
    /// Defaults for containers, from `--change`.
    pub config: ContainerDefaults,
    /// This machine's platform if not given.
    pub platform: Option<Platform>,
    /// The name to give it.
    pub reference: Option<Reference>,
}

impl Images {
    /// Makes an image from a tar, plain, gzip or zstd.
    pub fn import(&self, input: impl Read + Send, options: ImportOptions) -> Result<ImageId> {
        let _ = (input, options);
        Err(Error::not_implemented("import is not written yet"))
    }
}
