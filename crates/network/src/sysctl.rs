//! Writes the few `/proc/sys/net` values that netlink cannot set. They belong to the network namespace of the calling thread.

use gantry_base::{Context as _, Error, Result};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

const ROOT: &str = "/proc/sys/net";

/// Sets `net/<name>`, a path of ours such as `ipv4/conf/eth0/forwarding`. Where it cannot be written but is so already,
/// as with a read-only `/proc/sys`, all is well.
pub(crate) fn set(name: &str, value: &str) -> Result<()> {
    let path = path_of(name);
    match write(&path, value) {
        Err(_) if get(name).is_ok_and(|present| present.as_deref() == Some(value)) => Ok(()),
        other => other.with_context(|| format!("cannot set {} to {value}", path.display())),
    }
}

/// Like [`set`], but a kernel without that setting (IPv6 switched off at boot) is fine.
pub(crate) fn set_if_present(name: &str, value: &str) -> Result<()> {
    match write(&path_of(name), value) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) => set(name, value),
    }
}

/// Sets `net/<name>` to what a user asked for, in Docker's words where that fails.
pub(crate) fn set_asked(name: &str, value: &str) -> Result<()> {
    let path = path_of(name);
    let shown = path.display();
    if !path.is_file() {
        return Err(Error::internal(format!("{shown} is not a sysctl file")));
    }
    write(&path, value).map_err(|error| {
        Error::internal(format!(
            "unable to write to '{shown}': write {shown}: {}",
            Error::from(error)
        ))
    })
}

/// The value of `net/<name>`, without its newline; none if there is no such setting.
pub(crate) fn get(name: &str) -> Result<Option<String>> {
    let path = path_of(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(path: &PathBuf, value: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

fn path_of(name: &str) -> PathBuf {
    [ROOT, name].iter().collect()
}
