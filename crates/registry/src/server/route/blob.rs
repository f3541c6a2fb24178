//! Blobs: reading them whole or in part, and taking one from a repository.

use super::{CONTENT_DIGEST, Request, blocking, empty, is_unmodified, set};
use crate::server::App;
use crate::server::body::{Body, Response};
use crate::server::failure::Failure;
use crate::server::name::RepositoryName;
use crate::server::range::Wanted;
use crate::server::storage::now_s;
use gantry_base::Error;
use gantry_oci::ContentDigest;
use hyper::header;
use hyper::{Method, StatusCode};
use std::fs::File;
use std::sync::Arc;

pub(super) async fn answer(
    app: &Arc<App>,
    request: &Request,
    repository: RepositoryName,
    digest: ContentDigest,
) -> Result<Response, Failure> {
    match request.method {
        Method::GET | Method::HEAD => get(app, request, repository, digest).await,
        Method::DELETE => delete(app, repository, digest).await,
        _ => Err(Failure::method_not_allowed("GET, HEAD, DELETE")),
    }
}

async fn get(
    app: &Arc<App>,
    request: &Request,
    repository: RepositoryName,
    digest: ContentDigest,
) -> Result<Response, Failure> {
    let needs_file = !request.is_head();
    let mut found = find(app, &repository, &digest, needs_file).await?;
    if let (None, Some(upstream)) = (&found, &app.upstream) {
        if let Some(fetch) = upstream.fetch(app, &repository, &digest).await? {
            let body = |start, end| {
                if needs_file {
                    fetch.body(start, end)
                } else {
                    Body::Empty
                }
            };
            return respond(request, &digest, fetch.size_bytes, body);
        }
        found = find(app, &repository, &digest, needs_file).await?;
    }
    let (size_bytes, file) = found.ok_or_else(|| Failure::blob_unknown(&digest))?;
    let body = |start, end| file.map_or(Body::Empty, |file| Body::file(file, start, end));
    respond(request, &digest, size_bytes, body)
}

/// The size of a blob of the repository, and the blob if it is wanted.
async fn find(
    app: &Arc<App>,
    repository: &RepositoryName,
    digest: &ContentDigest,
    needs_file: bool,
) -> Result<Option<(u64, Option<File>)>, Failure> {
    let (storage, owner, wanted) = (app.storage.clone(), repository.clone(), digest.clone());
    blocking(move || {
        let Some(size_bytes) = storage.catalog.blob(&owner, &wanted, now_s())? else {
            return Ok(None);
        };
        let file = if needs_file {
            Some(open(&storage.content, &wanted, size_bytes)?)
        } else {
            None
        };
        Ok(Some((size_bytes, file)))
    })
    .await
}

/// A file that is not as its row says is a damage to be told, not to be served.
fn open(
    content: &gantry_image::content::Content,
    digest: &ContentDigest,
    size_bytes: u64,
) -> gantry_base::Result<File> {
    let file = content
        .read(digest)
        .map_err(|error| Error::internal(error.message()))?;
    let length = file.metadata()?.len();
    if length != size_bytes {
        return Err(Error::internal(format!(
            "content {digest} has {length} bytes instead of {size_bytes}"
        )));
    }
    Ok(file)
}

fn respond(
    request: &Request,
    digest: &ContentDigest,
    size_bytes: u64,
    body: impl FnOnce(u64, u64) -> Body,
) -> Result<Response, Failure> {
    let etag = format!("\"{digest}\"");
    let mut response = empty(StatusCode::OK);
    set(&mut response, header::ETAG, &etag);
    set(&mut response, CONTENT_DIGEST, digest.as_str());
    set(
        &mut response,
        header::CACHE_CONTROL,
        "max-age=31536000, immutable",
    );
    if is_unmodified(request, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let if_range = request.header(&header::IF_RANGE);
    let range = request
        .header(&header::RANGE)
        .filter(|_| if_range.is_none_or(|tag| tag == etag));
    let wanted = range.map_or(Wanted::Everything, |range| Wanted::parse(range, size_bytes));
    let (start, end) = match wanted {
        Wanted::Everything => (0, size_bytes),
        Wanted::Part(start, end) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {start}-{}/{size_bytes}", end - 1);
            set(&mut response, header::CONTENT_RANGE, &range);
            (start, end)
        }
        Wanted::Unsatisfiable => {
            let failure = Failure::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                crate::error_document::code::SIZE_INVALID,
                "the range is not satisfiable",
            );
            return Err(failure.header(header::CONTENT_RANGE, &format!("bytes */{size_bytes}")));
        }
    };
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(
        &mut response,
        header::CONTENT_TYPE,
        "application/octet-stream",
    );
    set(
        &mut response,
        header::CONTENT_LENGTH,
        &(end - start).to_string(),
    );
    *response.body_mut() = body(start, end);
    Ok(response)
}

async fn delete(
    app: &Arc<App>,
    repository: RepositoryName,
    digest: ContentDigest,
) -> Result<Response, Failure> {
    app.check_deletion()?;
    let (catalog, wanted) = (app.storage.catalog.clone(), digest.clone());
    if !blocking(move || catalog.unlink_blob(&repository, &wanted)).await? {
        return Err(Failure::blob_unknown(&digest));
    }
    Ok(empty(StatusCode::ACCEPTED))
}
