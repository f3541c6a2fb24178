//! What a client is told when a request is refused or fails: status, code and text, and what the log keeps for itself.

use super::body::{Body, Response};
use crate::challenge::Challenge;
use crate::error_document::{ErrorDocument, code};
use gantry_base::{Error, ErrorKind};
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use serde_json::{Value, json};

/// A refusal.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    document: ErrorDocument,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self {
            status,
            document: ErrorDocument::of(code, message, Value::Null),
            headers: Vec::new(),
        }
    }
    #[must_use]
    pub(crate) fn detail(mut self, detail: Value) -> Self {
        if let Some(item) = self.document.errors.first_mut() {
            item.detail = detail;
        }
        self
    }
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
    /// Adds another thing that is wrong.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.document.errors.extend(other.document.errors);
        self
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::UNSUPPORTED, message)
    }
    pub(crate) fn no_such_page() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::UNSUPPORTED,
            "404 page not found",
        )
    }
    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            code::UNSUPPORTED,
            "the operation is unsupported",
        )
        .header(header::ALLOW, allowed)
    }
    pub(crate) fn digest_invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::DIGEST_INVALID, message)
    }
    pub(crate) fn size_invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::SIZE_INVALID, message)
    }
    pub(crate) fn upload_invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::BLOB_UPLOAD_INVALID, message)
    }
    pub(crate) fn manifest_invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::MANIFEST_INVALID, message)
    }
    pub(crate) fn too_large(code: &str, most_bytes: u64) -> Self {
        let message = format!("larger than the {most_bytes} bytes that this registry accepts");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, &message)
    }
    pub(crate) fn blob_unknown(digest: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::BLOB_UNKNOWN,
            "blob unknown to registry",
        )
        .detail(json!({"digest": digest.to_string()}))
    }
    pub(crate) fn manifest_unknown(name: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::MANIFEST_UNKNOWN,
            "manifest unknown",
        )
        .detail(json!({"name": name.to_string()}))
    }
    pub(crate) fn repository_unknown(name: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::NAME_UNKNOWN,
            "repository name not known to registry",
        )
        .detail(json!({"name": name.to_string()}))
    }
    pub(crate) fn upload_unknown() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::BLOB_UPLOAD_UNKNOWN,
            "blob upload unknown to registry",
        )
    }
    pub(crate) fn unauthorized(challenge: &Challenge) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            code::UNAUTHORIZED,
            "authentication required",
        )
        .header(header::WWW_AUTHENTICATE, &challenge.to_string())
    }

    pub(crate) fn into_response(self) -> Response {
        let text = serde_json::to_vec(&self.document).expect("strings and values become JSON");
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.extend(self.headers);
        response
    }
}

/// What goes wrong inside is for the log; the client learns only that it did.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidParameter => Self::bad_request(error.message()),
            ErrorKind::Unavailable => {
                tracing::warn!(?error, "a request could not be answered");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "UNAVAILABLE",
                    "service unavailable",
                )
                .header(header::RETRY_AFTER, "5")
            }
            _ => {
                tracing::error!(?error, "a request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "UNKNOWN",
                    "unknown error",
                )
            }
        }
    }
}
