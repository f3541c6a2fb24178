//! The tar format: a strict reader for hostile archives, and a writer.
//!
//! The reader accepts what GNU tar and Go's archive/tar agree on; where they disagree about which bytes are an entry, it
//! refuses. It never touches the file system.
//! Sources: POSIX.1-2017 pax interchange format, GNU tar manual ("Basic Tar Format", "Storing Sparse Files").

mod entry;
mod field;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use entry::{Entry, EntryKind, Segment, Time};
pub(crate) use header::looks_like_header;
pub(crate) use reader::TarReader;
pub(crate) use writer::TarWriter;

/// The unit in which an archive is written.
pub(crate) const BLOCK: usize = 512;

/// The refusal of an archive, with the reason.
pub(crate) fn invalid(reason: &str) -> gantry_base::Error {
    gantry_base::Error::invalid(format!("archive/tar: invalid tar header: {reason}"))
}
