//! A version of the Engine API, such as 1.43, and the range that we speak.

use std::fmt;
use std::str::FromStr;

/// The newest version that the server offers and the client asks for.
pub const MAX_VERSION: ApiVersion = ApiVersion::new(1, 55);
/// The oldest version that the server answers.
pub const MIN_VERSION: ApiVersion = ApiVersion::new(1, 12);

/// A version of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// Grows with each change of the API.
    pub minor: u16,
}

impl ApiVersion {
    /// `major.minor`
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is not of the form `1.43`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidVersion;

impl fmt::Display for InvalidVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid API version")
    }
}

impl std::error::Error for InvalidVersion {}

impl FromStr for ApiVersion {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            part.parse().ok().filter(|_| digits).ok_or(InvalidVersion)
        };
        let (major, minor) = text.split_once('.').ok_or(InvalidVersion)?;
        Ok(Self::new(number(major)?, number(minor)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let parse = |text: &str| text.parse::<ApiVersion>();
        assert!(parse("1.9").ok() < parse("1.24").ok());
        assert_eq!(parse("1.55").map(|v| v.to_string()).as_deref(), Ok("1.55"));
        for bad in [
            "",
            "1",
            "1.",
            ".1",
            "v1.2",
            "1.2.3",
            "+1.2",
            "1.-2",
            "1.99999999",
        ] {
            assert_eq!(parse(bad), Err(InvalidVersion), "{bad:?}");
        }
    }
}
