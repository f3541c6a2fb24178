//! `docker import`: an image of one layer from a tar of a root file system.

use crate::ingest::{Purpose, feed_all};
use crate::load::detect;
use crate::store::{NewImage, NewLayers};
use crate::time::{now_ns, rfc3339};
use crate::{ImageId, Images};
use gantry_base::{Error, Result};
use gantry_oci::image::{ContainerDefaults, History, ImageConfig, RootFs};
use gantry_oci::{Platform, Reference};
use std::io::Read;

/// What the new image says of itself.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Comment in the history.
    pub message: String,
    /// Defaults for containers, from `--change`.
    pub config: ContainerDefaults,
    /// This machine's platform if not given.
    pub platform: Option<Platform>,
    /// The name to give it.
    pub reference: Option<Reference>,
}

impl Images {
    /// Makes an image from a tar, plain, gzip or zstd.
    ///
    /// # Errors
    /// When the tar is damaged or hostile; nothing of it stays.
    pub fn import(&self, input: impl Read + Send, options: ImportOptions) -> Result<ImageId> {
        let lease = self.lease();
        let (compression, mut input) = detect(input)?;
        let shared = &self.shared;
        let mut ingest = self.begin_ingest(Purpose::Import(compression))?;
        feed_all(&mut ingest, &mut input, &shared.pool)?;
        let mut layers = NewLayers::default();
        let diff_id = layers.add(ingest.end().wait()?)?;
        let platform = options.platform.unwrap_or_else(Platform::host);
        let created_ns = now_ns();
        let created = Some(rfc3339(created_ns));
        let config = ImageConfig {
            created: created.clone(),
            author: String::new(),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config: options.config,
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: vec![diff_id],
            },
            history: vec![History {
                created,
                comment: options.message,
                ..History::default()
            }],
        };
        let ids = self.commit(
            &lease,
            layers,
            vec![new_image(&config, options.reference)?],
            created_ns,
        )?;
        drop(lease);
        ids.into_iter()
            .next()
            .ok_or_else(|| Error::internal("the imported image was not recorded"))
    }
}

/// The record of an image whose config is made here.
pub(crate) fn new_image(config: &ImageConfig, reference: Option<Reference>) -> Result<NewImage> {
    let bytes = serde_json::to_vec(config)
        .map_err(|error| Error::internal(format!("cannot write an image config: {error}")))?;
    Ok(NewImage {
        config: bytes,
        diff_ids: config.rootfs.diff_ids.clone(),
        references: reference
            .map(Reference::with_default_tag)
            .into_iter()
            .collect(),
        ..NewImage::default()
    })
}
