//! Answers: JSON, no content, streams, and errors in the form that the client's version expects.

use crate::body::{self, Body, BodyWriter};
use bytes::Bytes;
use gantry_api::ApiVersion;
use gantry_base::{Error, ErrorKind, Result};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;

pub(crate) type Response = hyper::Response<Body>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// 204
pub(crate) fn no_content() -> Response {
    status(StatusCode::NO_CONTENT)
}

/// A document, with the line end that Go's encoder writes.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(512);
    if let Err(error) = serde_json::to_writer(&mut text, document) {
        return error_json(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
    }
    text.push(b'\n');
    full(status, JSON, text)
}

/// 200 with a document.
pub(crate) fn ok(document: &impl Serialize) -> Response {
    json(StatusCode::OK, document)
}

/// Bytes of a kind.
pub(crate) fn full(status: StatusCode, kind: HeaderValue, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::Full(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// 200 with a stream, whose headers are sent at once.
pub(crate) fn stream(kind: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// An archive that `write` makes: an error before its first byte has its status; a later one breaks the answer off.
pub(crate) async fn tar<F>(write: impl FnOnce(BodyWriter) -> F) -> Result<Response>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, mut pieces) = body::pieces();
    let mut work = Box::pin(write(BodyWriter::new(sender.clone())));
    let (first, is_over) = tokio::select! {
        biased;
        first = pieces.recv() => (first, false),
        result = &mut work => {
            result?;
            (pieces.try_recv().ok(), true)
        }
    };
    let driver = async move {
        if is_over {
            return;
        }
        if let Err(error) = work.await {
            tracing::error!(?error, "an archive was broken off");
            let _ = sender.send(Err(std::io::Error::other(error))).await;
        }
    };
    let answer = Body::continued(first, pieces, driver);
    Ok(stream(
        HeaderValue::from_static("application/x-tar"),
        answer,
    ))
}

fn error_json(status: StatusCode, message: &str) -> Response {
    #[derive(Serialize)]
    struct Message<'a> {
        message: &'a str,
    }
    json(status, &Message { message })
}

/// What the path or method is not served with.
pub(crate) fn page_not_found() -> Response {
    error_json(StatusCode::NOT_FOUND, "page not found")
}

/// The status of an error's kind.
pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidParameter => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error: JSON, but plain text for clients older than version 1.24.
pub(crate) fn error(version: ApiVersion, error: &Error) -> Response {
    let status = status_of(error.kind());
    if version >= ApiVersion::new(1, 24) {
        return error_json(status, error.message());
    }
    let mut response = full(status, TEXT, format!("{}\n", error.message()));
    let name = HeaderName::from_static("x-content-type-options");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("nosniff"));
    response
}
