//! Manifests: reading, pushing, deleting.

use super::{CONTENT_DIGEST, Request, blocking, empty, is_unmodified, set};
use crate::error_document::code;
use crate::server::App;
use crate::server::body::{Body, Response};
use crate::server::catalog::NewManifest;
use crate::server::failure::Failure;
use crate::server::manifest;
use crate::server::name::{ManifestName, RepositoryName};
use crate::server::storage::now_s;
use bytes::Bytes;
use gantry_base::Error;
use gantry_oci::ContentDigest;
use gantry_oci::content_digest::Algorithm;
use gantry_oci::reference::tag_is_valid;
use http_body_util::{BodyExt as _, Limited};
use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// Tags that one push may set.
const TAGS_MAX: usize = 64;

pub(super) async fn answer(
    app: &Arc<App>,
    request: Request,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, Failure> {
    match request.method {
        Method::GET | Method::HEAD => get(app, &request, repository, name).await,
        Method::PUT => put(app, request, repository, name).await,
        Method::DELETE => delete(app, repository, name).await,
        _ => Err(Failure::method_not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

async fn get(
    app: &Arc<App>,
    request: &Request,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, Failure> {
    if let Some(upstream) = &app.upstream {
        upstream.refresh_manifest(app, &repository, &name).await?;
    }
    let storage = app.storage.clone();
    let (owner, wanted) = (repository.clone(), name.clone());
    let found = blocking(move || {
        let Some(stored) = storage.catalog.manifest(&owner, &wanted)? else {
            return Ok(None);
        };
        let path = storage.content.path(&stored.digest);
        let bytes = std::fs::read(&path)?;
        if ContentDigest::of(stored.digest.algorithm(), &bytes) != stored.digest {
            return Err(Error::internal(format!("{} is damaged", path.display())));
        }
        Ok(Some((stored, bytes)))
    });
    let (stored, bytes) = found
        .await?
        .ok_or_else(|| Failure::manifest_unknown(&name))?;
    let etag = format!("\"{}\"", stored.digest);
    let mut response = empty(StatusCode::OK);
    set(&mut response, header::ETAG, &etag);
    set(&mut response, CONTENT_DIGEST, stored.digest.as_str());
    if is_unmodified(request, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(&mut response, header::CONTENT_TYPE, &stored.media_type);
    set(
        &mut response,
        header::CONTENT_LENGTH,
        &bytes.len().to_string(),
    );
    if !request.is_head() {
        *response.body_mut() = Body::full(bytes);
    }
    Ok(response)
}

async fn put(
    app: &Arc<App>,
    request: Request,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, Failure> {
    app.check_writing()?;
    let tags = tags(&request, &name)?;
    let content_type = request
        .header(&header::CONTENT_TYPE)
        .unwrap_or_default()
        .to_owned();
    let bytes = read(app, request).await?;
    let digest = match &name {
        ManifestName::Digest(expected) => {
            let digest = ContentDigest::of(expected.algorithm(), &bytes);
            if digest != *expected {
                return Err(Failure::digest_invalid(&format!(
                    "digest did not match: got {digest}, expected {expected}"
                )));
            }
            digest
        }
        ManifestName::Tag(_) => ContentDigest::of(Algorithm::Sha256, &bytes),
    };
    let mut new = manifest::parse(&bytes, &content_type, digest)?;
    new.tags.clone_from(&tags);
    if app.options.allow_sparse_indexes {
        let children = new.manifests.drain(..).map(|(digest, _)| digest);
        new.optional.extend(children);
    }
    record(app, &repository, &new, bytes).await?;
    let mut response = empty(StatusCode::CREATED);
    let location = format!("/v2/{repository}/manifests/{name}");
    set(&mut response, header::LOCATION, &location);
    set(&mut response, CONTENT_DIGEST, new.digest.as_str());
    set(&mut response, header::CONTENT_LENGTH, "0");
    if let Some(subject) = &new.subject {
        let name = HeaderName::from_static("oci-subject");
        set(&mut response, name, subject.as_str());
    }
    if matches!(name, ManifestName::Digest(_)) && !tags.is_empty() {
        let name = HeaderName::from_static("oci-tag");
        set(&mut response, name, &tags.join(", "));
    }
    Ok(response)
}

fn tags(request: &Request, name: &ManifestName) -> Result<Vec<String>, Failure> {
    let mut tags: Vec<String> = match name {
        ManifestName::Tag(tag) => vec![tag.clone()],
        ManifestName::Digest(_) => request.query.all("tag").map(str::to_owned).collect(),
    };
    tags.dedup();
    if tags.len() > TAGS_MAX {
        return Err(Failure::new(
            StatusCode::URI_TOO_LONG,
            code::UNSUPPORTED,
            "too many tags",
        ));
    }
    if !tags.iter().all(|tag| tag_is_valid(tag)) {
        return Err(Failure::manifest_invalid("invalid tag"));
    }
    Ok(tags)
}

async fn read(app: &Arc<App>, request: Request) -> Result<Bytes, Failure> {
    let most = app.options.manifest_bytes_max;
    let too_large = || Failure::too_large(code::MANIFEST_INVALID, most as u64);
    if request
        .content_length()
        .is_some_and(|length| length > most as u64)
    {
        return Err(too_large());
    }
    let collected = Limited::new(request.body, most).collect();
    match tokio::time::timeout(app.options.stall_timeout, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) | Err(_) => Err(Failure::size_invalid("the request's body broke off")),
    }
}

async fn record(
    app: &Arc<App>,
    repository: &RepositoryName,
    new: &NewManifest,
    bytes: Bytes,
) -> Result<(), Failure> {
    let (storage, repository, new) = (app.storage.clone(), repository.clone(), new.clone());
    let missing = blocking(move || {
        // Asked twice: a file is written only for what is likely to be recorded.
        let missing = storage.catalog.missing(&repository, &new)?;
        if !missing.is_empty() {
            return Ok(missing);
        }
        storage.put(&new.digest, &bytes, || {
            storage.catalog.put_manifest(&repository, &new, now_s())
        })
    })
    .await?;
    let unknown = missing.unknown.iter().map(|digest| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            code::MANIFEST_BLOB_UNKNOWN,
            "manifest references a manifest or blob unknown to registry",
        )
        .detail(json!({"digest": digest.as_str()}))
    });
    let of_other_size = missing.of_other_size.iter().map(|digest| {
        Failure::size_invalid("a descriptor's size is not that of its content")
            .detail(json!({"digest": digest.as_str()}))
    });
    unknown
        .chain(of_other_size)
        .reduce(Failure::and)
        .map_or(Ok(()), Err)
}

async fn delete(
    app: &Arc<App>,
    repository: RepositoryName,
    name: ManifestName,
) -> Result<Response, Failure> {
    app.check_deletion()?;
    let (catalog, owner, wanted) = (
        app.storage.catalog.clone(),
        repository.clone(),
        name.clone(),
    );
    let (is_known, removed) = blocking(move || {
        let removed = catalog.delete_manifest(&owner, &wanted)?;
        Ok((removed || catalog.repository_is_known(&owner)?, removed))
    })
    .await?;
    if removed {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    if is_known {
        return Err(Failure::manifest_unknown(&name));
    }
    Err(Failure::repository_unknown(&repository))
}
