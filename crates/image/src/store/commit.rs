//! Taking in what has arrived: first the files, durably, then all rows in one transaction.

use super::reference::is_native;
use super::{Images, Lease, NewReference, insert_reference};
use crate::ImageId;
use crate::chain::chain_id;
use crate::ingest::{Compression, Folder, Ingested, IngestedLayer};
use crate::store::LayerKind;
use gantry_base::{Context, Error, Result};
use gantry_oci::{Digest, Reference};
use gantry_state::{Durability, sql_error};
use rusqlite::{Transaction, params};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

/// An image to record. Its layers are in the store, or among the [`NewLayers`] of the same commit.
#[derive(Debug, Clone, Default)]
pub struct NewImage {
    /// The config document, whose digest is the image's id.
    pub config: Vec<u8>,
    /// The layers, bottom first.
    pub diff_ids: Vec<Digest>,
    /// The image it was built on here.
    pub parent: Option<ImageId>,
    /// Its manifest.
    pub manifest: Option<Digest>,
    /// What its references stand for: the manifest, or an index above it.
    pub target: Option<Digest>,
    /// Documents to keep with it: manifest, indexes, attestations.
    pub documents: BTreeMap<Digest, Vec<u8>>,
    /// Names to give it.
    pub references: Vec<Reference>,
}

/// Layers that have arrived, by the digest of their uncompressed tar.
#[derive(Default)]
pub struct NewLayers {
    layers: HashMap<Digest, NewLayer>,
}

struct NewLayer {
    folder: Folder,
    blob: Option<NewBlob>,
    layer: IngestedLayer,
}

/// The bytes in which a layer came.
#[derive(Clone)]
struct NewBlob {
    digest: Digest,
    size_bytes: u64,
    compression: Compression,
}

impl NewLayers {
    /// Adds what was taken for a layer; gives its diff id. The caller has checked the blob's digest.
    ///
    /// # Errors
    /// Why it is none.
    pub fn add(&mut self, ingested: Ingested) -> Result<Digest> {
        let Ingested {
            folder,
            digest,
            size_bytes,
            layer,
        } = ingested;
        let layer =
            layer.unwrap_or_else(|| Err(Error::invalid(format!("{digest} is not a layer"))))?;
        let diff_id = layer.diff_id.clone();
        let (digest, size_bytes) = match layer.compression {
            Compression::None => (diff_id.clone(), layer.tar_bytes),
            _ => (digest, size_bytes),
        };
        let blob = layer.is_blob_kept.then_some(NewBlob {
            digest,
            size_bytes,
            compression: layer.compression,
        });
        let new = NewLayer {
            folder,
            blob,
            layer,
        };
        self.layers.insert(diff_id.clone(), new);
        Ok(diff_id)
    }
}

/// A layer as it is written to the database.
struct LayerRow {
    id: i64,
    diff_id: Digest,
    kind: LayerKind,
    size_bytes: u64,
    tar_bytes: u64,
}

/// What a commit has put in its place.
#[derive(Default)]
struct Placed {
    layers: Vec<LayerRow>,
    blobs: Vec<(Digest, NewBlob)>,
    /// Whether files were placed that nobody has synced.
    is_unsynced: bool,
}

impl Images {
    /// Makes layers and images part of the store: those of the layers that the images have.
    ///
    /// # Errors
    /// When a document has another digest, or a file or row cannot be written; then nothing is taken in.
    pub fn commit(
        &self,
        lease: &Lease,
        layers: NewLayers,
        images: Vec<NewImage>,
        tagged_ns: i64,
    ) -> Result<Vec<ImageId>> {
        let shared = &self.shared;
        let mut placed = Placed::default();
        for (diff_id, mut new) in layers.layers {
            let mut owners = images
                .iter()
                .filter(|image| image.diff_ids.contains(&diff_id))
                .peekable();
            if owners.peek().is_none() {
                continue;
            }
            let is_known = lease.layer_of_blob(&diff_id)?.is_some();
            if is_known && !owners.any(|image| image.manifest.is_some()) {
                // No document speaks of this compression of what is here already.
                new.blob = None;
            }
            self.place_layer(lease, diff_id, new, is_known, &mut placed)?;
        }
        for (digest, bytes) in images.iter().flat_map(|image| &image.documents) {
            lease.hold(digest);
            shared.blobs.put(digest, bytes)?;
        }
        self.sync(&placed)?;
        gantry_base::failpoint!("image.layers_moved");
        let folders: Vec<_> = placed
            .layers
            .iter()
            .map(|row| shared.layer(row.id))
            .collect();
        let ids: Vec<ImageId> = images
            .iter()
            .map(|image| ImageId(Digest::of(&image.config)))
            .collect();
        let written = shared.change(|| {
            shared.db.write(Durability::Full, move |tx| {
                let unused = insert_layers(tx, &placed)?;
                for image in &images {
                    insert_image(tx, image, tagged_ns)?;
                }
                Ok(unused)
            })
        });
        let unused = match &written {
            // Another load was faster with the same layer.
            Ok(unused) => unused.iter().map(|id| shared.layer(*id)).collect(),
            Err(_) => folders,
        };
        unused
            .iter()
            .try_for_each(|folder| shared.discard(folder))?;
        written.map(|_| ids)
    }

