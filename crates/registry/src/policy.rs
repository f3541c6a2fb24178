//! Which images must be signed, and by whom: a file of rules for repositories.
//!
//! `{"default": {"type": "accept"}, "repositories": {"registry.example/team": {"type": "signed", "keys": ["/etc/…/team.pub"]}}}`.
//! A rule holds for the repository that it names and for all below it; the longest name wins.

use crate::public_key::PublicKey;
use gantry_base::{Context, Error, Result};
use gantry_oci::Reference;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All rules.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    default: Rule,
    repositories: BTreeMap<String, Rule>,
}

/// What holds for a repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Rule {
    /// Everything is taken.
    #[default]
    Accept,
    /// Nothing is taken.
    Reject,
    /// What one of these keys has signed is taken.
    Signed(Vec<TrustedKey>),
}

/// A key, and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedKey {
    /// The file.
    pub file: PathBuf,
    /// The key.
    pub key: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: RuleDocument,
    #[serde(default)]
    repositories: BTreeMap<String, RuleDocument>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum RuleDocument {
    Accept {},
    Reject {},
    Signed { keys: Vec<PathBuf> },
}

impl Policy {
    /// Reads a file of rules, and the keys that it names.
    ///
    /// # Errors
    /// When one cannot be read, is not understood, or a rule has no key: nothing is guessed.
    pub fn open(path: &Path) -> Result<Self> {
        let read = || format!("cannot read the signature policy {}", path.display());
        let text = std::fs::read_to_string(path).with_context(read)?;
        Self::parse(&text).with_context(read)
    }

    fn parse(text: &str) -> Result<Self> {
        let document: Document =
            serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
        let mut policy = Self {
            default: rule(document.default)?,
            repositories: BTreeMap::new(),
        };
        for (name, document) in document.repositories {
            // A name that no reference can have would be a rule that never holds.
            let full = full_name(&name)?;
            let rule = rule(document).with_context(|| name.clone())?;
            policy.repositories.insert(full, rule);
        }
        Ok(policy)
    }

    /// The rule for what has no name.
    pub fn default_rule(&self) -> &Rule {
        &self.default
    }

    /// The rule for the repository of a reference.
    pub fn rule(&self, reference: &Reference) -> &Rule {
        let full = reference.full_name();
        let mut name = full.as_str();
        loop {
            if let Some(rule) = self.repositories.get(name) {
                return rule;
            }
            match name.rsplit_once('/') {
                Some((above, _)) => name = above,
                None => return &self.default,
            }
        }
    }
}

/// `busybox` means Docker Hub's; a host alone means everything on it.
fn full_name(name: &str) -> Result<String> {
    let port = name.split_once(':').map(|(_, port)| port.parse::<u16>());
    let is_host = !name.contains('/')
        && port.as_ref().is_none_or(Result::is_ok)
        && (name.contains('.') || port.is_some() || name == "localhost");
    if is_host {
        return Ok(name.to_owned());
    }
    let reference = Reference::parse(name).with_context(|| format!("{name:?}"))?;
    if reference.tag.is_some() || reference.digest.is_some() {
        return Err(Error::invalid(format!("{name:?} is not a repository")));
    }
    Ok(reference.full_name())
}

fn rule(document: RuleDocument) -> Result<Rule> {
    let files = match document {
        RuleDocument::Accept {} => return Ok(Rule::Accept),
        RuleDocument::Reject {} => return Ok(Rule::Reject),
        RuleDocument::Signed { keys } => keys,
    };
    let mut keys = Vec::new();
    for file in files {
        let read = || format!("cannot read {}", file.display());
        let pem = std::fs::read(&file).with_context(read)?;
        for key in PublicKey::all_from_pem(&pem).with_context(read)? {
            keys.push(TrustedKey {
                file: file.clone(),
                key,
            });
        }
    }
    if keys.is_empty() {
        return Err(Error::invalid("a rule of the type signed needs keys"));
    }
    Ok(Rule::Signed(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins() {
        let policy = Policy::parse(
            r#"{"default": {"type": "reject"}, "repositories": {
                "docker.io": {"type": "accept"}, "evil": {"type": "reject"},
                "registry.example:5000/team": {"type": "accept"}, "registry.example:5000/team/old": {"type": "reject"}}}"#,
        )
        .expect("is read");
        for (name, rule) in [
            ("busybox", Rule::Accept),
            ("evil:1", Rule::Reject),
            ("evil/twin", Rule::Accept),
            ("registry.example:5000/team/app:1", Rule::Accept),
            ("registry.example:5000/team", Rule::Accept),
            ("registry.example:5000/teamwork", Rule::Reject),
            ("registry.example:5000/team/old/x", Rule::Reject),
            ("other.example/x", Rule::Reject),
        ] {
            let reference = Reference::parse(name).expect("is one");
            assert_eq!(*policy.rule(&reference), rule, "{name}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        for bad in [
            "",
            "{}",
            r#"{"default": {"type": "maybe"}}"#,
            r#"{"default": {"type": "signed", "keys": []}}"#,
            r#"{"default": {"type": "signed"}}"#,
            r#"{"default": {"type": "signed", "keys": ["/does/not/exist"]}}"#,
            r#"{"default": {"type": "accept", "keys": []}}"#,
            r#"{"default": {"type": "accept"}, "extra": 1}"#,
            r#"{"default": {"type": "accept"}, "repositories": {"A b": {"type": "reject"}}}"#,
            r#"{"default": {"type": "accept"}, "repositories": {"a:tag": {"type": "reject"}}}"#,
        ] {
            assert!(Policy::parse(bad).is_err(), "{bad}");
        }
    }
}
