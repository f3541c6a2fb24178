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
mod tree;

pub(super) mod row;

use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::output;
use gantry_oci::{Platform, Reference};

/// A platform as the API wants it in a query: JSON.
fn platform_query(text: &str) -> Outcome<String> {
    let platform = Platform::parse(text).ok_or_else(|| {
        Failure::new(format!(
            "invalid platform: {text:?}: unknown operating system or architecture: invalid argument"
        ))
    })?;
    Ok(serde_json::to_string(&platform).unwrap_or_default())
}

/// What a pull or push names: a tag, by default `latest`, or with `--all-tags` all of a repository.
fn named(given: &Given) -> Outcome<Reference> {
    let reference = Reference::parse(&given.arguments[0])?;
    let is_named_fully = reference.tag.is_some() || reference.digest.is_some();
    if given.bool("all-tags") {
        if is_named_fully {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        return Ok(reference);
    }
    if !is_named_fully && !given.bool("quiet") {
        output::print_line("Using default tag: latest");
    }
    Ok(reference.with_default_tag())
}
