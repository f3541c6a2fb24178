//! Taking in what has arrived: first the files, durably, then all rows in one transaction.

use super::Images;
use crate::ImageId;
use crate::chain::chain_id;
use crate::ingest::{Folder, Ingested, IngestedLayer};
use gantry_base::{Context, Error, Result};
use gantry_oci::{Digest, Reference};
use gantry_state::{Durability, sql_error};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

/// An image to record. Its layers are in the store, or among the [`NewLayers`] of the same commit.
#[derive(Clone)]
pub(crate) struct NewImage {
    pub(crate) config: Vec<u8>,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) manifest: Option<Digest>,
    /// Documents to keep with it.
    pub(crate) documents: BTreeMap<Digest, Vec<u8>>,
    pub(crate) references: Vec<Reference>,
}

/// Layers that have arrived, by the digest of their uncompressed tar.
#[derive(Default)]
pub(crate) struct NewLayers {
    layers: HashMap<Digest, NewLayer>,
}

struct NewLayer {
    folder: Folder,
    blob: Digest,
    blob_bytes: u64,
    layer: IngestedLayer,
}

impl NewLayers {
    /// Adds what was taken for a layer.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn add(&mut self, ingested: Ingested) -> Result<Digest> {
        let Ingested {
            folder,
            digest,
            size_bytes,
            layer,
        } = ingested;
        let layer =
            layer.unwrap_or_else(|| Err(Error::invalid(format!("{digest} is not a layer"))))?;
        let diff_id = layer.diff_id.clone();
        self.layers.insert(
            diff_id.clone(),
            NewLayer {
                folder,
                blob: digest,
                blob_bytes: size_bytes,
                layer,
            },
        );
        Ok(diff_id)
    }
}

/// A layer as it is written to the database.
struct LayerRow {
    id: i64,
    diff_id: Digest,
    size_bytes: u64,
    tar_bytes: u64,
    blob: Digest,
    blob_bytes: u64,
    compression: String,
}

impl Images {
    /// The layer that came as this blob, by its diff id. Only a lease keeps it there.
    pub(crate) fn layer_of_blob(&self, blob: &Digest) -> Result<Option<Digest>> {
        let found: Option<String> = self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT diff_id FROM layer WHERE blob = ?1 OR diff_id = ?1")
                .map_err(sql_error)?;
            statement
                .query_row([blob.as_str()], |row| row.get(0))
                .optional()
                .map_err(sql_error)
        })?;
        found.map(|diff_id| Digest::parse(&diff_id)).transpose()
    }

    /// Makes layers and images part of the store. The caller holds a lease.
    ///
    /// # Errors
    /// When a file or row cannot be written; then nothing is taken in.
    pub(crate) fn commit(
        &self,
        layers: NewLayers,
        images: Vec<NewImage>,
        tagged_ns: i64,
    ) -> Result<Vec<ImageId>> {
        let shared = &self.shared;
        let mut rows = Vec::new();
        let is_needed =
            |diff_id: &Digest| images.iter().any(|image| image.diff_ids.contains(diff_id));
        for (diff_id, new) in layers.layers {
            if is_needed(&diff_id) && self.layer_of_blob(&diff_id)?.is_none() {
                rows.push(self.move_in(diff_id, new)?);
            }
        }
        let mut has_documents = false;
        for (digest, bytes) in images.iter().flat_map(|image| &image.documents) {
            has_documents = true;
            let path = shared.blob(digest);
            std::fs::write(&path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if has_documents || !rows.is_empty() {
            // Once for everything: files, directories and their names.
            gantry_sys::file::sync_filesystem(&shared.root)?;
        }
        gantry_base::failpoint!("image.layers_moved");
        let folders: Vec<_> = rows.iter().map(|row| shared.layer(row.id)).collect();
        let ids: Vec<ImageId> = images
            .iter()
            .map(|image| ImageId(Digest::of(&image.config)))
            .collect();
        let written = shared.change(|| {
            shared.db.write(Durability::Full, move |tx| {
                let mut unused = Vec::new();
                for row in rows {
                    if !insert_layer(tx, &row)? {
                        tx.execute(
                            "INSERT OR IGNORE INTO released_blob (digest) VALUES (?1)",
                            [row.blob.as_str()],
                        )
                        .map_err(sql_error)?;
                        unused.push(row.id);
                    }
                }
                for image in &images {
                    insert_image(tx, image, tagged_ns)?;
                }
                Ok(unused)
            })
        });
        match written {
            // Another load was faster with the same layer.
            Ok(unused) => unused
                .into_iter()
                .try_for_each(|id| shared.discard(&shared.layer(id)))?,
            Err(error) => {
                folders
                    .iter()
                    .try_for_each(|folder| shared.discard(folder))?;
                return Err(error);
            }
        }
        Ok(ids)
    }

    fn move_in(&self, diff_id: Digest, new: NewLayer) -> Result<LayerRow> {
        let shared = &self.shared;
        let NewLayer {
            folder,
            blob,
            blob_bytes,
            layer,
        } = new;
        let id = shared.next_layer.fetch_add(1, Ordering::Relaxed);
        let target = shared.layer(id);
        super::make_private(&target)?;
        let diff = target.join("diff");
        std::fs::rename(folder.diff(), &diff)
            .with_context(|| format!("cannot create {}", diff.display()))?;
        let blob_path = shared.blob(&blob);
        std::fs::rename(folder.blob(), &blob_path)
            .with_context(|| format!("cannot create {}", blob_path.display()))?;
        Ok(LayerRow {
            id,
            diff_id,
            size_bytes: layer.size_bytes,
            tar_bytes: layer.tar_bytes,
            blob,
            blob_bytes,
            compression: layer.compression.to_string(),
        })
    }
}

fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::invalid("a size is out of range"))
}

