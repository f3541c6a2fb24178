//! Image references: `[host[:port]/]path[:tag][@digest]`, with Docker's short names.
//!
//! Source: distribution/reference grammar.

use crate::Digest;
use gantry_base::{Error, Result};
use std::fmt;

/// Where short names lead.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// A parsed reference. `docker.io/library/` is filled in, a tag is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Registry host, with port.
    pub domain: String,
    /// Repository below the host.
    pub path: String,
    /// Tag, if given.
    pub tag: Option<String>,
    /// Digest, if given.
    pub digest: Option<Digest>,
}

fn invalid() -> Error {
    Error::invalid("invalid reference format")
}

fn component_is_valid(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    let mut rest = component;
    while let Some(at) = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit())) {
        let separator: String = rest[at..]
            .chars()
            .take_while(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
            .collect();
        let allowed =
            matches!(separator.as_str(), "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !allowed {
            return false;
        }
        rest = &rest[at + separator.len()..];
    }
    true
}

fn domain_is_valid(domain: &str) -> bool {
    if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let port_is_valid = port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|p| p.parse::<u16>().is_ok());
        return port_is_valid && address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let (host, port) = domain
        .split_once(':')
        .map_or((domain, None), |(h, p)| (h, Some(p)));
    let label_is_valid = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label_is_valid)
        && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether `tag` is `[\w][\w.-]{0,127}`.
pub fn tag_is_valid(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl Reference {
    /// Parses what a user types.
    ///
    /// # Errors
    /// Docker's texts: `invalid reference format` and its variants.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|_| invalid())?)),
            None => (text, None),
        };
        let after_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[after_slash..].find(':') {
            Some(at) => (
                &rest[..after_slash + at],
                Some(&rest[after_slash + at + 1..]),
            ),
            None => (rest, None),
        };
        if tag.is_some_and(|t| !tag_is_valid(t)) {
            return Err(invalid());
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':', '['])
                    || first == "localhost"
                    || first.chars().any(|c| c.is_ascii_uppercase()) =>
            {
                (first, path.to_owned())
            }
            Some(_) => (DEFAULT_DOMAIN, name.to_owned()),
            None => (DEFAULT_DOMAIN, format!("library/{name}")),
        };
        let domain = if domain == "index.docker.io" {
            DEFAULT_DOMAIN
        } else {
            domain
        };
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("library/{path}")
        } else {
            path
        };
        if name.chars().any(|c| c.is_ascii_uppercase()) && domain_is_valid(domain) {
            let remote = name.strip_prefix(domain).unwrap_or(name);
            if remote.chars().any(|c| c.is_ascii_uppercase()) {
                return Err(Error::invalid(format!(
                    "invalid reference format: repository name ({}) must be lowercase",
                    path.strip_prefix("library/")
                        .filter(|_| !name.contains('/'))
                        .map_or(path.clone(), |p| format!("library/{p}"))
                )));
            }
        }
        if !domain_is_valid(domain)
            || !path.split('/').all(component_is_valid)
            || domain.len() + path.len() + 1 > 255
        {
            return Err(invalid());
        }
        Ok(Self {
            domain: domain.into(),
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
    /// The name without tag and digest, as users write it: `busybox`, `me/app`, `host:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            return self
                .path
                .strip_prefix("library/")
                .unwrap_or(&self.path)
                .to_owned();
        }
        format!("{}/{}", self.domain, self.path)
    }
    /// The name without tag and digest, in full: `docker.io/library/busybox`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
    /// The same with `latest` where neither tag nor digest is given.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }
    /// As users write it: `busybox:latest`, `busybox@sha256:…`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }
    fn suffixed(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(self.full_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_lead_to_docker_hub() {
        let cases = [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("me/app:1.0", "docker.io/me/app:1.0", "me/app:1.0"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("host:5000/a/b:t", "host:5000/a/b:t", "host:5000/a/b:t"),
            (
                "index.docker.io/busybox",
                "docker.io/library/busybox",
                "busybox",
            ),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        ];
        for (text, full, familiar) in cases {
            let reference = Reference::parse(text).expect(text);
            assert_eq!(
                (
                    reference.to_string().as_str(),
                    reference.familiar().as_str()
                ),
                (full, familiar)
            );
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        for bad in [
            "",
            ":",
            "a:",
            "a@sha256:00",
            "-a",
            "a//b",
            "a/../b",
            "a b",
            "a:b c",
            "A",
            "a__.b",
            &"a".repeat(256),
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
        let text = Reference::parse("Busybox")
            .expect_err("upper case")
            .to_string();
        assert_eq!(
            text,
            "invalid reference format: repository name (library/Busybox) must be lowercase"
        );
    }
}
