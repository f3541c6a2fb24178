//! Where a daemon listens, in the words of `DOCKER_HOST`.

use gantry_base::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// The address of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///path`
    Unix(PathBuf),
    /// `tcp://host:port`, without TLS.
    Tcp(String),
}

impl Endpoint {
    /// Reads `unix:///path`, `tcp://host:port`, `http://host:port`, `host:port` or an absolute path.
    ///
    /// # Errors
    /// Other schemes, by name; and addresses without their parts.
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            None if text.starts_with('/') => ("unix", text),
            None => ("tcp", text),
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix(PathBuf::from("/var/run/docker.sock"))),
            "unix" if rest.len() > 107 => Err(Error::invalid(format!(
                "unix socket path {rest:?} is longer than the 107 bytes that the kernel allows"
            ))),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => parse_tcp(text, rest.trim_end_matches('/')),
            "https" | "ssh" | "npipe" | "fd" => Err(Error::not_implemented(format!(
                "unable to connect to {text:?}: {scheme} is not supported yet"
            ))),
            _ => Err(Error::invalid(format!(
                "invalid bind address format: {text}"
            ))),
        }
    }
    /// The socket's path, where there is one.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
    /// The value of the `Host` header.
    pub(super) fn host_header(&self) -> &str {
        match self {
            Self::Unix(_) => "api.moby.localhost",
            Self::Tcp(address) => address,
        }
    }
}

fn parse_tcp(text: &str, rest: &str) -> Result<Endpoint> {
    if rest.contains('/') {
        return Err(Error::not_implemented(format!(
            "unable to connect to {text:?}: a path after the port is not supported"
        )));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (rest, "2375"),
    };
    let host = if host.is_empty() { "localhost" } else { host };
    let port: u16 = port.parse().map_err(|_| {
        Error::invalid(format!(
            "invalid bind address format: {text}: invalid port {port:?}"
        ))
    })?;
    Ok(Endpoint::Tcp(format!("{host}:{port}")))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_host_may_hold() {
        let cases = [
            ("unix:///run/a.sock", "unix:///run/a.sock"),
            ("unix://", "unix:///var/run/docker.sock"),
            ("/run/b.sock", "unix:///run/b.sock"),
            ("tcp://1.2.3.4:99", "tcp://1.2.3.4:99"),
            ("http://h:1/", "tcp://h:1"),
            ("tcp://h", "tcp://h:2375"),
            (":2375", "tcp://localhost:2375"),
            ("tcp://[::1]:80", "tcp://[::1]:80"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
        ];
        for (text, expected) in cases {
            assert_eq!(Endpoint::parse(text).expect(text).to_string(), expected);
        }
    }

    #[test]
    fn refuses_unknown_schemes_by_name() {
        for bad in [
            "ssh://me@there",
            "https://h:1",
            "gopher://x",
            "tcp://h:port",
            "tcp://h:99999",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
