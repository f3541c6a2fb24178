//! `image`: a verb a file.

pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod save;
pub(crate) mod tag;

pub(super) mod row;

use crate::failure::{Failure, Outcome};
use gantry_oci::Platform;

/// A platform as the API wants it in a query: JSON.
fn platform_query(text: &str) -> Outcome<String> {
    let platform = Platform::parse(text).ok_or_else(|| {
        Failure::new(format!(
            "invalid platform: {text:?}: unknown operating system or architecture: invalid argument"
        ))
    })?;
    Ok(serde_json::to_string(&platform).unwrap_or_default())
}
