//! Progress messages: JSON objects, one after the other, in the answers to load, import, pull, push and build.
//!
//! After the first message the status is sent; a later failure travels as a message with `errorDetail`.

use serde::{Deserialize, Serialize};

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressMessage {
    /// Text to print as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What happens, to the thing named by `id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How far it is. An empty object is sent with statuses that end a progress.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The progress drawn as a bar, for clients of old.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// Such as a layer's short id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The failure that ends the stream.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The failure's text, for clients of old.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Results for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// How far something is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start: i64,
    #[serde(rename = "hidecounts", skip_serializing_if = "std::ops::Not::not")]
    pub hide_counts: bool,
    /// Empty: bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub units: String,
}

/// Why a stream ended early.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "is_zero")]
    pub code: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl ProgressMessage {
    /// Text to print as it is.
    pub fn stream(text: impl Into<String>) -> Self {
        Self {
            stream: text.into(),
            ..Self::default()
        }
    }
    /// A status without an id.
    pub fn status(text: impl Into<String>) -> Self {
        Self {
            status: text.into(),
            ..Self::default()
        }
    }
    /// The last message of a stream that failed.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error: message.clone(),
            error_detail: Some(ErrorDetail { code: 0, message }),
            ..Self::default()
        }
    }
    /// The message with its line end, as dockerd sends it.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("has only string keys");
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_like_dockers() {
        let line =
            |message: &ProgressMessage| String::from_utf8(message.to_line()).expect("is text");
        assert_eq!(
            line(&ProgressMessage::stream("Loaded image: a:b\n")),
            "{\"stream\":\"Loaded image: a:b\\n\"}\r\n"
        );
        assert_eq!(
            line(&ProgressMessage::error("no")),
            "{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n"
        );
    }
}
