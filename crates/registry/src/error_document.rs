//! The JSON document with which registries answer when something is wrong.
//!
//! Source: OCI distribution-spec 1.1, "Error Codes".

use serde::{Deserialize, Serialize};

/// Codes of the specification, as they stand in [`ErrorItem::code`].
pub mod code {
    /// Blob unknown to the registry.
    pub const BLOB_UNKNOWN: &str = "BLOB_UNKNOWN";
    /// Blob upload invalid.
    pub const BLOB_UPLOAD_INVALID: &str = "BLOB_UPLOAD_INVALID";
    /// Blob upload unknown to the registry.
    pub const BLOB_UPLOAD_UNKNOWN: &str = "BLOB_UPLOAD_UNKNOWN";
    /// The digest does not match the content.
    pub const DIGEST_INVALID: &str = "DIGEST_INVALID";
    /// The manifest names blobs or manifests that are not there.
    pub const MANIFEST_BLOB_UNKNOWN: &str = "MANIFEST_BLOB_UNKNOWN";
    /// Manifest invalid.
    pub const MANIFEST_INVALID: &str = "MANIFEST_INVALID";
    /// Manifest unknown to the registry.
    pub const MANIFEST_UNKNOWN: &str = "MANIFEST_UNKNOWN";
    /// Invalid repository name.
    pub const NAME_INVALID: &str = "NAME_INVALID";
    /// Repository name not known to the registry.
    pub const NAME_UNKNOWN: &str = "NAME_UNKNOWN";
    /// The length does not match the content.
    pub const SIZE_INVALID: &str = "SIZE_INVALID";
    /// Authentication required.
    pub const UNAUTHORIZED: &str = "UNAUTHORIZED";
    /// Access denied.
    pub const DENIED: &str = "DENIED";
    /// The operation is not supported.
    pub const UNSUPPORTED: &str = "UNSUPPORTED";
    /// Too many requests.
    pub const TOO_MANY_REQUESTS: &str = "TOOMANYREQUESTS";
}

/// `{"errors": [...]}`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// What is wrong, at least one thing.
    #[serde(default)]
    pub errors: Vec<ErrorItem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorItem {
    /// One of [`code`], or a registry's own.
    #[serde(default)]
    pub code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Free data.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

impl ErrorDocument {
    /// A document about one thing.
    pub fn of(code: &str, message: impl Into<String>, detail: serde_json::Value) -> Self {
        Self {
            errors: vec![ErrorItem {
                code: code.to_owned(),
                message: message.into(),
                detail,
            }],
        }
    }
}
