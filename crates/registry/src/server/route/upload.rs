//! Pushing blobs: in one request, in two, in chunks, or by naming a repository that has it.

use super::{CONTENT_DIGEST, Request, blocking, empty, set};
use crate::error_document::code;
use crate::server::App;
use crate::server::auth::{Access, Action};
use crate::server::body::Response;
use crate::server::failure::Failure;
use crate::server::name::{self, RepositoryName, UploadId};
use crate::server::range;
use crate::server::storage::{new_upload_id, now_s};
use crate::server::upload::Turn;
use gantry_base::ErrorKind;
use gantry_oci::ContentDigest;
use gantry_oci::content_digest::Algorithm;
use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};
use std::sync::Arc;

/// `POST …/blobs/uploads/`
pub(super) async fn begin(
    app: &Arc<App>,
    request: Request,
    repository: RepositoryName,
) -> Result<Response, Failure> {
    if request.method != Method::POST {
        return Err(Failure::method_not_allowed("POST"));
    }
    app.check_writing()?;
    if let Some(text) = request.query.get("mount") {
        let digest = name::digest(text)?;
        if mount(app, &request, &repository, &digest).await? {
            return Ok(created(&repository, &digest));
        }
    }
    let digest = request.query.get("digest").map(name::digest).transpose()?;
    let algorithm = match (&digest, request.query.get("digest-algorithm")) {
        (Some(digest), _) => digest.algorithm(),
        (None, Some(text)) => Algorithm::parse(text)
            .ok_or_else(|| Failure::digest_invalid("unsupported digest algorithm"))?,
        (None, None) => Algorithm::Sha256,
    };
    let id = new_upload_id()?;
    let (storage, new, owner) = (app.storage.clone(), id.clone(), repository.clone());
    let arriving = blocking(move || storage.begin_upload(&new, &owner, algorithm)).await?;
    app.uploads.insert(id.clone(), repository.clone(), arriving);
    match digest {
        Some(digest) => in_task(app, request, repository, id, Some(digest)).await,
        None => Ok(accepted(&repository, &id, 0)),
    }
}

/// Whether the blob could be mounted. What the client may not pull, it may not mount either.
async fn mount(
    app: &Arc<App>,
    request: &Request,
    repository: &RepositoryName,
    digest: &ContentDigest,
) -> Result<bool, Failure> {
    let source = request.query.get("from").and_then(RepositoryName::parse);
    let is_allowed = match &source {
        Some(source) => {
            let access = Access::Repository(source.clone(), Action::Pull);
            app.auth.check(&request.headers, &access).await.is_ok()
        }
        None => app.auth.is_open() && request.query.get("from").is_none(),
    };
    if !is_allowed {
        return Ok(false);
    }
    let (catalog, target, digest) = (
        app.storage.catalog.clone(),
        repository.clone(),
        digest.clone(),
    );
    blocking(move || catalog.mount_blob(&target, source.as_ref(), &digest, now_s())).await
}

