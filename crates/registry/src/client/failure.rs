//! What can go wrong between a client and a registry, and Docker's words for it.

use crate::error_document::{ErrorDocument, ErrorItem, code};
use gantry_base::{Error, ErrorKind};
use reqwest::StatusCode;
use std::fmt;
use std::time::Duration;

/// Bytes of an error's body that are read.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// Why a request, or what was made of its answer, failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The registry said no.
    Answer(Answer),
    /// No answer, or one that broke off.
    Transport {
        text: String,
        /// Whether not even a connection was made.
        is_connect: bool,
    },
    /// Credentials are missing or do not help.
    Auth(String),
    /// The answer is not what it ought to be; asking the same again is of no use.
    Refused(Error),
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) errors: Vec<ErrorItem>,
    /// The beginning of a body that is no error document.
    pub(super) body: String,
    pub(super) retry_after: Option<Duration>,
}

impl Answer {
    /// From a body's beginning.
    pub(super) fn new(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let document: Option<ErrorDocument> = serde_json::from_slice(body).ok();
        let errors = document.map(|document| document.errors).unwrap_or_default();
        Self {
            status,
            errors,
            body: String::from_utf8_lossy(body).chars().take(512).collect(),
            retry_after,
        }
    }

    fn code(&self) -> &str {
        self.errors.first().map_or("", |item| item.code.as_str())
    }
}

impl Failure {
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(Error::internal(text))
    }
    pub(super) fn broken(text: impl Into<String>) -> Self {
        Self::Transport {
            text: text.into(),
            is_connect: false,
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Answer(answer) => {
                answer.status.is_server_error()
                    || matches!(
                        answer.status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::Transport { .. } => true,
            Self::Auth(_) | Self::Refused(_) => false,
        }
    }

    /// Whether another endpoint may do better.
    pub(super) fn permits_next(&self, is_mirror: bool) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Answer(_) | Self::Auth(_) => is_mirror,
            Self::Refused(_) => is_mirror,
        }
    }

    pub(super) fn is_answer(&self) -> bool {
        !matches!(self, Self::Transport { .. })
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }

    /// Whether the registry says that it has no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// The error for the user.
    pub(super) fn into_error(self) -> Error {
        let kind = match &self {
            Self::Answer(answer) => match (answer.code(), answer.status) {
                (code::MANIFEST_UNKNOWN | code::NAME_UNKNOWN | code::DENIED, _) => {
                    ErrorKind::NotFound
                }
                (code::UNAUTHORIZED, _) | (_, StatusCode::UNAUTHORIZED) => ErrorKind::Unauthorized,
                (_, StatusCode::NOT_FOUND) => ErrorKind::NotFound,
                _ => ErrorKind::Internal,
            },
            _ => ErrorKind::Internal,
        };
        match self {
            Self::Refused(error) => error,
            other => Error::new(kind, other.to_string()),
        }
    }

    /// The same where an image is pulled; `named` is the reference as users write it, `name` the same without its tag.
    pub(super) fn into_pull_error(self, named: &str, name: &str) -> Error {
        let text = self.to_string();
        let code = match &self {
            Self::Answer(answer) => answer.code().to_owned(),
            _ => String::new(),
        };
        match code.as_str() {
            code::DENIED => Error::not_found(format!(
                "pull access denied for {name}, repository does not exist or may require 'docker login': {text}"
            )),
            code::MANIFEST_UNKNOWN => {
                Error::not_found(format!("manifest for {named} not found: {text}"))
            }
            code::NAME_UNKNOWN => Error::not_found(format!("repository {name} not found: {text}")),
            _ => self.into_error(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => answer.fmt(f),
            Self::Transport { text, .. } | Self::Auth(text) => f.write_str(text),
            Self::Refused(error) => f.write_str(error.message()),
        }
    }
}

impl fmt::Display for Answer {
    /// As the `distribution` project's client writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |item: &ErrorItem| {
            let code = item.code.to_ascii_lowercase().replace('_', " ");
            let message = if item.message.is_empty() {
                &code
            } else {
                &item.message
            };
            format!("{code}: {message}")
        };
        match self.errors.as_slice() {
            [] => {}
            [one] => return f.write_str(&known(one)),
            many => {
                f.write_str("errors:\n")?;
                return many
                    .iter()
                    .try_for_each(|item| writeln!(f, "{}", known(item)));
            }
        }
        match self.status {
            StatusCode::UNAUTHORIZED => f.write_str("unauthorized: authentication required"),
            StatusCode::TOO_MANY_REQUESTS => write!(f, "toomanyrequests: {}", self.body.trim()),
            status if status.is_client_error() && !self.body.is_empty() => write!(
                f,
                "error parsing HTTP {} response body: {:?}",
                status.as_u16(),
                self.body
            ),
            status => write!(f, "received unexpected HTTP status: {status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_dockers_words() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"9"}}]}"#;
        let failure = Failure::Answer(Answer::new(StatusCode::NOT_FOUND, body, None));
        let error = failure.into_pull_error("h/alp:9", "h/alp");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.message(),
            "manifest for h/alp:9 not found: manifest unknown: manifest unknown"
        );
        let html = Answer::new(StatusCode::SERVICE_UNAVAILABLE, b"<html>", None);
        assert_eq!(
            html.to_string(),
            "received unexpected HTTP status: 503 Service Unavailable"
        );
    }
}
