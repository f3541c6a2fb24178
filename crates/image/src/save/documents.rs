//! The JSON documents of an archive.

use super::whole::Whole;
use crate::Image;
use crate::source::StoredLayer;
use gantry_base::{Error, Result};
use gantry_oci::image::{Descriptor, Index, Manifest, media_type};
use gantry_oci::{Digest, Reference};
use indexmap::IndexMap;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is said of all images together.
#[derive(Default)]
pub(super) struct Documents {
    index: Vec<Descriptor>,
    items: Vec<Item>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

/// One image in `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_sources: Option<BTreeMap<Digest, Descriptor>>,
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest: digest.clone(),
        size,
        urls: Vec::new(),
        annotations: IndexMap::new(),
        platform: None,
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal(format!("cannot write JSON: {error}")))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Documents {
    /// Adds an image; gives its OCI manifest.
    pub(super) fn add(
        &mut self,
        image: &Image,
        names: &[Reference],
        config_bytes: u64,
        layers: &[StoredLayer],
    ) -> Result<Vec<u8>> {
        let sources: Vec<_> = layers
            .iter()
            .map(|layer| descriptor(media_type::LAYER, &layer.diff_id, layer.tar_bytes))
            .collect();
        let manifest = json(&Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.into(),
            config: descriptor(media_type::CONFIG, image.id.digest(), config_bytes),
            layers: sources.clone(),
            annotations: IndexMap::new(),
        })?;
        let pointer = descriptor(
            media_type::MANIFEST,
            &Digest::of(&manifest),
            manifest.len() as u64,
        );
        for name in names {
            let tag = name.tag.clone().unwrap_or_default();
            let mut pointer = pointer.clone();
            pointer
                .annotations
                .insert("io.containerd.image.name".into(), name.to_string());
            pointer
                .annotations
                .insert("org.opencontainers.image.ref.name".into(), tag.clone());
            self.index.push(pointer);
            if let Some(top) = layers.last() {
                self.repositories
                    .entry(name.familiar_name())
                    .or_default()
                    .insert(tag, top.diff_id.hex().into());
            }
        }
        if names.is_empty() {
            self.index.push(pointer);
        }
        let tags: Vec<_> = names.iter().map(Reference::familiar).collect();
        self.items.push(Item {
            config: blob_path(image.id.digest()),
            repo_tags: if tags.is_empty() { None } else { Some(tags) },
            layers: sources
                .iter()
                .map(|source| blob_path(&source.digest))
                .collect(),
            layer_sources: Some(
                sources
                    .into_iter()
                    .map(|source| (source.digest.clone(), source))
                    .collect(),
            ),
        });
        Ok(manifest)
    }

    /// Adds an index as it came, and for programs that know none the one image of it that containers get.
    pub(super) fn add_whole(&mut self, whole: &Whole) {
        let mut pointer = whole.target.clone();
        let tag = whole.name.tag.clone().unwrap_or_default();
        let annotations = [
            ("io.containerd.image.name", whole.name.to_string()),
            ("org.opencontainers.image.ref.name", tag),
        ];
        let annotations = annotations.into_iter();
        pointer.annotations = annotations
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        self.index.push(pointer);
        let layers = whole.manifest.layers.iter();
        self.items.push(Item {
            config: blob_path(whole.image.id.digest()),
            repo_tags: Some(vec![whole.name.familiar()]),
            layers: layers.map(|layer| blob_path(&layer.digest)).collect(),
            layer_sources: None,
        });
    }

    /// The files beside the blobs, in order.
    pub(super) fn files(self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let index = Index {
            schema_version: 2,
            media_type: media_type::INDEX.into(),
            manifests: self.index,
            annotations: IndexMap::new(),
        };
        let mut items = json(&self.items)?;
        items.push(b'\n');
        let mut files = vec![
            ("index.json", json(&index)?),
            ("manifest.json", items),
            ("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec()),
        ];
        if !self.repositories.is_empty() {
            let mut repositories = json(&self.repositories)?;
            repositories.push(b'\n');
            files.push(("repositories", repositories));
        }
        Ok(files)
    }
}
