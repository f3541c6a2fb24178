//! The OCI distribution protocol over the content store: pulling and pushing images.
//!
//! [`client`] talks to registries, [`server`] is one. The words that both sides of the protocol share are beside it: the error document, the
//! `WWW-Authenticate` challenge, and which media types are manifests.
//! Source: OCI distribution-spec 1.1; the token protocol as in the `distribution` project.

pub mod challenge;
pub mod client;
pub mod error_document;
pub mod media_type;
pub mod policy;
pub mod public_key;
pub mod server;
pub mod signature;