/// `GET`, `PATCH`, `PUT` and `DELETE` of an upload.
pub(super) async fn go_on(
    app: &Arc<App>,
    request: Request,
    repository: RepositoryName,
    id: UploadId,
) -> Result<Response, Failure> {
    app.check_writing()?;
    match request.method {
        Method::GET | Method::HEAD => {
            let turn = app.uploads.turn(&app.storage, &id, &repository).await?;
            let mut response = accepted(&repository, &id, turn.size_bytes());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        Method::PATCH => in_task(app, request, repository, id, None).await,
        Method::PUT => {
            let digest = request.query.get("digest");
            let digest =
                digest.ok_or_else(|| Failure::digest_invalid("the digest parameter is missing"))?;
            let digest = name::digest(digest)?;
            in_task(app, request, repository, id, Some(digest)).await
        }
        Method::DELETE => {
            let mut turn = app.uploads.turn(&app.storage, &id, &repository).await?;
            turn.take()?;
            app.uploads.remove(&id);
            let storage = app.storage.clone();
            blocking(move || storage.cancel_upload(&id)).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Failure::method_not_allowed("GET, HEAD, PATCH, PUT, DELETE")),
    }
}

/// Receives in a task of its own: a connection that breaks ends the request, and what has arrived must be kept all the same.
async fn in_task(
    app: &Arc<App>,
    request: Request,
    repository: RepositoryName,
    id: UploadId,
    digest: Option<ContentDigest>,
) -> Result<Response, Failure> {
    let app = app.clone();
    let task = tokio::spawn(async move { receive(&app, request, repository, id, digest).await });
    task.await.unwrap_or_else(|error| {
        Err(gantry_base::Error::internal("an upload has panicked")
            .with_source(error)
            .into())
    })
}

async fn receive(
    app: &Arc<App>,
    mut request: Request,
    repository: RepositoryName,
    id: UploadId,
    digest: Option<ContentDigest>,
) -> Result<Response, Failure> {
    let mut turn = app.uploads.turn(&app.storage, &id, &repository).await?;
    check_chunk(&request, &turn, &repository, &id)?;
    turn.receive(&mut request.body, app.body_limits()).await?;
    let Some(digest) = digest else {
        return Ok(accepted(&repository, &id, turn.size_bytes()));
    };
    let arriving = turn.take()?;
    app.uploads.remove(&id);
    let (storage, owner, expected) = (app.storage.clone(), repository.clone(), digest.clone());
    let finished = blocking(move || {
        // The digest is the client's mistake; everything else is ours.
        match storage.finish_upload(&id, arriving, &owner, &expected) {
            Err(error) if error.kind() == ErrorKind::InvalidParameter => Ok(Err(error)),
            other => other.map(Ok),
        }
    });
    if let Err(error) = finished.await? {
        return Err(Failure::digest_invalid(error.message()));
    }
    Ok(created(&repository, &digest))
}

/// A chunk must begin where the last one ended, and be as long as it says.
fn check_chunk(
    request: &Request,
    turn: &Turn,
    repository: &RepositoryName,
    id: &UploadId,
) -> Result<(), Failure> {
    let Some(header) = request.header(&header::CONTENT_RANGE) else {
        return Ok(());
    };
    let invalid = || Failure::upload_invalid("invalid Content-Range");
    let (first, length) = range::parse_chunk(header).ok_or_else(invalid)?;
    if first != turn.size_bytes() {
        let failure = Failure::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            code::BLOB_UPLOAD_INVALID,
            "the chunk does not begin where the upload ends",
        );
        return Err(failure
            .header(header::LOCATION, &upload_path(repository, id))
            .header(header::RANGE, &range::arrived(turn.size_bytes())));
    }
    if request
        .content_length()
        .is_some_and(|given| given != length)
    {
        return Err(Failure::size_invalid(
            "Content-Length is not the length of Content-Range",
        ));
    }
    Ok(())
}

fn upload_path(repository: &RepositoryName, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{}", id.as_str())
}

fn accepted(repository: &RepositoryName, id: &UploadId, size_bytes: u64) -> Response {
    let mut response = empty(StatusCode::ACCEPTED);
    set(
        &mut response,
        header::LOCATION,
        &upload_path(repository, id),
    );
    set(&mut response, header::RANGE, &range::arrived(size_bytes));
    let upload_id = HeaderName::from_static("docker-upload-uuid");
    set(&mut response, upload_id, id.as_str());
    set(&mut response, header::CONTENT_LENGTH, "0");
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

fn created(repository: &RepositoryName, digest: &ContentDigest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    let location = format!("/v2/{repository}/blobs/{digest}");
    set(&mut response, header::LOCATION, &location);
    set(&mut response, CONTENT_DIGEST, digest.as_str());
    set(&mut response, header::CONTENT_LENGTH, "0");
    response
}
