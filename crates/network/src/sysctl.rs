//! Writes the few `/proc/sys/net` values that netlink cannot set. They belong to the network namespace of the calling thread.

use gantry_base::{Context as _, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const ROOT: &str = "/proc/sys/net";

/// Sets `net/<name>`, a path of ours such as `ipv4/conf/eth0/forwarding`; does not write what is so already.
pub(crate) fn set(name: &str, value: &str) -> Result<()> {
    let path = path_of(name);
    if read(&path).is_some_and(|present| present == value) {
        return Ok(());
    }
    std::fs::write(&path, value).with_context(|| format!("cannot set {} to {value}", path.display()))
}

/// Like [`set`], but a kernel without that setting (IPv6 switched off at boot) is fine.
pub(crate) fn set_if_present(name: &str, value: &str) -> Result<()> {
    match path_of(name).try_exists() {
        Ok(false) => Ok(()),
        _ => set(name, value),
    }
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

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

fn path_of(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}
