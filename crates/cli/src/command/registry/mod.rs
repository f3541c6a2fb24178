//! Commands that ask registries and belong to no noun.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod search;
