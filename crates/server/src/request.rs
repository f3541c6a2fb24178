//! A request as handlers see it: version, name from the path, query, headers, body.

use crate::app::Connection;
use bytes::Bytes;
use gantry_api::ApiVersion;
use gantry_api::filters::Filters;
use gantry_api::query::Query;
use gantry_base::{Error, Result};
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// The longest JSON body that is read.
const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of an unwanted body is read, as in Go's server.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// How long the rest of a longer one is taken, so that its client, which writes first and reads then, gets to the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A request that was routed.
pub(crate) struct Request {
    /// What the client asked for, or the newest.
    pub version: ApiVersion,
    /// The text in place of the pattern's `{}`.
    pub name: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: RequestBody,
    pub connection: Connection,
}

/// The body of a request. What a handler leaves of it is read on, so that the client finishes sending and reads the answer.
#[derive(Clone)]
pub(crate) struct RequestBody {
    /// None: the client did not say.
    pub length: Option<u64>,
    content: Arc<Mutex<Option<Received>>>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        let length = body.size_hint().exact();
        let content = (length != Some(0)).then(|| Received(Some(body)));
        Self {
            length,
            content: Arc::new(Mutex::new(content)),
        }
    }

    /// Takes it out, once.
    pub(crate) fn take(&self) -> Option<Received> {
        self.content
            .lock()
            .expect("no code panics while it holds a body")
            .take()
    }

    /// Reads on what nobody took, within bounds.
    pub(crate) async fn drain(&self) {
        if let Some(body) = self.take() {
            // Longer ones are cut off, and broken ones have no rest.
            let _ = Limited::new(body, DRAIN_BYTES_MAX).collect().await;
        }
    }
}

/// A body that was taken. What its owner leaves is read on for a moment: a closed connection would break the client's writing
/// before it reads why.
#[derive(Debug)]
pub(crate) struct Received(Option<Incoming>);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(mut rest) = self.0.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let read_on = async move { while let Some(Ok(_)) = rest.frame().await {} };
            runtime.spawn(tokio::time::timeout(LINGER, read_on));
        }
    }
}

impl Request {
    /// Whether the client asks with this version or a newer one.
    pub(crate) fn at_least(&self, minor: u16) -> bool {
        self.version >= ApiVersion::new(1, minor)
    }

    /// Whether there certainly is no body.
    pub(crate) fn has_no_body(&self) -> bool {
        self.body.length == Some(0)
    }

    /// The `filters` parameter.
    pub(crate) fn filters(&self, known: &[&str]) -> Result<Filters> {
        let filters = Filters::parse(self.query.get("filters")).map_err(invalid)?;
        filters.check(known).map_err(invalid)?;
        Ok(filters)
    }

    /// Checks the content type of a JSON body in Docker's words.
    pub(crate) fn check_json(&self) -> Result<()> {
        let given = self
            .headers
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap_or("?"));
        let given = given.unwrap_or("");
        if given.is_empty() && self.has_no_body() {
            return Ok(());
        }
        if given.trim().is_empty() {
            return Err(Error::invalid(
                "malformed Content-Type header (): mime: no media type",
            ));
        }
        let kind = given.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        let text = format!("unsupported Content-Type header ({given}): must be 'application/json'");
        Err(Error::invalid(text))
    }

    /// The body as a JSON text; none where there is no body at all.
    pub(crate) async fn json_text(&mut self) -> Result<Option<Bytes>> {
        self.check_json()?;
        if self.has_no_body() {
            return Ok(None);
        }
        let Some(body) = self.body.take() else {
            return Ok(None);
        };
        let body = Limited::new(body, JSON_BYTES_MAX).collect().await;
        let text =
            body.map_err(|error| Error::invalid(format!("cannot read the request body: {error}")))?;
        Ok(Some(text.to_bytes()))
    }

    /// The body as `T`, read as Go reads it; the default where there is no body.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        match self.json_text().await? {
            None => Ok(T::default()),
            Some(text) => {
                gantry_api::json::from_slice(&text).map_err(|error| json_error(&text, &error))
            }
        }
    }

    /// A parameter that is a whole number; none where it is missing or empty.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        let text = self.query.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            // Go's words, and like there no client error.
            Error::internal(format!(
                "strconv.Atoi: parsing {}: invalid syntax",
                quoted(text)
            ))
        })
    }

    /// Rows or columns.
    pub(crate) fn size(&self, name: &str, what: &str) -> Result<u16> {
        let text = self.query.get(name);
        let problem = match text.parse::<i64>() {
            Ok(value) if text.starts_with('+') || value < 0 && text == "-0" => "invalid syntax",
            Ok(value) => match u16::try_from(value) {
                Ok(value) => return Ok(value),
                Err(_) => "value out of range",
            },
            Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => {
                "value out of range"
            }
            Err(_) => "invalid syntax",
        };
        Err(Error::invalid(format!(
            "invalid resize {what} {}: {problem}",
            quoted(text)
        )))
    }
}

/// What is wrong with a JSON body, in Docker's words.
pub(crate) fn json_error(text: &[u8], error: &serde_json::Error) -> Error {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Error::invalid("invalid JSON: got EOF while reading request body");
    }
    if error.is_syntax() && error.to_string().starts_with("trailing characters") {
        return Error::invalid("unexpected content after JSON");
    }
    if error.is_eof() {
        return Error::invalid("invalid JSON: unexpected EOF");
    }
    let first = String::from_utf8_lossy(text).trim_start().chars().next();
    if error.is_syntax()
        && error.to_string().starts_with("expected value")
        && let Some(first) = first.filter(|first| !"{[".contains(*first))
    {
        return Error::invalid(format!(
            "invalid JSON: invalid character '{first}' looking for beginning of value"
        ));
    }
    Error::invalid(format!("invalid JSON: {error}"))
}

/// An error of a parser as an error of the client.
pub(crate) fn invalid(error: impl std::fmt::Display) -> Error {
    Error::invalid(error.to_string())
}

/// As Go's `%q` writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(quoted, "\\x{:02x}", c as u32).expect("a string takes every text");
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
