//! A tree of files as a tar: `docker export`, and the layer of a commit.

use gantry_base::{Error, Result};
use std::io::Write;
use std::os::fd::BorrowedFd;

/// Writes everything beneath `root` as a tar, in the order of names.
pub fn export(root: BorrowedFd<'_>, output: impl Write) -> Result<()> {
    let _ = (root, output);
    Err(Error::not_implemented("export is not written yet"))
}
