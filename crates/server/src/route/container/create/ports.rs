//! Ports: `80/tcp`, host ports and ranges, in the words of Docker's port library.

use gantry_api::types::PortBinding as WireBinding;
use gantry_base::{Error, Result};
use gantry_engine::container::config::{PortBinding, PortSpec, Protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `HostConfig.PortBindings`.
pub(super) fn bindings(
    wire: &BTreeMap<String, Option<Vec<WireBinding>>>,
) -> Result<Vec<PortBinding>> {
    let mut bindings = Vec::new();
    for (key, given) in wire {
        let (protocol, port) = split(key);
        let number = number(port).ok_or_else(|| invalid_specification(port))?;
        let container = spec(protocol, port, number)?;
        let given = given.as_deref().unwrap_or_default();
        for binding in given {
            bindings.push(PortBinding {
                container,
                host_ip: address(&binding.host_ip)?,
                host_ports: host_ports(&binding.host_port)?,
            });
        }
        if given.is_empty() {
            bindings.push(PortBinding {
                container,
                host_ip: None,
                host_ports: None,
            });
        }
    }
    Ok(bindings)
}

/// `Config.ExposedPorts`; ranges stand for each of their ports.
pub(super) fn exposed<'a>(keys: impl Iterator<Item = &'a String>) -> Result<Vec<PortSpec>> {
    let mut ports = Vec::new();
    for key in keys {
        let (protocol, port) = split(key);
        let (first, last) = range(port).ok_or_else(|| invalid_specification(port))?;
        for number in first..=last {
            ports.push(spec(protocol, port, number)?);
        }
    }
    Ok(ports)
}

/// The port and protocol of a filter value such as `80`, `80/udp` or `8000-8010/tcp`.
pub(in crate::route::container) fn filter(text: &str) -> Option<(u16, u16, Protocol)> {
    let (protocol, port) = split(text);
    let (first, last) = range(port)?;
    Some((first, last, Protocol::parse(protocol)?))
}

fn spec(protocol: &str, text: &str, port: u16) -> Result<PortSpec> {
    let known = Protocol::parse(&protocol.to_ascii_lowercase());
    match known {
        Some(protocol) if port != 0 => Ok(PortSpec { port, protocol }),
        Some(_) => Err(invalid_specification(text)),
        None => Err(Error::invalid(format!("invalid proto: {protocol}"))),
    }
}

/// Protocol and port of `80/tcp`.
fn split(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("", _) => ("", ""),
        (port, None | Some("")) => ("tcp", port),
        (port, Some(protocol)) => (protocol, port),
    }
}

fn number(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn range(text: &str) -> Option<(u16, u16)> {
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        }
    }
}

fn host_ports(text: &str) -> Result<Option<(u16, u16)>> {
    let (_, port) = split(text);
    if port.is_empty() {
        return Ok(None);
    }
    match range(port) {
        Some((0, 0)) => Ok(None),
        Some(ports) => Ok(Some(ports)),
        None => Err(invalid_specification(text)),
    }
}

fn address(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .map(Some)
        .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))
}

fn invalid_specification(text: &str) -> Error {
    Error::invalid(format!(
        "invalid port specification: {}",
        crate::request::quoted(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, host_ip: &str, host_port: &str) -> Result<Vec<PortBinding>> {
        let binding = WireBinding {
            host_ip: host_ip.into(),
            host_port: host_port.into(),
        };
        bindings(&[(key.to_owned(), Some(vec![binding]))].into())
    }

    #[test]
    fn bindings_are_read() {
        let one = |key, ip, port| parse(key, ip, port).expect("is valid").remove(0);
        let tcp = PortSpec {
            port: 80,
            protocol: Protocol::Tcp,
        };
        assert_eq!(one("80", "", "8080").host_ports, Some((8080, 8080)));
        assert_eq!(one("80/tcp", "", "").host_ports, None);
        assert_eq!(one("80/tcp", "", "0").host_ports, None);
        assert_eq!(one("80/", "::1", "8000-8010").container, tcp);
        assert_eq!(
            one("80/tcp", "127.0.0.1", "8000-8010").host_ports,
            Some((8000, 8010))
        );
        assert_eq!(one("53/udp", "", "").container.protocol, Protocol::Udp);
        let empty = bindings(&[("80/tcp".to_owned(), None)].into()).expect("is valid");
        assert_eq!(
            empty,
            [PortBinding {
                container: tcp,
                host_ip: None,
                host_ports: None
            }]
        );
    }

    #[test]
    fn errors_are_in_dockers_words() {
        let error = |key, ip, port| parse(key, ip, port).expect_err("is invalid").to_string();
        assert_eq!(
            error("80", "", "99999"),
            "invalid port specification: \"99999\""
        );
        assert_eq!(
            error("80-81/tcp", "", "9"),
            "invalid port specification: \"80-81\""
        );
        assert_eq!(
            error("80/tcp", "", "9-8"),
            "invalid port specification: \"9-8\""
        );
        assert_eq!(error("80/foo", "", "1"), "invalid proto: foo");
        assert_eq!(error("80/tcp", "x", "1"), "invalid IP address: x");
        assert!(
            parse("0/tcp", "", "").is_err()
                && parse("", "", "").is_err()
                && parse("+80", "", "").is_err()
        );
    }

    #[test]
    fn exposed_ranges_are_spelled_out() {
        let keys = ["80-82/tcp".to_owned(), "53/udp".to_owned()];
        let ports: Vec<String> = exposed(keys.iter())
            .expect("is valid")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ports, ["80/tcp", "81/tcp", "82/tcp", "53/udp"]);
        assert!(exposed(["x".to_owned()].iter()).is_err());
    }
}
