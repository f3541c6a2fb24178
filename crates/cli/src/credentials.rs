//! Credentials of registries: in Docker's configuration file, or in a program `docker-credential-…` that it names.
//!
//! Only what is asked for is changed in the file; everything else in it stays. Source: the keys `auths`, `credsStore` and
//! `credHelpers` of Docker's config.json; the protocol of docker-credential-helpers.

use crate::config_file::{AuthConfig, ConfigFile};
use crate::failure::{Failure, Outcome};
use base64::Engine as _;
use gantry_oci::reference::DEFAULT_DOMAIN;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The name under which Docker keeps the credentials of its own registry.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// What a program says when it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The name of a user whose secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Credentials of one registry, as they travel to the daemon.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Credentials {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) password: String,
    #[serde(rename = "serveraddress", skip_serializing_if = "String::is_empty")]
    pub(crate) server: String,
    #[serde(rename = "identitytoken", skip_serializing_if = "String::is_empty")]
    pub(crate) identity_token: String,
    #[serde(rename = "registrytoken", skip_serializing_if = "String::is_empty")]
    pub(crate) registry_token: String,
}

/// What a program is told, and tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    #[serde(rename = "Secret")]
    password: String,
}

impl Credentials {
    /// The value of `X-Registry-Auth`.
    pub(crate) fn header(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE.encode(json)
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }
}

/// The server whose credentials are for this part of a reference.
pub(crate) fn server_of(domain: &str) -> &str {
    if domain == DEFAULT_DOMAIN {
        HUB
    } else {
        domain
    }
}

/// `host:port` of a server as users and files have it.
pub(crate) fn host_of(server: &str) -> &str {
    let bare = server
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    bare.split('/').next().unwrap_or_default()
}

/// The credentials for a server; empty where there are none.
///
/// # Errors
/// A file or program that cannot be understood.
pub(crate) fn get(config: &ConfigFile, server: &str) -> Outcome<Credentials> {
    if let Some(program) = program_for(config, server) {
        return get_from_program(&program, server);
    }
    let auths = &config.auths;
    let found = auths.get(server).or_else(|| {
        let same = |name: &str| host_of(name) == host_of(server);
        auths
            .iter()
            .find(|(name, _)| same(name))
            .map(|(_, auth)| auth)
    });
    found.map_or_else(|| Ok(Credentials::default()), |auth| decoded(auth, server))
}

fn decoded(auth: &AuthConfig, server: &str) -> Outcome<Credentials> {
    let mut credentials = Credentials {
        server: server.to_owned(),
        identity_token: auth.identity_token.clone(),
        registry_token: auth.registry_token.clone(),
        ..Credentials::default()
    };
    if !auth.auth.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(&auth.auth)
            .ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or_else(|| {
                Failure::new(format!(
                    "invalid auth configuration file: credentials of {server}"
                ))
            })?;
        user.clone_into(&mut credentials.username);
        password
            .trim_end_matches('\0')
            .clone_into(&mut credentials.password);
    }
    Ok(credentials)
}

/// Keeps credentials; gives whether they lie in the file, where everybody who reads it can read them.
///
/// # Errors
/// A file or program that takes nothing.
pub(crate) fn store(
    config: &ConfigFile,
    directory: &Path,
    credentials: &Credentials,
) -> Outcome<bool> {
    let server = &credentials.server;
    if let Some(program) = program_for(config, server) {
        let (username, password) = if credentials.identity_token.is_empty() {
            (credentials.username.clone(), credentials.password.clone())
        } else {
            (TOKEN_USER.to_owned(), credentials.identity_token.clone())
        };
        let secret = Secret {
            server_url: server.clone(),
            username,
            password,
        };
        let input = serde_json::to_string(&secret).unwrap_or_default();
        run(&program, "store", &input)?;
        change_file(directory, |auths| {
            auths.insert(server.clone(), Value::Object(Map::new()));
        })?;
        return Ok(false);
    }
    let mut entry = Map::new();
    if !credentials.username.is_empty() {
        let pair = format!("{}:{}", credentials.username, credentials.password);
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        entry.insert("auth".into(), encoded.into());
    }
    if !credentials.identity_token.is_empty() {
        let token = credentials.identity_token.clone();
        entry.insert("identitytoken".into(), token.into());
    }
    change_file(directory, |auths| {
        auths.insert(server.clone(), Value::Object(entry));
    })?;
    Ok(true)
}

/// Forgets the credentials of a server.
///
/// # Errors
/// A file or program that cannot be changed.
pub(crate) fn erase(config: &ConfigFile, directory: &Path, server: &str) -> Outcome {
    if let Some(program) = program_for(config, server) {
        run(&program, "erase", server)?;
    }
    if config.auths.contains_key(server) {
        change_file(directory, |auths| {
            auths.remove(server);
        })?;
    }
    Ok(())
}

