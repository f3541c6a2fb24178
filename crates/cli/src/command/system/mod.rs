//! `system`, and the commands that belong to no noun.

pub(crate) mod completion;
pub(crate) mod df;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod prune;
pub(crate) mod version;
