//! `~/.docker/config.json`: the settings of the command line that Docker users have already.
//!
//! Read once per invocation, and only this one file: no plugins. What `docker login` writes is in [`crate::credentials`].

use crate::output;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The keys that this program reads; others are left alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConfigFile {
    /// Headers of each request.
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    pub(crate) ps_format: String,
    pub(crate) images_format: String,
    pub(crate) networks_format: String,
    pub(crate) volumes_format: String,
    pub(crate) stats_format: String,
    pub(crate) detach_keys: String,
    pub(crate) current_context: String,
    pub(crate) prune_filters: Vec<String>,
    /// Host or `default` → variables that new containers get.
    pub(crate) proxies: BTreeMap<String, ProxyConfig>,
    /// Registry → credentials.
    pub(crate) auths: BTreeMap<String, AuthConfig>,
    /// The program that keeps credentials.
    pub(crate) creds_store: String,
    /// Registry → the program that keeps its credentials.
    pub(crate) cred_helpers: BTreeMap<String, String>,
}

/// Variables for containers behind a proxy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the names of the file's keys")]
pub(crate) struct ProxyConfig {
    pub(crate) http_proxy: String,
    pub(crate) https_proxy: String,
    pub(crate) no_proxy: String,
    pub(crate) ftp_proxy: String,
    pub(crate) all_proxy: String,
}

/// Credentials of one registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AuthConfig {
    /// `user:password` in base64.
    pub(crate) auth: String,
    #[serde(rename = "identitytoken")]
    pub(crate) identity_token: String,
    #[serde(rename = "registrytoken")]
    pub(crate) registry_token: String,
}

impl ConfigFile {
    /// Reads `config.json` in `directory`; a file that does not exist is empty. One that cannot be used is warned of.
    pub(crate) fn read(directory: &Path) -> Self {
        let path = directory.join("config.json");
        let warn = |error: &dyn std::fmt::Display| {
            let shown = path.display();
            output::print_error_line(&format!(
                "WARNING: Error parsing config file ({shown}): {error}"
            ));
            Self::default()
        };
        match std::fs::read(&path) {
            Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Self::default(),
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| warn(&error)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Self::default()
            }
            Err(error) => warn(&gantry_base::Error::from(error)),
        }
    }
    /// The proxy variables for containers on the daemon at `host`, upper and lower case.
    pub(crate) fn proxy_variables(&self, host: &str) -> Vec<(String, String)> {
        let Some(proxy) = self
            .proxies
            .get(host)
            .or_else(|| self.proxies.get("default"))
        else {
            return Vec::new();
        };
        let pairs = [
            ("HTTP_PROXY", &proxy.http_proxy),
            ("HTTPS_PROXY", &proxy.https_proxy),
            ("NO_PROXY", &proxy.no_proxy),
            ("FTP_PROXY", &proxy.ftp_proxy),
            ("ALL_PROXY", &proxy.all_proxy),
        ];
        pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| {
                [
                    (name.to_owned(), value.clone()),
                    (name.to_lowercase(), value.clone()),
                ]
            })
            .collect()
    }
}

/// `--config`, `DOCKER_CONFIG` or `~/.docker`.
pub(crate) fn directory(given: &str) -> PathBuf {
    if !given.is_empty() {
        return PathBuf::from(given);
    }
    if let Some(directory) =
        std::env::var_os("DOCKER_CONFIG").filter(|directory| !directory.is_empty())
    {
        return PathBuf::from(directory);
    }
    std::env::home_dir().unwrap_or_default().join(".docker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dockers_keys() {
        let text = r#"{"psFormat":"{{.ID}}","detachKeys":"ctrl-x","HttpHeaders":{"A":"b"},"auths":{"r":{"auth":"eA=="}},
            "proxies":{"default":{"httpProxy":"http://p"}},"credsStore":"x","plugins":{}}"#;
        let config: ConfigFile = serde_json::from_str(text).expect("is valid");
        assert_eq!(
            (config.ps_format.as_str(), config.detach_keys.as_str()),
            ("{{.ID}}", "ctrl-x")
        );
        let variables = config.proxy_variables("unix:///x");
        assert_eq!(variables[1], ("http_proxy".into(), "http://p".into()));
    }
}
