//! Other people's chains on the way of forwarded packets.

/// A base chain of another table that drops forwarded packets by default; an accept in our table does not override it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDrop {
    /// Family and name of the table, `ip filter`.
    pub table: String,
    /// Name of the chain, `FORWARD`.
    pub chain: String,
}
