//! Who may ask over TCP: programs, but not web pages.
//!
//! A browser on this machine can send requests to any local port; with DNS rebinding even such whose answers it may read.
//! So over TCP a request with `Origin`, with a foreign `Sec-Fetch-Site`, or for a host by a foreign name is refused.

use gantry_base::{Error, ErrorKind, Result};
use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};
use std::net::IpAddr;

/// Refuses requests that a web page may have sent. `names` are host names under which this machine may be asked.
pub(crate) fn check(headers: &HeaderMap, names: &[String]) -> Result<()> {
    if headers.contains_key(ORIGIN) {
        return Err(forbidden("requests of web pages are refused"));
    }
    let site = headers
        .get("sec-fetch-site")
        .map(|value| value.to_str().unwrap_or("?"));
    if site.is_some_and(|site| site != "none" && site != "same-origin") {
        return Err(forbidden("requests of web pages are refused"));
    }
    let host = headers
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let name = without_port(host);
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if name.is_empty()
        || is_address
        || name == "localhost"
        || names.iter().any(|known| known == name)
    {
        return Ok(());
    }
    Err(forbidden(&format!(
        "host name {name:?} is not one of this daemon"
    )))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

fn forbidden(message: &str) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    #[test]
    fn programs_may_ask_and_web_pages_may_not() {
        let with = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            check(&headers.collect(), &["docker".to_owned()]).is_ok()
        };
        for host in [
            "127.0.0.1:2375",
            "localhost:2375",
            "[::1]:2375",
            "docker",
            "docker:80",
            "10.0.0.1",
            "",
        ] {
            assert!(with(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:2375",
            "127.0.0.1.evil.example",
            "localhost.evil",
        ] {
            assert!(!with(&[("host", host)]), "{host}");
        }
        assert!(!with(&[
            ("host", "127.0.0.1"),
            ("origin", "http://127.0.0.1")
        ]));
        assert!(!with(&[
            ("host", "127.0.0.1"),
            ("sec-fetch-site", "cross-site")
        ]));
        assert!(with(&[("host", "127.0.0.1"), ("sec-fetch-site", "none")]));
    }
}
