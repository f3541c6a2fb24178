//! Identifiers and names as types whose constructors parse, so that no unchecked text becomes a path or a key.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! hex_id {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The id of ", $what, ": 64 lower-case hexadecimal digits.")]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The id of 32 random bytes. Redrawn until the short form is not all digits, as a host name must not be a number.
            pub fn from_random(mut random: impl FnMut() -> [u8; 32]) -> Self {
                loop {
                    let text: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
                    if text[..12].bytes().any(|byte| byte.is_ascii_alphabetic()) {
                        return Self(text.into());
                    }
                }
            }
            /// Takes exactly 64 lower-case hexadecimal digits.
            pub fn parse(text: &str) -> Result<Self> {
                if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    Ok(Self(text.into()))
                } else {
                    Err(Error::invalid(format!("invalid id {text:?}")))
                }
            }
            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The first 12 digits, as lists show them.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }
    };
}

hex_id!(ContainerId, "a container");
hex_id!(ExecId, "a process started in a container by exec");
hex_id!(NetworkId, "a network");

/// A container's name without the leading slash: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(Box<str>);

impl ContainerName {
    /// Takes a name with or without the leading slash.
    ///
    /// # Errors
    /// Docker's text for names that do not match the pattern.
    pub fn parse(text: &str) -> Result<Self> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        if first
            && name.len() >= 2
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        {
            return Ok(Self(name.into()));
        }
        Err(Error::invalid(format!(
            "Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )))
    }
    /// The name without a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> String {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_pattern() {
        assert_eq!(
            ContainerName::parse("/web_1.a-b")
                .expect("is valid")
                .as_str(),
            "web_1.a-b"
        );
        for bad in ["", "/", "a", "-a", "a b", "a/b", "ä1", "a\n"] {
            assert!(ContainerName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn short_ids_are_never_all_digits() {
        let mut draws = [[0x11; 32], [0xab; 32]].into_iter();
        let id = ContainerId::from_random(|| draws.next().expect("two draws are enough"));
        assert_eq!(id.short(), "abababababab");
        assert!(ContainerId::parse("AB").is_err());
    }
}
