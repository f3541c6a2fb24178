//! What a container runs, independent of the host: `ContainerConfig`, and the request that carries it.

#![expect(
    clippy::zero_sized_map_values,
    reason = "Go's sets are maps to empty objects on the wire"
)]

use super::{Empty, HostConfig, NetworkingConfig, is_false, is_zero};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The portable part of a container's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    /// `80/tcp` → `{}`
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    #[serde(deserialize_with = "word_or_words")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    pub image: String,
    /// Path → `{}`
    pub volumes: Option<BTreeMap<String, Empty>>,
    pub working_dir: String,
    #[serde(deserialize_with = "word_or_words")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_false")]
    pub network_disabled: bool,
    /// Taken up to version 1.51.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Outer none: left out, as from version 1.52; inner none: null.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some")]
    pub on_build: Option<Option<Vec<String>>>,
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(
        skip_serializing_if = "super::is_none_or_empty",
        deserialize_with = "word_or_words"
    )]
    pub shell: Option<Vec<String>>,
}

/// A health check; times are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// `NONE`, `CMD …` or `CMD-SHELL …`.
    #[serde(skip_serializing_if = "super::is_none_or_empty")]
    pub test: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The body of `POST /containers/create`. Read it with [`ContainerCreateRequest::from_json`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContainerCreateRequest {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(rename = "HostConfig", skip_serializing_if = "Option::is_none")]
    pub host_config: Option<HostConfig>,
    #[serde(rename = "NetworkingConfig", skip_serializing_if = "Option::is_none")]
    pub networking_config: Option<NetworkingConfig>,
}

/// The members of a create request beside those of the config.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, expecting = "an object")]
struct CreateHost {
    host_config: Option<HostConfig>,
    networking_config: Option<NetworkingConfig>,
}

impl ContainerCreateRequest {
    /// Reads a request as Go does.
    pub fn from_json(body: &[u8]) -> Result<Self, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_slice(body)?;
        if value.is_null() {
            return Ok(Self::default());
        }
        let CreateHost {
            host_config,
            networking_config,
        } = crate::json::from_value(value.clone())?;
        Ok(Self {
            config: crate::json::from_value(value)?,
            host_config,
            networking_config,
        })
    }
}

/// The answer to `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerCreateResponse {
    pub id: String,
    pub warnings: Vec<String>,
}

/// Docker takes a string for a list of one.
fn word_or_words<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    struct Words;

    impl<'de> serde::de::Visitor<'de> for Words {
        type Value = Option<Vec<String>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or a list of strings")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E>(self, word: &str) -> Result<Self::Value, E> {
            Ok(Some(vec![word.to_owned()]))
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut items: A,
        ) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(word) = items.next_element()? {
                words.push(word);
            }
            Ok(Some(words))
        }
    }

    deserializer.deserialize_any(Words)
}

fn some<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_request_of_docker_py_is_read() {
        let body = br#"{"Hostname":null,"Cmd":"true","Env":null,"image":"x","Tty":false,"Volumes":null,"NetworkDisabled":false,
            "HostConfig":{"NetworkMode":"default","Memory":null},"NetworkingConfig":null,"Unknown":1}"#;
        let request = ContainerCreateRequest::from_json(body).expect("is valid");
        assert_eq!(request.config.cmd, Some(vec!["true".to_owned()]));
        assert_eq!(request.config.image, "x");
        assert_eq!(
            request.host_config.map(|h| h.network_mode).as_deref(),
            Some("default")
        );
        assert_eq!(request.networking_config, None);
    }

    #[test]
    fn null_lists_stay_null_and_absent_ones_are_left_out() {
        let text =
            serde_json::to_string(&ContainerConfig::default()).expect("has only string keys");
        assert_eq!(
            text,
            r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":null,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":null,"Labels":null}"#
        );
    }
}
