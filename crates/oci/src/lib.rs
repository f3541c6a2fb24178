//! OCI documents and their vocabulary: runtime spec, image config, descriptors, digests, references, platforms.
//!
//! Plain structs with public fields, named as in the specifications. No I/O, and no shapes of the Docker API.
//! Sources: opencontainers/runtime-spec 1.2, image-spec 1.1, distribution-spec 1.1.

pub mod capability;
pub mod content_digest;
pub mod digest;
pub mod image;
pub mod platform;
pub mod reference;
pub mod runtime;

pub use content_digest::ContentDigest;
pub use digest::Digest;
pub use platform::Platform;
pub use reference::Reference;
