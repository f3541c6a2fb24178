//! Wire types, named and ordered as in Docker's specification of the newest version.
//!
//! Fields of older versions that the newest leaves out are optional here and filled by the server's version adapters.
//! Where Docker answers `null`, the field is an `Option` that is always written; where it answers `[]` or `{}`, it is not.
//! Read them with [`crate::json`], which takes `null`, missing members and the case of names as Go does.

mod config;
mod container;
mod event;
mod exec;
mod host_config;
mod image;
mod mount;
mod network;
mod registry;
mod stats;
mod system;
mod volume;

pub use config::*;
pub use container::*;
pub use event::*;
pub use exec::*;
pub use host_config::*;
pub use image::*;
pub use mount::*;
pub use network::*;
pub use registry::*;
pub use stats::*;
pub use system::*;
pub use volume::*;

use serde::{Deserialize, Serialize};

/// The body of every error answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// What went wrong, for the user.
    pub message: String,
}

/// The answer to a creation that has an id and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IdResponse {
    /// The new thing's id.
    pub id: String,
}

/// A JSON object without members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn is_none_or_empty<T>(value: &Option<Vec<T>>) -> bool {
    value.as_ref().is_none_or(Vec::is_empty)
}
