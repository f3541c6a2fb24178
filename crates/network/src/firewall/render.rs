//! What is wanted, as a table. Pure.

use super::{Desired, Ruleset};

/// The table that expresses `desired`, always the same for the same wishes.
pub fn render(_desired: &Desired) -> Ruleset {
    Ruleset::default()
}
