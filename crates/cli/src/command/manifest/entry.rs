//! One image of a list: its manifest, what it is for, and the lists that several make.

use crate::failure::{Failure, Outcome};
use crate::json_text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_oci::image::{Descriptor, Manifest, media_type};
use gantry_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// In the form of docker's files and of `inspect --verbose`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    #[serde(rename = "Ref")]
    pub(super) reference: String,
    pub(super) descriptor: Descriptor,
    /// The manifest's bytes in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    raw: String,
    #[serde(rename = "SchemaV2Manifest", skip_serializing_if = "Option::is_none")]
    docker: Option<Box<RawValue>>,
    #[serde(rename = "OCIManifest", skip_serializing_if = "Option::is_none")]
    oci: Option<Box<RawValue>>,
}

impl Entry {
    pub(super) fn new(reference: String, descriptor: Descriptor, bytes: &[u8]) -> Outcome<Self> {
        let raw = STANDARD.encode(bytes);
        let parsed: Box<RawValue> = serde_json::from_slice(bytes)
            .map_err(|error| Failure::new(format!("{reference}: {error}")))?;
        let (docker, oci) = if descriptor.media_type == media_type::DOCKER_MANIFEST {
            (Some(parsed), None)
        } else {
            (None, Some(parsed))
        };
        Ok(Self {
            reference,
            descriptor,
            raw,
            docker,
            oci,
        })
    }

    /// The manifest, byte for byte.
    pub(super) fn bytes(&self) -> Outcome<Vec<u8>> {
        let parsed = self.docker.as_ref().or(self.oci.as_ref());
        let bytes = match (self.raw.as_str(), parsed) {
            ("", Some(parsed)) => Some(parsed.get().as_bytes().to_vec()),
            (raw, _) => STANDARD.decode(raw).ok(),
        };
        // Older programs kept no bytes: what they kept may not be what the digest is of.
        bytes
            .filter(|bytes| Digest::of(bytes) == self.descriptor.digest)
            .ok_or_else(|| {
                Failure::new(format!(
                    "the manifest of {} that was kept is damaged",
                    self.reference
                ))
            })
    }

    pub(super) fn manifest(&self) -> Outcome<Manifest> {
        serde_json::from_slice(&self.bytes()?)
            .map_err(|error| Failure::new(format!("{}: {error}", self.reference)))
    }

    pub(super) fn platform(&mut self) -> &mut Platform {
        self.descriptor.platform.get_or_insert_default()
    }
}

/// As Go writes it: one line.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Outcome<String> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
    let mut escaped = String::with_capacity(text.len());
    for character in json_text::compact(&text).chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

/// A list as docker writes it: its digest depends on every space.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Item<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a Digest,
    platform: &'a Platform,
}

/// The list of these images, and its media type.
pub(super) fn list(entries: &[Entry]) -> Outcome<(&'static str, String)> {
    let is_oci = entries
        .iter()
        .all(|entry| entry.descriptor.media_type == media_type::MANIFEST);
    let kind = if is_oci {
        media_type::INDEX
    } else {
        media_type::DOCKER_LIST
    };
    let mut manifests = Vec::new();
    for Entry {
        reference,
        descriptor,
        ..
    } in entries
    {
        let platform = descriptor.platform.as_ref();
        let platform = platform
            .filter(|platform| !platform.os.is_empty() && !platform.architecture.is_empty())
            .ok_or_else(|| {
                Failure::new(format!(
                    "manifest {reference} must have an OS and Architecture to be pushed to a registry"
                ))
            })?;
        manifests.push(Item {
            media_type: &descriptor.media_type,
            size: descriptor.size,
            digest: &descriptor.digest,
            platform,
        });
    }
    let list = List {
        schema_version: 2,
        media_type: kind,
        manifests,
    };
    Ok((kind, json_text::indent_with(&to_json(&list)?, "   ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, architecture: &str) -> Entry {
        let bytes = b"{\"a\": \"<b>\"}\n";
        let descriptor = Descriptor {
            media_type: kind.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            urls: Vec::new(),
            annotations: indexmap::IndexMap::new(),
            platform: Some(Platform {
                os: "linux".into(),
                architecture: architecture.into(),
                ..Platform::default()
            }),
        };
        Entry::new("h/a:1".into(), descriptor, bytes).expect("is JSON")
    }

    #[test]
    fn an_entry_keeps_its_bytes_and_is_written_as_go_writes_it() {
        let made = entry(media_type::MANIFEST, "amd64");
        let text = to_json(&made).expect("is written");
        assert!(
            text.contains(r#""OCIManifest":{"a":"\u003cb\u003e"}"#),
            "{text}"
        );
        let read: Entry = serde_json::from_str(&text).expect("is read");
        assert_eq!(read.bytes().expect("are whole"), b"{\"a\": \"<b>\"}\n");
        let mut other = read;
        other.raw = STANDARD.encode("{}");
        assert!(other.bytes().is_err());
    }

    #[test]
    fn a_list_is_one_of_the_kind_of_its_images() {
        let oci = entry(media_type::MANIFEST, "amd64");
        let docker = entry(media_type::DOCKER_MANIFEST, "arm64");
        let (kind, text) = list(std::slice::from_ref(&oci)).expect("is made");
        assert_eq!(kind, media_type::INDEX);
        assert!(text.starts_with("{\n   \"schemaVersion\": 2,\n   \"mediaType\": "));
        assert_eq!(
            list(&[oci, docker]).expect("is made").0,
            media_type::DOCKER_LIST
        );
        let nothing = entry(media_type::MANIFEST, "");
        assert!(list(&[nothing]).is_err());
    }
}
