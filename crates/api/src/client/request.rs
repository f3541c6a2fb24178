//! Requests and answers: paths with queries, JSON bodies, error answers, streamed answers.

use super::connection::Connection;
use super::{Body, Client};
use bytes::{Bytes, BytesMut};
use gantry_base::{Error, ErrorKind, Result};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;

/// One request, before it gets its version and its headers.
pub struct Request {
    pub(super) method: Method,
    path: String,
    query: String,
    headers: Vec<(HeaderName, String)>,
    pub(super) body: Body,
    pub(super) is_unversioned: bool,
}

impl Request {
    /// A request for `path`, which begins with a slash and carries no version.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: String::new(),
            headers: Vec::new(),
            body: Body::Empty,
            is_unversioned: false,
        }
    }
    /// `GET path`
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }
    /// `HEAD path`
    pub fn head(path: impl Into<String>) -> Self {
        Self::new(Method::HEAD, path)
    }
    /// `POST path`
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }
    /// `PUT path`
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }
    /// `DELETE path`
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }
    /// Adds `key=value` to the query.
    #[must_use]
    pub fn query(mut self, key: &str, value: impl AsRef<str>) -> Self {
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(&encode_query(key));
        self.query.push('=');
        self.query.push_str(&encode_query(value.as_ref()));
        self
    }
    /// Adds `key=value` where `condition` holds.
    #[must_use]
    pub fn query_if(self, condition: bool, key: &str, value: impl AsRef<str>) -> Self {
        if condition {
            self.query(key, value)
        } else {
            self
        }
    }
    /// Adds a header; a value that HTTP cannot carry fails when the request is sent.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers
            .push((HeaderName::from_static(name), value.into()));
        self
    }
    /// Carries `value` as JSON.
    ///
    /// # Errors
    /// A value that JSON cannot express.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_vec(value)
            .map_err(|error| Error::internal("cannot encode a request").with_source(error))?;
        self.headers.push((CONTENT_TYPE, "application/json".into()));
        self.body = Body::Full(text.into());
        Ok(self)
    }
    /// Carries `body` of the given media type.
    #[must_use]
    pub fn body(mut self, media_type: &str, body: Body) -> Self {
        self.headers.push((CONTENT_TYPE, media_type.into()));
        self.body = body;
        self
    }

    pub(super) fn duplicate(&self) -> Option<Self> {
        Some(Self {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: self.body.duplicate()?,
            is_unversioned: self.is_unversioned,
        })
    }

    pub(super) fn into_http(
        self,
        prefix: &str,
        host: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<hyper::Request<Body>> {
        let mut uri = String::with_capacity(prefix.len() + self.path.len() + self.query.len() + 1);
        if !self.is_unversioned {
            uri.push_str(prefix);
        }
        uri.push_str(&self.path);
        if !self.query.is_empty() {
            uri.push('?');
            uri.push_str(&self.query);
        }
        let mut builder = hyper::Request::builder()
            .method(self.method)
            .uri(uri)
            .header(HOST, host);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder
            .body(self.body)
            .map_err(|error| Error::invalid("cannot build a request").with_source(error))
    }
}

/// Percent-encodes `text` as one or more segments of a path: slashes and colons stay.
pub(crate) fn encode_path(text: &str) -> String {
    encode(text, |byte| {
        matches!(byte, b'/' | b':' | b'@' | b'$' | b'&' | b'+' | b'=')
    })
}

fn encode_query(text: &str) -> String {
    encode(text, |_| false)
}

fn encode(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || is_kept(byte)
        {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `/containers/<name>/json` and the like, with the name made safe for a path.
pub fn path(noun: &str, name: &str, verb: &str) -> String {
    let name = encode_path(name);
    if verb.is_empty() {
        format!("/{noun}/{name}")
    } else {
        format!("/{noun}/{name}/{verb}")
    }
}

/// The head of an answer, and its body while it arrives.
pub struct Response<'a> {
    client: &'a Client,
    http: hyper::Response<Incoming>,
    connection: Connection,
}

impl<'a> Response<'a> {
    pub(super) fn new(
        client: &'a Client,
        http: hyper::Response<Incoming>,
        connection: Connection,
    ) -> Self {
        Self {
            client,
            http,
            connection,
        }
    }
    /// The status code.
    pub fn status(&self) -> u16 {
        self.http.status().as_u16()
    }
    /// The value of a header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.http.headers().get(name)?.to_str().ok()
    }
    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.http.body_mut().frame().await {
            let frame = frame.map_err(broken)?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
    /// The whole body. The connection is kept for the next request.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let Some(first) = self.chunk().await? else {
            self.client.keep(self.connection);
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            self.client.keep(self.connection);
            return Ok(first);
        };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(next) = self.chunk().await? {
            all.extend_from_slice(&next);
        }
        self.client.keep(self.connection);
        Ok(all.freeze())
    }
    /// The whole body, read as JSON.
    ///
    /// # Errors
    /// The connection broke, or the body is not what was expected.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::internal(format!("cannot read the daemon's answer: {error}")).with_source(error)
        })
    }
    /// Reads the body to its end and forgets it.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn discard(self) -> Result<()> {
        self.bytes().await.map(|_| ())
    }
}

fn broken(error: hyper::Error) -> Error {
    let message = if error.is_incomplete_message() || error.is_body_write_aborted() {
        "unexpected EOF".to_owned()
    } else {
        format!("error reading the daemon's answer: {error}")
    };
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

/// The error that an answer with a status of 400 and more stands for.
pub(super) fn error_answer(status: StatusCode, is_json: bool, body: &[u8]) -> Error {
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(default)]
        message: String,
    }
    let kind = match status.as_u16() {
        400 => ErrorKind::InvalidParameter,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        501 => ErrorKind::NotImplemented,
        503 => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    let text = String::from_utf8_lossy(body);
    let said = if is_json {
        serde_json::from_slice::<Message>(body)
            .map_or_else(|_| text.trim().to_owned(), |m| m.message.trim().to_owned())
    } else {
        text.trim().to_owned()
    };
    if said.is_empty() {
        let reason = status.canonical_reason().unwrap_or_default();
        return Error::new(
            kind,
            format!(
                "request returned {} {reason} for API route and version, check if the server supports the requested API version",
                status.as_u16()
            ),
        );
    }
    Error::new(kind, format!("Error response from daemon: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(
            path("containers", "a?b#c d", "json"),
            "/containers/a%3Fb%23c%20d/json"
        );
        assert_eq!(
            path("images", "host:5000/x@sha256:ab", ""),
            "/images/host:5000/x@sha256:ab"
        );
    }

    #[test]
    fn queries_are_encoded() {
        let request = Request::get("/x")
            .query("filters", "{\"a\":[\"b c\"]}")
            .query_if(false, "n", "1");
        assert_eq!(request.query, "filters=%7B%22a%22%3A%5B%22b%20c%22%5D%7D");
    }

    #[test]
    fn error_answers_keep_the_daemons_words_and_kind() {
        let error = error_answer(
            StatusCode::NOT_FOUND,
            true,
            br#"{"message":"No such container: x"}"#,
        );
        assert_eq!(
            error.message(),
            "Error response from daemon: No such container: x"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = error_answer(StatusCode::BAD_GATEWAY, false, b"");
        assert!(
            error
                .message()
                .starts_with("request returned 502 Bad Gateway")
        );
    }
}
