//! The Docker Engine API as data: wire types of the newest version, JSON as Go reads it, stream frames, progress messages, query
//! values, and a client.
//!
//! Knows no domain types and decides nothing. Start reading at [`types`].

pub mod client;
pub mod filters;
pub mod frame;
pub mod json;
pub mod progress;
pub mod query;
pub mod types;
mod version;

pub use version::{ApiVersion, MAX_VERSION, MIN_VERSION};
