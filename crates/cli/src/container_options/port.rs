//! `-p` and `--expose`: `[[ip:][hostPort]:]containerPort[/protocol]`, with ranges.

#![expect(
    clippy::zero_sized_map_values,
    reason = "Go's sets are maps to empty objects on the wire"
)]

use gantry_api::types::{Empty, PortBinding};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The ports of a container: exposed ones, and those bound on the host.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ports {
    pub(super) exposed: BTreeMap<String, Empty>,
    pub(super) bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
}

/// Reads all `-p` and all `--expose`.
pub(super) fn parse(published: &[String], exposed: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for text in published {
        publish(&from_long_notation(text)?, &mut ports)?;
    }
    for text in exposed {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (port, protocol) = split_protocol(text);
        let (start, end) = parse_range(port).map_err(|error| {
            format!("invalid range format for --expose: {text}, error: {error}")
        })?;
        for port in start..=end {
            ports
                .exposed
                .entry(format!("{port}/{protocol}"))
                .or_default();
        }
    }
    Ok(ports)
}

/// `target=80,published=8080,protocol=tcp` in the short notation.
fn from_long_notation(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| {
                format!("invalid publish opts format (should be name=value but got '{part}')")
            })?;
        match key {
            "published" => published = value,
            "target" => target = value,
            "protocol" => protocol = value,
            _ => {}
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn publish(text: &str, ports: &mut Ports) -> Result<(), String> {
    let mut parts = text.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host_port = parts.next().unwrap_or_default();
    let ip = parse_host_ip(parts.next().unwrap_or_default())?;
    let (container_port, protocol) = split_protocol(container);
    if container_port.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (start, end) = parse_range(container_port)
        .map_err(|_| format!("invalid containerPort: {container_port}"))?;
    let host = match host_port {
        "" => None,
        _ => Some(parse_range(host_port).map_err(|_| format!("invalid hostPort: {host_port}"))?),
    };
    if let Some((host_start, host_end)) = host
        && end - start != host_end - host_start
        && end != start
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container_port} and {host_port}"
        ));
    }
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    for offset in 0..=end - start {
        let key = format!("{}/{protocol}", start + offset);
        let host_port = match host {
            None => String::new(),
            Some((host_start, host_end)) if start == end && host_start != host_end => {
                format!("{host_start}-{host_end}")
            }
            Some((host_start, _)) => (host_start + offset).to_string(),
        };
        ports.exposed.entry(key.clone()).or_default();
        let binding = PortBinding {
            host_ip: ip.clone(),
            host_port,
        };
        ports
            .bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    Ok(())
}

fn parse_host_ip(text: &str) -> Result<String, String> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| {
            format!("invalid IP address {text}: address {text}:: missing ']' in address")
        })?,
        None => text,
    };
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(bare.to_owned())
}

fn split_protocol(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((port, "")) => (port, "tcp"),
        Some((port, protocol)) => (port, protocol.split('/').next().unwrap_or_default()),
        None => (text, "tcp"),
    }
}

fn parse_range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let number = |part: &str| {
        part.parse::<u16>().map_err(|error| {
            let reason = if matches!(error.kind(), std::num::IntErrorKind::PosOverflow) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            format!("strconv.ParseUint: parsing {part:?}: {reason}")
        })
    };
    let (start, end) = text.split_once('-').map_or((text, text), |range| range);
    let (start, end) = (number(start)?, number(end)?);
    if end < start {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bindings(text: &str) -> Result<Vec<String>, String> {
        let ports = parse(&[text.to_owned()], &[])?;
        let bound = ports.bindings.into_iter().flat_map(|(port, bindings)| {
            let show = move |binding: PortBinding| {
                format!("{}:{}->{port}", binding.host_ip, binding.host_port)
            };
            bindings.unwrap_or_default().into_iter().map(show)
        });
        Ok(bound.collect())
    }

    #[test]
    fn every_form_of_publish() {
        let cases: [(&str, &[&str]); 9] = [
            ("80", &[":->80/tcp"]),
            ("8080:80", &[":8080->80/tcp"]),
            ("127.0.0.1:8080:80/udp", &["127.0.0.1:8080->80/udp"]),
            ("127.0.0.1::80", &["127.0.0.1:->80/tcp"]),
            ("[::1]:8080:80", &["::1:8080->80/tcp"]),
            ("8000-8001:80-81", &[":8000->80/tcp", ":8001->81/tcp"]),
            ("8000-9000:80", &[":8000-9000->80/tcp"]),
            ("published=1,target=2,protocol=udp", &[":1->2/udp"]),
            (":80", &[":->80/tcp"]),
        ];
        for (text, expected) in cases {
            assert_eq!(bindings(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_are_dockers() {
        let cases = [
            ("abc", "invalid containerPort: abc"),
            ("x:80", "invalid hostPort: x"),
            (
                "1-2:3-5",
                "invalid ranges specified for container and host Ports: 3-5 and 1-2",
            ),
            ("300.0.0.1:1:2", "invalid IP address: 300.0.0.1"),
            ("1:2/foo", "invalid proto: foo"),
            ("80:", "no port specified: 80:<empty>"),
        ];
        for (text, expected) in cases {
            assert_eq!(bindings(text), Err(expected.to_owned()), "{text}");
        }
        assert!(
            parse(&[], &["80-81/udp".to_owned()])
                .expect("is valid")
                .exposed
                .contains_key("81/udp")
        );
        assert!(parse(&[], &["1:2".to_owned()]).is_err());
    }
}
