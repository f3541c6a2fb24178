//! Registries, for the commands that speak to them without the daemon: `docker manifest`.
//!
//! Only what these commands need, so that the command line stays portable: who builds the executable hands in a client.

use gantry_base::Result;
use gantry_oci::image::Descriptor;
use gantry_oci::{Digest, Reference};
use std::future::Future;
use std::pin::Pin;

/// What a registry will have answered.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// Who asks, with nothing that is empty.
#[derive(Clone, Default)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// Instead of a password: a token to get tokens with.
    pub identity_token: String,
    /// Instead of everything: a token that is sent as it is.
    pub registry_token: String,
}

/// Which repository is asked for, and how.
pub struct Opening<'a> {
    /// Its name; what else is in it does not matter.
    pub reference: &'a Reference,
    /// Who asks.
    pub login: Login,
    /// Whether plain HTTP and certificates that cannot be verified will do.
    pub is_insecure: bool,
    /// Whether something will be written.
    pub is_push: bool,
}

/// A manifest or index as a registry gave it, its digest checked.
pub struct Document {
    /// What it is.
    pub media_type: String,
    /// Of the bytes.
    pub digest: Digest,
    /// Byte for byte.
    pub bytes: Vec<u8>,
}

/// One repository.
pub trait Remote {
    /// The manifest or index of a tag or digest; `NotFound` if there is none.
    fn manifest<'a>(&'a self, reference: &'a Reference) -> Answer<'a, Document>;
    /// A small blob, its digest checked.
    fn config<'a>(&'a self, descriptor: &'a Descriptor) -> Answer<'a, Vec<u8>>;
    /// Makes a blob of another repository of the registry one of this; gives whether it is here now.
    fn mount<'a>(&'a self, blob: &'a Descriptor, from: &'a str) -> Answer<'a, bool>;
    /// Stores a manifest or index under a tag or its digest.
    fn put<'a>(&'a self, name: &'a str, media_type: &'a str, bytes: Vec<u8>) -> Answer<'a, ()>;
}

/// A way to all registries.
pub trait Registries: Sync {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When the settings for the host cannot be used.
    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Remote>>;
}
