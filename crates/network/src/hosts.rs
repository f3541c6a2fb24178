//! The text of a container's `/etc/hosts`. Pure.

use std::net::IpAddr;

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// The names, the canonical one first, as they stand in the line.
    pub names: String,
}

/// The file as dockerd writes it: the fixed lines, `extra` (`--add-host`), then `own`.
pub fn render(extra: &[HostEntry], own: &[HostEntry]) -> String {
    let _ = (extra, own);
    String::new()
}

/// The names of a container's own line: `name.domain name`, or only the name.
pub fn own_names(hostname: &str, domain: &str) -> String {
    let _ = domain;
    hostname.to_owned()
}
