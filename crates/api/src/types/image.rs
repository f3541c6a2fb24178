//! Images.

#![expect(
    clippy::zero_sized_map_values,
    reason = "Go's sets are maps to empty objects on the wire"
)]

use super::{DriverData, Empty, HealthConfig, is_false};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSummary {
    /// -1 up to version 1.50.
    pub containers: i64,
    /// Seconds since the epoch.
    pub created: i64,
    pub id: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub parent_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<gantry_oci::image::Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestSummary>>,
    pub repo_digests: Vec<String>,
    pub repo_tags: Vec<String>,
    /// -1 where not asked for.
    pub shared_size: i64,
    pub size: i64,
    /// Up to version 1.43.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
}

/// `GET /images/{name}/json`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageInspect {
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Left out where empty from version 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Left out where empty from version 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Up to version 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Up to version 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<serde_json::Value>,
    /// Left out where empty from version 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_version: Option<String>,
    /// Left out where empty from version 1.52.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    pub config: Option<ImageConfig>,
    pub architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    pub size: i64,
    /// Up to version 1.43.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph_driver: Option<DriverData>,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: ImageMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<gantry_oci::image::Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Vec<ManifestSummary>>,
    /// Not Docker's: signatures that were verified when the image was pulled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<ImageSignature>,
}

/// One thing that the index of an image speaks of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManifestSummary {
    #[serde(rename = "ID")]
    pub id: String,
    pub descriptor: gantry_oci::image::Descriptor,
    /// Whether all of it is here.
    pub available: bool,
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ManifestImage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_data: Option<ManifestAttestation>,
}

/// Bytes of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestSize {
    /// As they travel.
    pub content: i64,
    /// With those that are unpacked.
    pub total: i64,
}

/// An image of an index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManifestImage {
    pub platform: gantry_oci::Platform,
    pub size: ManifestUnpacked,
    /// Ids of the containers that use it.
    pub containers: Option<Vec<String>>,
}

/// Bytes of an image's files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestUnpacked {
    pub unpacked: i64,
}

/// What an attestation is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestAttestation {
    #[serde(rename = "For")]
    pub about: String,
}

/// A signature of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSignature {
    /// The SHA-256 of the public key.
    pub key: String,
    /// The file of the key.
    pub key_file: String,
    /// The index or manifest that was signed.
    pub manifest: String,
}

/// Defaults for an image's containers. `Option<Option<…>>`: left out, null, or a value; the null forms are for versions up to 1.51.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    #[serde(skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub cmd: Option<Option<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub entrypoint: Option<Option<Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub env: Option<Option<Vec<String>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub on_build: Option<Option<Vec<String>>>,
    #[serde(skip_serializing_if = "super::is_none_or_empty")]
    pub shell: Option<Vec<String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub volumes: Option<Option<BTreeMap<String, Empty>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Members up to version 1.49, which were never set.
    #[serde(flatten)]
    pub legacy: BTreeMap<String, serde_json::Value>,
}

fn some<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An image's layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootFs {
    #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What the daemon knows of an image beside its documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageMetadata {
    /// `0001-01-01T00:00:00Z` where never tagged.
    pub last_tag_time: String,
}

/// One of `GET /images/{name}/history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HistoryResponseItem {
    pub comment: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub created_by: String,
    /// `<missing>` for all but the image's own line.
    pub id: String,
    pub size: i64,
    pub tags: Option<Vec<String>>,
}

/// One of `DELETE /images/{name}`; one of the two is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageDeleteResponseItem {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deleted: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub untagged: String,
}

/// `POST /images/prune`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImagesPruneReport {
    pub images_deleted: Option<Vec<ImageDeleteResponseItem>>,
    pub space_reclaimed: u64,
}