/// `false` if the layer was there already.
fn insert_layer(tx: &Transaction<'_>, row: &LayerRow) -> Result<bool> {
    let mut statement = tx
        .prepare_cached(
            "INSERT INTO layer (id, diff_id, kind, size_bytes, tar_bytes, blob, blob_bytes, compression)
             VALUES (?1, ?2, 'dir', ?3, ?4, ?5, ?6, ?7) ON CONFLICT (diff_id) DO NOTHING",
        )
        .map_err(sql_error)?;
    let changed = statement
        .execute(params![
            row.id,
            row.diff_id.as_str(),
            number(row.size_bytes)?,
            number(row.tar_bytes)?,
            row.blob.as_str(),
            number(row.blob_bytes)?,
            row.compression
        ])
        .map_err(sql_error)?;
    Ok(changed == 1)
}

fn insert_image(tx: &Transaction<'_>, image: &NewImage, tagged_ns: i64) -> Result<()> {
    let id = Digest::of(&image.config);
    let chain = chain_id(&image.diff_ids);
    insert_chain(tx, &chain, &image.diff_ids)?;
    tx.execute(
        "INSERT INTO image (id, config, chain, manifest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET manifest = coalesce(excluded.manifest, manifest)",
        params![
            id.as_str(),
            image.config,
            chain.as_str(),
            image.manifest.as_ref().map(Digest::as_str)
        ],
    )
    .map_err(sql_error)?;
    for digest in image.documents.keys() {
        tx.execute(
            "INSERT OR IGNORE INTO image_blob (image, digest) VALUES (?1, ?2)",
            [id.as_str(), digest.as_str()],
        )
        .map_err(sql_error)?;
    }
    for reference in &image.references {
        insert_reference(tx, reference, &id, tagged_ns)?;
    }
    Ok(())
}

fn insert_chain(tx: &Transaction<'_>, chain: &Digest, diff_ids: &[Digest]) -> Result<()> {
    let inserted = tx
        .execute(
            "INSERT OR IGNORE INTO chain (id) VALUES (?1)",
            [chain.as_str()],
        )
        .map_err(sql_error)?;
    if inserted == 0 {
        return Ok(());
    }
    for (position, diff_id) in diff_ids.iter().enumerate() {
        let changed = tx
            .execute(
                "INSERT INTO chain_layer (chain, position, layer) SELECT ?1, ?2, id FROM layer WHERE diff_id = ?3",
                params![chain.as_str(), number(position as u64)?, diff_id.as_str()],
            )
            .map_err(sql_error)?;
        if changed == 0 {
            return Err(Error::internal(format!("layer {diff_id} is missing")));
        }
    }
    Ok(())
}

/// Lets a name lead to an image, wherever it led before.
pub(crate) fn insert_reference(
    tx: &Transaction<'_>,
    reference: &Reference,
    image: &Digest,
    tagged_ns: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO reference (name, image) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET image = excluded.image",
        [reference.to_string().as_str(), image.as_str()],
    )
    .map_err(sql_error)?;
    tx.execute(
        "UPDATE image SET last_tagged_ns = ?2 WHERE id = ?1",
        params![image.as_str(), tagged_ns],
    )
    .map_err(sql_error)?;
    Ok(())
}