/// The program for a server: its own, or the one for all.
fn program_for(config: &ConfigFile, server: &str) -> Option<String> {
    let own = config
        .cred_helpers
        .get(server)
        .or_else(|| config.cred_helpers.get(host_of(server)));
    let name = own.unwrap_or(&config.creds_store);
    (!name.is_empty() && !name.contains('/')).then(|| format!("docker-credential-{name}"))
}

fn get_from_program(program: &str, server: &str) -> Outcome<Credentials> {
    let text = match run(program, "get", server) {
        Ok(text) => text,
        Err(failure) if failure.message.contains(NOT_FOUND) => return Ok(Credentials::default()),
        Err(failure) => return Err(failure),
    };
    let found: Secret = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("error getting credentials - err: {error}, out: ``"))
    })?;
    let mut credentials = Credentials {
        server: server.to_owned(),
        ..Credentials::default()
    };
    if found.username == TOKEN_USER {
        credentials.identity_token = found.password;
    } else {
        credentials.username = found.username;
        credentials.password = found.password;
    }
    Ok(credentials)
}

fn run(program: &str, action: &str, input: &str) -> Outcome<String> {
    let verb = match action {
        "get" => "getting",
        "store" => "storing",
        _ => "erasing",
    };
    let failure = |error: &dyn std::fmt::Display, output: &str| {
        Failure::new(format!(
            "error {verb} credentials - err: {error}, out: `{output}`"
        ))
    };
    let mut child = Command::new(program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| {
            let error = gantry_base::Error::from(error);
            failure(&format!("exec: \"{program}\": {error}"), "")
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read its input says itself what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failure(&gantry_base::Error::from(error), ""))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(text);
    }
    let status = output.status.code().unwrap_or(-1);
    Err(failure(&format!("exit status {status}"), &text))
}

/// Changes `auths` in the file and writes it whole, so that no reader sees half of it.
fn change_file(directory: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Outcome {
    let path = directory.join("config.json");
    let failure = |error: std::io::Error| {
        let error = gantry_base::Error::from(error);
        Failure::new(format!(
            "Error saving credentials: open {}: {error}",
            path.display()
        ))
    };
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(failure)?,
    };
    let mut document: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(&text).map_err(|error| failure(error.into()))?
    };
    let auths = document
        .entry("auths")
        .or_insert_with(|| Value::Object(Map::new()));
    if !auths.is_object() {
        *auths = Value::Object(Map::new());
    }
    if let Value::Object(auths) = auths {
        change(auths);
    }
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    document
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes, formatter,
        ))
        .map_err(|error| failure(error.into()))?;
    // A link is followed: the file behind it is replaced, not the link.
    let target = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    write_private(directory, &target, &bytes).map_err(failure)
}

fn write_private(directory: &Path, target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let temporary = target.with_extension(format!("json{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, target));
    if written.is_err() {
        // The first failure is what counts.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_kept_beside_what_else_is_in_the_file() {
        let directory = tempfile::tempdir().expect("is made");
        let path = directory.path().join("config.json");
        std::fs::write(&path, r#"{"psFormat":"x","auths":{"a":{"auth":"eA=="}}}"#)
            .expect("is written");
        let credentials = Credentials {
            username: "me".into(),
            password: "secret".into(),
            server: "r.example".into(),
            ..Credentials::default()
        };
        let config = ConfigFile::read(directory.path());
        assert!(store(&config, directory.path(), &credentials).is_ok_and(|is_plain| is_plain));
        let config = ConfigFile::read(directory.path());
        assert_eq!(config.ps_format, "x");
        assert!(get(&config, "r.example").is_ok_and(|found| found == credentials));
        assert!(get(&config, "https://r.example/v2/").is_ok_and(|found| found.username == "me"));
        assert!(get(&config, "other").is_ok_and(|found| found.is_empty()));
        erase(&config, directory.path(), "r.example").expect("is changed");
        let config = ConfigFile::read(directory.path());
        assert_eq!(config.auths.len(), 1);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).expect("is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn they_travel_as_url_safe_base64() {
        let credentials = Credentials {
            username: "me".into(),
            password: "secret".into(),
            server: "r.example".into(),
            ..Credentials::default()
        };
        let json = base64::engine::general_purpose::URL_SAFE
            .decode(credentials.header())
            .expect("is base64");
        let json: Value = serde_json::from_slice(&json).expect("is JSON");
        let expected = serde_json::json!({"username": "me", "password": "secret", "serveraddress": "r.example"});
        assert_eq!(json, expected);
    }
}
