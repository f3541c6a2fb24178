//! What a container's creator needs of the configuration, read without building the rest of the document in its memory.

use gantry_oci::runtime::{Hooks, IdMapping, Namespace, Resources, Rlimit, Spec};
use gantry_sys::file_map::FileMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Context, Error, Result};
use crate::plan::Document;

/// Longest configuration that is read.
const CONFIG_BYTES_MAX: usize = 8 << 20;

/// Parts of [`Spec`].
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Outline {
    pub(crate) process: Option<OutlineProcess>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) linux: Option<OutlineLinux>,
    pub(crate) annotations: Option<Annotations>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OutlineProcess {
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) oom_score_adj: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OutlineLinux {
    pub(crate) uid_mappings: Vec<IdMapping>,
    pub(crate) gid_mappings: Vec<IdMapping>,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) resources: Option<Resources>,
    pub(crate) cgroups_path: String,
}

pub(crate) type Annotations = BTreeMap<String, String>;

impl Outline {
    pub(crate) fn of(config: &Document<Spec>) -> Result<Self> {
        match config {
            Document::File(file) => parse_file(file),
            Document::Parsed(spec) => Ok(Self::of_spec(spec)),
        }
    }

    fn of_spec(spec: &Spec) -> Self {
        let process = spec.process.as_ref().map(|process| OutlineProcess {
            rlimits: process.rlimits.clone(),
            oom_score_adj: process.oom_score_adj,
        });
        let linux = spec.linux.as_ref().map(|linux| OutlineLinux {
            uid_mappings: linux.uid_mappings.clone(),
            gid_mappings: linux.gid_mappings.clone(),
            namespaces: linux.namespaces.clone(),
            resources: linux.resources.clone(),
            cgroups_path: linux.cgroups_path.clone(),
        });
        let annotations = spec
            .annotations
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Self {
            process,
            hooks: spec.hooks.clone(),
            linux,
            annotations: Some(annotations),
        }
    }
}

/// Parses a document in a file without copying the file.
pub(crate) fn parse_file<T: DeserializeOwned>(file: &OwnedFd) -> Result<T> {
    let map =
        FileMap::open(file.as_fd(), CONFIG_BYTES_MAX).context("cannot read the configuration")?;
    serde_json::from_slice(map.bytes())
        .map_err(|error| Error::invalid(format!("cannot parse the configuration: {error}")))
}
