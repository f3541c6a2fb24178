//! Digests of content in a registry, which may be SHA-256 or SHA-512, and how they are computed.
//!
//! Images on this machine are named by [`crate::Digest`] alone. Source: OCI image specification, descriptor.md, "Digests".

use crate::Digest;
use gantry_base::{Error, Result};
use sha2::Digest as _;
use std::fmt;

/// A registered algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// What everybody uses.
    Sha256,
    /// The other one that the specification registers.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
    /// The algorithm of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// An algorithm, a colon, and lower-case hexadecimal digits of the right number: safe as the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentDigest(Box<str>);

impl ContentDigest {
    /// Parses the text form.
    ///
    /// # Errors
    /// `invalid digest` for any other algorithm, length or case.
    pub fn parse(text: &str) -> Result<Self> {
        let is_valid = text.split_once(':').is_some_and(|(name, hex)| {
            Algorithm::parse(name).is_some_and(|algorithm| hex.len() == algorithm.hex_length())
                && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if !is_valid {
            return Err(Error::invalid(format!("invalid digest {text:?}")));
        }
        Ok(Self(text.into()))
    }
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }
    /// What it was computed with.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512") {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        }
    }
    /// With the algorithm.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The digits alone.
    pub fn hex(&self) -> &str {
        self.0
            .split_once(':')
            .expect("every constructor writes a colon")
            .1
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Digest> for ContentDigest {
    fn from(digest: Digest) -> Self {
        Self(digest.as_str().into())
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub enum ContentHasher {
    /// With SHA-256.
    Sha256(sha2::Sha256),
    /// With SHA-512.
    Sha512(Box<sha2::Sha512>),
}

impl ContentHasher {
    /// One that has seen nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }
    /// What it computes with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }
    /// The digest of everything taken.
    pub fn finish(self) -> ContentDigest {
        use fmt::Write as _;
        let algorithm = self.algorithm();
        let mut text = String::with_capacity(algorithm.hex_length() + 7);
        text.push_str(algorithm.as_str());
        text.push(':');
        let mut digits = |raw: &[u8]| {
            for byte in raw {
                let _ = write!(text, "{byte:02x}");
            }
        };
        match self {
            Self::Sha256(hash) => digits(&hash.finalize()),
            Self::Sha512(hash) => digits(&hash.finalize()),
        }
        ContentDigest(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_are_computed_and_read_back() {
        for (algorithm, start) in [
            (Algorithm::Sha256, "sha256:e3b0c44298fc1c14"),
            (Algorithm::Sha512, "sha512:cf83e1357eefb8bd"),
        ] {
            let digest = ContentDigest::of(algorithm, b"");
            assert!(digest.as_str().starts_with(start), "{digest}");
            assert_eq!(digest.algorithm(), algorithm);
            assert_eq!(
                ContentDigest::parse(digest.as_str()).expect("is its own form"),
                digest
            );
            assert!(ContentDigest::parse(&digest.as_str().to_uppercase()).is_err());
            assert!(ContentDigest::parse(&digest.as_str()[..70]).is_err());
        }
        for bad in ["", "sha256:", "sha512:../../x", "md5:00", "sha256:\u{e9}"] {
            assert!(ContentDigest::parse(bad).is_err(), "{bad}");
        }
    }
}
