//! `certs.d/<host>/hosts.toml`: a host's mirrors and their settings, in containerd's form.
//!
//! Source: containerd, docs/hosts.md. Keys that are not known are refused, so that none is ignored by mistake.

use gantry_base::{Context, Error, Result};
use std::path::{Path, PathBuf};

/// Bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct HostsFile {
    /// The registry itself; empty: the host that the directory is named after.
    pub(super) server: String,
    /// Other hosts to ask first, in their order.
    pub(super) hosts: Vec<HostEntry>,
    /// Settings for the server.
    pub(super) defaults: HostEntry,
}

/// Settings of one host; without URL those of the server.
#[derive(Debug, Default, PartialEq)]
pub(super) struct HostEntry {
    pub(super) url: String,
    /// `pull`, `resolve`, `push`; empty: all.
    capabilities: Vec<String>,
    pub(super) ca: Vec<PathBuf>,
    pub(super) client: Option<(PathBuf, Option<PathBuf>)>,
    pub(super) skip_verify: Option<bool>,
    pub(super) override_path: bool,
    pub(super) headers: Vec<(String, String)>,
}

impl HostEntry {
    /// What is pulled is also resolved, so that both are needed.
    pub(super) fn can(&self, capability: &str) -> bool {
        let has = |wanted: &str| self.capabilities.iter().any(|known| known == wanted);
        self.capabilities.is_empty()
            || (has(capability) && (capability != "pull" || has("resolve")))
    }
}

/// Reads a file; none if there is none.
pub(super) fn read(path: &Path) -> Result<Option<HostsFile>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text)
        .map(Some)
        .with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<HostsFile> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Error::invalid(error.message().to_owned()))?;
    let mut file = HostsFile::default();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("server", toml::Value::String(server)) => file.server = server,
            ("host", toml::Value::Table(hosts)) => {
                for (url, settings) in hosts {
                    let toml::Value::Table(settings) = settings else {
                        return Err(unknown(&format!("host.{url}")));
                    };
                    let mut entry = HostEntry {
                        url,
                        ..HostEntry::default()
                    };
                    for (key, value) in settings {
                        entry.set(&key, value)?;
                    }
                    file.hosts.push(entry);
                }
            }
            (key, value) => file.defaults.set(key, value)?,
        }
    }
    Ok(file)
}

impl HostEntry {
    fn set(&mut self, key: &str, value: toml::Value) -> Result<()> {
        match (key, value) {
            ("capabilities", value) => self.capabilities = strings(key, value)?,
            ("ca", value) => {
                self.ca = strings(key, value)?
                    .into_iter()
                    .map(PathBuf::from)
                    .collect();
            }
            ("client", value) => self.client = client(value)?,
            ("skip_verify", toml::Value::Boolean(value)) => self.skip_verify = Some(value),
            ("override_path", toml::Value::Boolean(value)) => self.override_path = value,
            ("header", toml::Value::Table(headers)) => {
                for (name, value) in headers {
                    for value in strings(&name, value)? {
                        self.headers.push((name.clone(), value));
                    }
                }
            }
            (key, _) => return Err(unknown(key)),
        }
        Ok(())
    }
}

fn unknown(key: &str) -> Error {
    Error::invalid(format!(
        "the key {key:?} is not supported, or has the wrong type"
    ))
}

fn strings(key: &str, value: toml::Value) -> Result<Vec<String>> {
    match value {
        toml::Value::String(one) => Ok(vec![one]),
        toml::Value::Array(many) => many
            .into_iter()
            .map(|value| match value {
                toml::Value::String(text) => Ok(text),
                _ => Err(unknown(key)),
            })
            .collect(),
        _ => Err(unknown(key)),
    }
}

/// A file with both, `[certificate, key]`, or a list with one such pair.
fn client(value: toml::Value) -> Result<Option<(PathBuf, Option<PathBuf>)>> {
    let value = match value {
        toml::Value::Array(mut pairs)
            if pairs.len() == 1 && matches!(pairs[0], toml::Value::Array(_)) =>
        {
            pairs.remove(0)
        }
        value => value,
    };
    let mut files = strings("client", value)?.into_iter().map(PathBuf::from);
    let pair = files.next().map(|certificate| (certificate, files.next()));
    if files.next().is_some() {
        return Err(Error::invalid(
            "several client certificates are not supported",
        ));
    }
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_containerd_reads() {
        let text = r#"
            server = "https://registry.example"
            ca = "server.pem"
            [host."https://b.example"]
            capabilities = ["pull", "resolve"]
            skip_verify = true
            client = [["c.pem", "k.pem"]]
            [host."https://b.example".header]
            x-one = "1"
            x-two = ["2", "3"]
            [host."https://a.example"]
            capabilities = ["push"]
            override_path = true
        "#;
        let file = parse(text).expect("is valid");
        assert_eq!(file.server, "https://registry.example");
        assert_eq!(file.defaults.ca, [PathBuf::from("server.pem")]);
        let [b, a] = file.hosts.as_slice() else {
            panic!("has two hosts")
        };
        assert_eq!(b.url, "https://b.example");
        assert!(b.can("pull") && !b.can("push") && a.can("push") && !a.can("pull"));
        assert_eq!(
            b.client,
            Some(("c.pem".into(), Some(PathBuf::from("k.pem"))))
        );
        assert_eq!(b.headers.len(), 3);
        assert!(a.override_path);
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = parse("[host.\"https://x\"]\ndial_timeout = \"3s\"").expect_err("is refused");
        assert!(error.message().contains("dial_timeout"), "{error}");
        assert!(parse("server = [").is_err());
    }
}
