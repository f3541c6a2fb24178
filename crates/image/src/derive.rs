//! `docker commit`: an image of another one's layers and what a container changed.

use crate::import::new_image;
use crate::ingest::{Compression, Ingest, PIECE_BYTES, Pool, Purpose};
use crate::store::NewLayers;
use crate::time::{now_ns, rfc3339};
use crate::{Image, ImageId, Images, TreeKind};
use gantry_base::{Error, Result};
use gantry_oci::Reference;
use gantry_oci::image::{ContainerDefaults, History, ImageConfig};
use std::io::{BufWriter, Write};
use std::os::fd::BorrowedFd;

/// The digest of a tar without members: such a layer is left out, as by dockerd.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What the new image says of itself.
#[derive(Debug, Clone, Default)]
pub struct DeriveOptions {
    /// Defaults for containers.
    pub config: ContainerDefaults,
    /// Who made it.
    pub author: String,
    /// Comment in the history.
    pub comment: String,
    /// Command that made the changes, for the history.
    pub created_by: String,
    /// The name to give it.
    pub reference: Option<Reference>,
}

impl Images {
    /// Makes an image of `parent` and the upper directory of an overlay on it.
    ///
    /// # Errors
    /// What reading the directory met; when the parent's layers are gone. Nothing stays.
    pub fn derive(
        &self,
        parent: &Image,
        upper: BorrowedFd<'_>,
        options: DeriveOptions,
    ) -> Result<ImageId> {
        let lease = self.lease();
        let shared = &self.shared;
        let mut ingest = self.begin_ingest(Purpose::Import(Compression::None))?;
        let feeder = Feeder {
            ingest: &mut ingest,
            pool: &shared.pool,
        };
        let mut output = BufWriter::with_capacity(PIECE_BYTES, feeder);
        crate::export(upper, TreeKind::Upper, &mut output)?;
        output.flush()?;
        drop(output);
        let mut layers = NewLayers::default();
        let diff_id = layers.add(ingest.end().wait()?)?;
        let empty_layer = diff_id.as_str() == EMPTY_TAR;
        let created_ns = now_ns();
        let created = Some(rfc3339(created_ns));
        let mut config = ImageConfig::clone(&parent.config);
        config.created.clone_from(&created);
        config.author.clone_from(&options.author);
        config.config = options.config;
        if !empty_layer {
            config.rootfs.diff_ids.push(diff_id);
        }
        config.history.push(History {
            created,
            created_by: options.created_by,
            author: options.author,
            comment: options.comment,
            empty_layer,
        });
        let mut image = new_image(&config, options.reference)?;
        image.parent = Some(parent.id.clone());
        let ids = self.commit(&lease, layers, vec![image], created_ns)?;
        drop(lease);
        ids.into_iter()
            .next()
            .ok_or_else(|| Error::internal("the new image was not recorded"))
    }
}

/// Feeds what is written.
struct Feeder<'a> {
    ingest: &'a mut Ingest,
    pool: &'a Pool,
}

impl Write for Feeder<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let piece = self.pool.copy_of(bytes);
        let length = piece.len();
        self.ingest.feed(piece).map_err(std::io::Error::other)?;
        Ok(length)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
