//! An image's manifest, or all those of a list, from a registry.

use super::entry::Entry;
use crate::credentials;
use crate::failure::{Failure, Outcome};
use crate::remote::{Document, Login, Opening, Remote};
use crate::session::Session;
use gantry_base::ErrorKind;
use gantry_oci::image::{Descriptor, Index, Manifest, media_type};
use gantry_oci::{Platform, Reference};

/// Lists are short; what claims to be a longer one is none.
const LIST_LENGTH_MAX: usize = 1000;

/// How a registry is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
}

/// What a name stands for in a registry.
pub(super) enum Found {
    Image(Box<Entry>),
    List(Vec<Entry>),
}

pub(super) fn open(
    session: &Session,
    reference: &Reference,
    is_insecure: bool,
    purpose: Purpose,
) -> Outcome<Box<dyn Remote>> {
    let server = credentials::server_of(&reference.domain);
    let found = credentials::get(session.config(), server)?;
    let login = Login {
        username: found.username,
        password: found.password,
        identity_token: found.identity_token,
        registry_token: found.registry_token,
    };
    let opening = Opening {
        reference,
        login,
        is_insecure,
        is_push: purpose == Purpose::Write,
    };
    Ok(session.registries()?.open(&opening)?)
}

pub(super) async fn fetch(
    session: &Session,
    reference: &Reference,
    is_insecure: bool,
) -> Outcome<Found> {
    let remote = open(session, reference, is_insecure, Purpose::Read)?;
    let root = manifest(&*remote, reference).await?;
    if !is_list(&root.media_type) {
        let entry = entry(&*remote, reference.to_string(), root, None).await?;
        return Ok(Found::Image(Box::new(entry)));
    }
    let index: Index = parse(reference, &root.bytes)?;
    if index.manifests.len() > LIST_LENGTH_MAX {
        return Err(Failure::new(format!("{reference}: the list is too long")));
    }
    let mut entries = Vec::new();
    for listed in index.manifests {
        if is_list(&listed.media_type) {
            return Err(Failure::new(format!(
                "{reference}: lists within lists are not supported"
            )));
        }
        let child = Reference {
            digest: Some(listed.digest.clone()),
            ..reference.clone()
        };
        let document = manifest(&*remote, &child).await?;
        let name = format!("{reference}@{}", listed.digest);
        entries.push(entry(&*remote, name, document, Some(listed)).await?);
    }
    Ok(Found::List(entries))
}

fn is_list(kind: &str) -> bool {
    matches!(kind, media_type::INDEX | media_type::DOCKER_LIST)
}

async fn manifest(remote: &dyn Remote, reference: &Reference) -> Outcome<Document> {
    remote.manifest(reference).await.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            Failure::new(format!("no such manifest: {reference}"))
        } else {
            error.into()
        }
    })
}

/// With the platform that the list says, or else the image's config.
async fn entry(
    remote: &dyn Remote,
    name: String,
    document: Document,
    listed: Option<Descriptor>,
) -> Outcome<Entry> {
    let listed = listed.and_then(|listed| listed.platform);
    let platform = if let Some(platform) = listed {
        platform
    } else {
        let manifest: Manifest = parse(&name, &document.bytes)?;
        let config = remote.config(&manifest.config).await?;
        parse::<Platform>(&name, &config)?
    };
    let descriptor = Descriptor {
        media_type: document.media_type,
        digest: document.digest,
        size: document.bytes.len() as u64,
        urls: Vec::new(),
        annotations: indexmap::IndexMap::new(),
        platform: Some(platform),
    };
    Entry::new(name, descriptor, &document.bytes)
}

fn parse<T: serde::de::DeserializeOwned>(
    name: &impl std::fmt::Display,
    bytes: &[u8],
) -> Outcome<T> {
    serde_json::from_slice(bytes).map_err(|error| Failure::new(format!("{name}: {error}")))
}
