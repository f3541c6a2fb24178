//! `volume`: a verb a file.

pub(crate) mod inspect;
pub(crate) mod list;
