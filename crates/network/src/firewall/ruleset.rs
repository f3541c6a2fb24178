//! A table as data, and its text in nft's language.

/// The content of one table of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {}
