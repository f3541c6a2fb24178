//! `docker manifest`: lists of images for several platforms, made here and sent to a registry.
//!
//! The commands speak to registries themselves. Lists that are being made lie where docker keeps them, in its form, so that
//! both programs can work on the same one.

pub(crate) mod annotate;
pub(crate) mod create;
mod entry;
mod fetch;
pub(crate) mod inspect;
pub(crate) mod push;
pub(crate) mod remove;
mod store;

use crate::failure::{Failure, Outcome};
use gantry_oci::Reference;

/// A name with its tag, or with `latest`.
fn parse(text: &str) -> gantry_base::Result<Reference> {
    Reference::parse(text).map(Reference::with_default_tag)
}

/// As [`parse`], with docker's words about what the name is for.
fn parse_as(what: &str, text: &str) -> Outcome<Reference> {
    parse(text).map_err(|error| Failure::new(format!("{what} {text}: {}", error.message())))
}
