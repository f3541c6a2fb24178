//! Events.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventMessage {
    /// The action; up to version 1.51, for containers and images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The actor's id; up to version 1.51, for containers and images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The container's image; up to version 1.51.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `container image network volume …`
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: EventActor,
    /// `local`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Seconds since the epoch.
    pub time: i64,
    /// Nanoseconds since the epoch.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom an event is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EventActor {
    #[serde(rename = "ID")]
    pub id: String,
    pub attributes: BTreeMap<String, String>,
}
