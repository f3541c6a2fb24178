//! The text of a container's `/etc/resolv.conf`. Pure.

/// What the user said about name resolution; empty lists say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--dns`
    pub nameservers: Vec<String>,
    /// `--dns-search`; a single `.` means none.
    pub search: Vec<String>,
    /// `--dns-option`
    pub options: Vec<String>,
}

/// The file for the default bridge and for `none`: the host's without name servers on loopback, or with public ones if none is left.
pub fn for_bridge(host_file: &str, overrides: &Overrides) -> String {
    let _ = overrides;
    host_file.to_owned()
}

/// The file for the host's network: the host's, with the overrides.
pub fn for_host(host_file: &str, overrides: &Overrides) -> String {
    let _ = overrides;
    host_file.to_owned()
}
