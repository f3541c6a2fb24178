//! Small JSON documents that appear whole or not at all.

use gantry_base::Result;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use std::os::fd::AsFd;

/// Writes `name` in `directory` by way of a temporary file and a rename.
pub(crate) fn write(directory: impl AsFd, name: &str, document: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(document)
        .map_err(|error| gantry_base::Error::internal(error.to_string()))?;
    let temporary = format!("{name}.tmp");
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(
        &directory,
        temporary.as_str(),
        flags,
        Mode::from_raw_mode(0o600),
    )
    .map_err(std::io::Error::from)?;
    std::io::Write::write_all(&mut std::fs::File::from(file), &bytes)?;
    rustix::fs::renameat(&directory, temporary.as_str(), &directory, name)
        .map_err(std::io::Error::from)?;
    Ok(())
}