    fn place_layer(
        &self,
        lease: &Lease,
        diff_id: Digest,
        new: NewLayer,
        is_known: bool,
        placed: &mut Placed,
    ) -> Result<()> {
        let shared = &self.shared;
        lease.hold(&diff_id);
        if let Some(blob) = new.blob {
            lease.hold(&blob.digest);
            let path = new.folder.blob();
            if new.layer.kind == LayerKind::Erofs || is_known {
                let sync = || std::fs::File::open(&path)?.sync_data();
                sync().with_context(|| format!("cannot sync {}", path.display()))?;
            }
            shared.blobs.take_file(&path, &blob.digest)?;
            placed.blobs.push((diff_id.clone(), blob));
        }
        if is_known {
            return Ok(());
        }
        let id = shared.next_layer.fetch_add(1, Ordering::Relaxed);
        let target = shared.layer(id);
        super::make_private(&target)?;
        let kind = new.layer.kind;
        let content = target.join(kind.file_name());
        std::fs::rename(new.folder.content(kind), &content)
            .with_context(|| format!("cannot create {}", content.display()))?;
        placed.is_unsynced |= kind == LayerKind::Dir;
        placed.layers.push(LayerRow {
            id,
            diff_id,
            kind,
            size_bytes: new.layer.size_bytes,
            tar_bytes: new.layer.tar_bytes,
        });
        Ok(())
    }

    /// Files of their own were synced as they arrived, so that their names are left; trees are synced all at once.
    fn sync(&self, placed: &Placed) -> Result<()> {
        let root = &self.shared.root;
        if placed.is_unsynced {
            return gantry_sys::file::sync_filesystem(root);
        }
        for row in &placed.layers {
            gantry_sys::file::sync_directory(&self.shared.layer(row.id))?;
        }
        if !placed.layers.is_empty() {
            gantry_sys::file::sync_directory(&root.join("layers"))?;
        }
        if !placed.blobs.is_empty() {
            self.shared.blobs.sync()?;
        }
        Ok(())
    }
}

fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| Error::invalid("a size is out of range"))
}

/// Gives the numbers of layers that were there already.
fn insert_layers(tx: &Transaction<'_>, placed: &Placed) -> Result<Vec<i64>> {
    let mut statement = tx
        .prepare_cached(
            "INSERT INTO layer (id, diff_id, kind, size_bytes, tar_bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (diff_id) DO NOTHING",
        )
        .map_err(sql_error)?;
    let mut unused = Vec::new();
    for row in &placed.layers {
        let (size, tar) = (number(row.size_bytes)?, number(row.tar_bytes)?);
        let (diff_id, kind) = (row.diff_id.as_str(), row.kind.as_str());
        let changed = statement
            .execute(params![row.id, diff_id, kind, size, tar])
            .map_err(sql_error)?;
        if changed == 0 {
            unused.push(row.id);
        }
    }
    for (diff_id, blob) in &placed.blobs {
        insert_blob(tx, diff_id, blob)?;
    }
    Ok(unused)
}

fn insert_blob(tx: &Transaction<'_>, diff_id: &Digest, blob: &NewBlob) -> Result<()> {
    tx.execute(
        "INSERT INTO layer_blob (digest, layer, size_bytes, compression) SELECT ?1, id, ?3, ?4 FROM layer WHERE diff_id = ?2
         ON CONFLICT (digest) DO NOTHING",
        params![
            blob.digest.as_str(),
            diff_id.as_str(),
            number(blob.size_bytes)?,
            blob.compression.to_string()
        ],
    )
    .map_err(sql_error)?;
    Ok(())
}

fn insert_image(tx: &Transaction<'_>, image: &NewImage, tagged_ns: i64) -> Result<()> {
    let id = Digest::of(&image.config);
    let chain = chain_id(&image.diff_ids);
    insert_chain(tx, &chain, &image.diff_ids)?;
    tx.execute(
        "INSERT INTO image (id, config, chain, manifest, parent) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET manifest = coalesce(excluded.manifest, manifest)",
        params![
            id.as_str(),
            image.config,
            chain.as_str(),
            image.manifest.as_ref().map(Digest::as_str),
            image.parent.as_ref().map(ImageId::as_str)
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
    let is_native = is_native(&image.config)?;
    for reference in &image.references {
        let new = NewReference {
            reference,
            image: &id,
            target: image.target.as_ref().or(image.manifest.as_ref()),
            manifest: image.manifest.as_ref(),
            is_native,
        };
        insert_reference(tx, &new, tagged_ns)?;
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
