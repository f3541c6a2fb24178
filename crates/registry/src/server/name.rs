//! What stands in a request's path: names of repositories, tags and digests, and which endpoint is meant.
//!
//! Everything is checked here, so that no text of a client gets any further. Source: OCI distribution-spec 1.1, "Endpoints".

use super::failure::Failure;
use crate::error_document::code;
use gantry_oci::ContentDigest;
use gantry_oci::reference::tag_is_valid;
use hyper::StatusCode;
use std::fmt;

/// What clients in the field can take for host and name together.
const NAME_LENGTH_MAX: usize = 255;

/// A repository's name in the grammar of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RepositoryName(Box<str>);

impl RepositoryName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() <= NAME_LENGTH_MAX && text.split('/').all(component_is_valid);
        is_valid.then(|| Self(text.into()))
    }
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn component_is_valid(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_in_words =
        bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    ends_in_words
        && bytes.split(|byte| is_word(*byte)).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-')
        })
}

/// How a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestName {
    Tag(String),
    Digest(ContentDigest),
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// The id of an upload, in the form of a UUID. We make them ourselves from random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(Box<str>);

impl UploadId {
    pub(crate) fn from_random(mut bytes: [u8; 16]) -> Self {
        use fmt::Write as _;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(36);
        for (position, byte) in bytes.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(position, byte)| match position {
                    8 | 13 | 18 | 23 => byte == b'-',
                    _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                });
        is_valid.then(|| Self(text.into()))
    }
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which endpoint a path means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/healthz`
    Health,
    Blob(RepositoryName, ContentDigest),
    /// Where uploads begin.
    Uploads(RepositoryName),
    Upload(RepositoryName, UploadId),
    Manifest(RepositoryName, ManifestName),
    Tags(RepositoryName),
    Referrers(RepositoryName, ContentDigest),
}

impl Endpoint {
    /// The repository that is asked for, if one is.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog | Self::Health => None,
            Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Manifest(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    /// Finds the endpoint from the end of the path, since a repository's name has any number of components.
    pub(crate) fn parse(path: &str) -> Result<Self, Failure> {
        match path {
            "/v2/" | "/v2" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/healthz" => return Ok(Self::Health),
            _ => {}
        }
        let rest = path
            .strip_prefix("/v2/")
            .ok_or_else(Failure::no_such_page)?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads(repository(name)?));
        }
        let (before, last) = rest.rsplit_once('/').ok_or_else(Failure::no_such_page)?;
        let last = &decode(last)?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            let name = repository(name)?;
            return match UploadId::parse(last) {
                Some(id) => Ok(Self::Upload(name, id)),
                None => Err(Failure::upload_unknown()),
            };
        }
        if let Some(name) = before.strip_suffix("/blobs") {
            return Ok(Self::Blob(repository(name)?, digest(last)?));
        }
        if let Some(name) = before.strip_suffix("/manifests") {
            return Ok(Self::Manifest(repository(name)?, manifest_name(last)?));
        }
        if let Some(name) = before.strip_suffix("/referrers") {
            return Ok(Self::Referrers(repository(name)?, digest(last)?));
        }
        Err(Failure::no_such_page())
    }
}

/// A digest may come with its colon encoded.
fn decode(text: &str) -> Result<String, Failure> {
    percent_decode(text, false).ok_or_else(Failure::no_such_page)
}

fn repository(text: &str) -> Result<RepositoryName, Failure> {
    let name = percent_decode(text, false).and_then(|name| RepositoryName::parse(&name));
    name.ok_or_else(|| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            code::NAME_INVALID,
            "invalid repository name",
        )
    })
}

pub(crate) fn digest(text: &str) -> Result<ContentDigest, Failure> {
    ContentDigest::parse(text)
        .map_err(|_| Failure::digest_invalid("invalid digest or unsupported algorithm"))
}

fn manifest_name(text: &str) -> Result<ManifestName, Failure> {
    if text.contains(':') {
        return digest(text).map(ManifestName::Digest);
    }
    if tag_is_valid(text) {
        return Ok(ManifestName::Tag(text.to_owned()));
    }
    Err(Failure::new(
        StatusCode::BAD_REQUEST,
        code::MANIFEST_INVALID,
        "invalid tag or digest",
    ))
}

/// Decodes `%41` and, in a query, `+`. None for what is not UTF-8 or not complete.
fn percent_decode(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if is_query => b' ',
            other => other,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

/// The parameters of a request, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// Parameters that one request may have.
const PARAMETERS_MAX: usize = 128;

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut parameters = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent_decode(name, true).zip(percent_decode(value, true));
            parameters.push(decoded.ok_or_else(|| Failure::bad_request("invalid query"))?);
            if parameters.len() > PARAMETERS_MAX {
                return Err(Failure::bad_request("too many parameters"));
            }
        }
        Ok(Self(parameters))
    }
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Encodes a value for a query.
pub(crate) fn percent_encode(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in [
            "a",
            "0",
            "a/b/c",
            "a.b_c__d-e---f",
            "library/busy-box",
            &"a".repeat(255),
        ] {
            assert!(RepositoryName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "a/../b",
            ".",
            "..",
            "a\0",
            "ä",
            "_catalog",
            &"a".repeat(256),
        ] {
            assert!(RepositoryName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn paths_lead_to_endpoints() {
        let hex = "0".repeat(64);
        let digest = ContentDigest::parse(&format!("sha256:{hex}")).expect("is one");
        let name = RepositoryName::parse("a/blobs/b").expect("is one");
        let id = UploadId::from_random([7; 16]);
        let cases = [
            ("/v2/".to_owned(), Endpoint::Base),
            ("/v2/_catalog".to_owned(), Endpoint::Catalog),
            (
                format!("/v2/a/blobs/b/blobs/sha256:{hex}"),
                Endpoint::Blob(name.clone(), digest.clone()),
            ),
            (
                format!("/v2/a/blobs/b/blobs/sha256%3A{hex}"),
                Endpoint::Blob(name.clone(), digest.clone()),
            ),
            (
                "/v2/a/blobs/b/blobs/uploads/".to_owned(),
                Endpoint::Uploads(name.clone()),
            ),
            (
                format!("/v2/a/blobs/b/blobs/uploads/{}", id.as_str()),
                Endpoint::Upload(name.clone(), id),
            ),
            (
                "/v2/a/blobs/b/manifests/latest".to_owned(),
                Endpoint::Manifest(name.clone(), ManifestName::Tag("latest".into())),
            ),
            (
                "/v2/a/blobs/b/tags/list".to_owned(),
                Endpoint::Tags(name.clone()),
            ),
            (
                format!("/v2/a/blobs/b/referrers/sha256:{hex}"),
                Endpoint::Referrers(name, digest),
            ),
        ];
        for (path, endpoint) in cases {
            assert_eq!(Endpoint::parse(&path).expect(&path), endpoint);
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        for (path, status) in [
            ("/", 404),
            ("/v1/x", 404),
            ("/v2/a", 404),
            ("/v2/a/b", 404),
            ("/v2/../x/manifests/t", 400),
            ("/v2/a%2F..%2Fb/manifests/t", 400),
            ("/v2/a/manifests/..", 400),
            ("/v2/a/manifests/%2e%2e%2fx", 400),
            ("/v2/a/manifests/%zz", 404),
            ("/v2/a/blobs/sha256:..", 400),
            ("/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400),
            ("/v2/a/blobs/uploads/../../x", 404),
            ("/v2/A/tags/list", 400),
        ] {
            assert_eq!(
                Endpoint::parse(path).expect_err(path).status.as_u16(),
                status,
                "{path}"
            );
        }
    }

    #[test]
    fn queries_are_decoded_and_encoded() {
        let query = Query::parse("tag=a&tag=b&mount=sha256%3Aab&x&y=a+b").expect("is one");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (query.get("mount"), query.get("x"), query.get("y")),
            (Some("sha256:ab"), Some(""), Some("a b"))
        );
        assert!(Query::parse("a=%f").is_err() && Query::parse("a=%ff").is_err());
        assert_eq!(percent_encode("a b&c/ä"), "a%20b%26c/%C3%A4");
    }
}
