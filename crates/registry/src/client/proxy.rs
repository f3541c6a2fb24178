//! Proxies between us and registries.
//!
//! As Docker has it: `proxies` of daemon.json where it says something, else `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of
//! the daemon's environment in upper or lower case. Loopback is never asked for through a proxy.

use std::fmt;

/// Hosts that no proxy is used for, whatever the settings say.
const NEVER: &str = "localhost,127.0.0.0/8,::1";

/// Which proxies to use. They may hold passwords, so that they are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: String,
    /// For `https` URLs.
    pub https: String,
    /// Hosts, domains, networks, separated by commas.
    pub no: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |text: &str| !text.is_empty();
        f.debug_struct("Proxies")
            .field("http", &set(&self.http))
            .field("https", &set(&self.https))
            .field("no", &self.no)
            .finish()
    }
}

impl Proxies {
    /// What is not set is taken from the environment, read with `variable`.
    #[must_use]
    pub fn or_environment(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let fill = |given: String, upper: &str| {
            if !given.is_empty() {
                return given;
            }
            let lower = upper.to_ascii_lowercase();
            let found = variable(upper).filter(|value| !value.is_empty());
            found.or_else(|| variable(&lower)).unwrap_or_default()
        };
        Self {
            http: fill(self.http, "HTTP_PROXY"),
            https: fill(self.https, "HTTPS_PROXY"),
            no: fill(self.no, "NO_PROXY"),
        }
    }

    /// For a client. A proxy whose URL cannot be read is an error of every request, not a way around it.
    pub(super) fn apply(
        &self,
        mut builder: reqwest::ClientBuilder,
    ) -> reqwest::Result<reqwest::ClientBuilder> {
        builder = builder.no_proxy();
        let no = || reqwest::NoProxy::from_string(&format!("{},{NEVER}", self.no));
        if self.no.trim() == "*" {
            return Ok(builder);
        }
        if !self.http.is_empty() {
            builder = builder.proxy(reqwest::Proxy::http(with_scheme(&self.http))?.no_proxy(no()));
        }
        if !self.https.is_empty() {
            builder =
                builder.proxy(reqwest::Proxy::https(with_scheme(&self.https))?.no_proxy(no()));
        }
        Ok(builder)
    }
}

/// Users may leave `http://` out.
fn with_scheme(url: &str) -> String {
    if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_before_the_environment() {
        let environment = |name: &str| match name {
            "HTTP_PROXY" => Some("http://env:1".to_owned()),
            "https_proxy" => Some("env:2".to_owned()),
            _ => None,
        };
        let given = Proxies {
            http: "http://set:1".into(),
            ..Proxies::default()
        };
        let proxies = given.or_environment(environment);
        assert_eq!(proxies.http, "http://set:1");
        assert_eq!(proxies.https, "env:2");
        assert!(proxies.apply(reqwest::Client::builder()).is_ok());
        assert!(!format!("{proxies:?}").contains("env"));
    }
}
