//! The image that is built into the program.

use crate::Images;
use crate::import::new_image;
use crate::ingest::{Compression, Purpose, feed_all};
use crate::store::NewLayers;
use gantry_base::Result;
use gantry_oci::image::{ImageConfig, RootFs};
use gantry_oci::{Digest, Reference};
use gantry_state::{Durability, sql_error};
use rusqlite::{OptionalExtension as _, params};

impl Images {
    /// Adds an image of one layer, plain or compressed; cheap when it was done before. The layers in `config` are filled in.
    ///
    /// An image that the user removed or renamed comes back only with another `version`.
    ///
    /// # Errors
    /// When the image cannot be stored.
    pub fn add_builtin(
        &self,
        reference: &Reference,
        version: &str,
        config: ImageConfig,
        layer_tar: &[u8],
    ) -> Result<()> {
        let name = reference.clone().with_default_tag().to_string();
        let added: Option<String> = self.shared.db.read(|connection| {
            connection
                .query_row(
                    "SELECT version FROM builtin_image WHERE name = ?1",
                    [&name],
                    |row| row.get(0),
                )
                .optional()
                .map_err(sql_error)
        })?;
        if added.as_deref() == Some(version) {
            return Ok(());
        }
        let lease = self.lease();
        let mut layers = NewLayers::default();
        let diff_id = self.ingest_bytes(layer_tar, &mut layers)?;
        let rootfs = RootFs {
            kind: "layers".into(),
            diff_ids: vec![diff_id],
        };
        let image = new_image(&ImageConfig { rootfs, ..config }, Some(reference.clone()))?;
        self.commit(&lease, layers, vec![image], crate::time::now_ns())?;
        let version = version.to_owned();
        self.shared.db.write(Durability::Normal, move |tx| {
            tx.execute(
                "INSERT INTO builtin_image (name, version) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                params![name, version],
            )
            .map_err(sql_error)
        })?;
        drop(lease);
        Ok(())
    }

    fn ingest_bytes(&self, mut layer: &[u8], layers: &mut NewLayers) -> Result<Digest> {
        let shared = &self.shared;
        let purpose = Purpose::Import(Compression::detect(layer)?);
        let mut ingest = self.begin_ingest(purpose)?;
        feed_all(&mut ingest, &mut layer, &shared.pool)?;
        layers.add(ingest.end().wait()?)
    }
}
