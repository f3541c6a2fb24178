//! What a push, a save or a served registry reads: blobs as they came, and the plain tar of every layer.

use crate::erofs::TAR_OFFSET;
use crate::ingest::{Compression, Ingested, decoder};
use crate::store::LayerKind;
use crate::{ImageId, Images, Lease, NewImage, NewLayers};
use gantry_base::{Context, Error, Result};
use gantry_oci::{Digest, Reference};
use gantry_state::{Durability, sql_error};
use rusqlite::{OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The bytes in which a layer came, or was compressed for a push.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerBlob {
    /// Of these bytes.
    pub digest: Digest,
    /// How many.
    pub size_bytes: u64,
    /// How the tar is compressed.
    pub compression: Compression,
}

/// A layer as the database knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredLayer {
    /// Digest of the plain tar.
    pub diff_id: Digest,
    /// Length of the plain tar.
    pub tar_bytes: u64,
    /// How it is stored.
    pub kind: LayerKind,
    /// The number in its path.
    pub(crate) number: i64,
}

/// A part of a file, as a file of its own.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    start: u64,
    length: u64,
    position: u64,
}

impl BlobReader {
    /// A part of a file.
    pub(crate) fn of(file: File, start: u64, length: u64) -> Self {
        Self {
            file,
            start,
            length,
            position: 0,
        }
    }
    /// How many bytes it has.
    pub fn size_bytes(&self) -> u64 {
        self.length
    }
    /// The file in which the bytes lie, and where they begin: for copying within the kernel.
    pub fn range(&self) -> (&File, u64) {
        (&self.file, self.start)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let read = self
            .file
            .read_at(&mut buffer[..length], self.start + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target
            .filter(|target| *target <= self.length)
            .ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Images {
    /// The layer with this diff id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stored_layer(&self, diff_id: &Digest) -> Result<Option<StoredLayer>> {
        let found = self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT id, tar_bytes, kind FROM layer WHERE diff_id = ?1")
                .map_err(sql_error)?;
            let columns = |row: &rusqlite::Row<'_>| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, String>(2)?,
                ))
            };
            statement
                .query_row([diff_id.as_str()], columns)
                .optional()
                .map_err(sql_error)
        })?;
        let Some((number, tar_bytes, kind)) = found else {
            return Ok(None);
        };
        Ok(Some(StoredLayer {
            diff_id: diff_id.clone(),
            tar_bytes: tar_bytes.unsigned_abs(),
            kind: LayerKind::parse(&kind)?,
            number,
        }))
    }

    /// The blobs that a layer came in, or was compressed into; none if it only has its plain tar.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn layer_blobs(&self, diff_id: &Digest) -> Result<Vec<LayerBlob>> {
        self.shared.db.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT digest, layer_blob.size_bytes, compression FROM layer_blob JOIN layer ON layer.id = layer_blob.layer
                     WHERE diff_id = ?1 ORDER BY digest",
                )
                .map_err(sql_error)?;
            let mut rows = statement.query([diff_id.as_str()]).map_err(sql_error)?;
            let mut blobs = Vec::new();
            while let Some(row) = rows.next().map_err(sql_error)? {
                blobs.push(LayerBlob {
                    digest: Digest::parse(&row.get::<_, String>(0).map_err(sql_error)?)?,
                    size_bytes: row.get::<_, i64>(1).map_err(sql_error)?.unsigned_abs(),
                    compression: Compression::parse(&row.get::<_, String>(2).map_err(sql_error)?)?,
                });
            }
            Ok(blobs)
        })
    }

    /// A blob that is here: compressed layers, documents, and the plain tars that lie inside layers' files. The caller's
    /// lease keeps it.
    ///
    /// # Errors
    /// When it is here and cannot be opened.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        if let Some((file, length)) = self.shared.blobs.open_blob(digest)? {
            return Ok(Some(BlobReader::of(file, 0, length)));
        }
        let layer = self.stored_layer(digest)?;
        let Some(layer) = layer.filter(|layer| layer.kind == LayerKind::Erofs) else {
            return Ok(None);
        };
        self.open_tar(&layer).map(Some)
    }

    /// The plain tar of a layer of kind erofs.
    fn open_tar(&self, layer: &StoredLayer) -> Result<BlobReader> {
        let path = self
            .shared
            .layer(layer.number)
            .join(LayerKind::Erofs.file_name());
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(BlobReader::of(file, TAR_OFFSET, layer.tar_bytes))
    }

    /// The plain tar of a layer, byte for byte as it came; inflated on the way if need be. Not checked against the diff id.
    ///
    /// # Errors
    /// When the layer is not here or cannot be opened.
    pub fn layer_tar(&self, diff_id: &Digest) -> Result<Box<dyn Read + Send>> {
        let missing = || Error::internal(format!("layer {diff_id} is missing"));
        let layer = self.stored_layer(diff_id)?.ok_or_else(missing)?;
        if layer.kind == LayerKind::Erofs {
            return Ok(Box::new(self.open_tar(&layer)?));
        }
        // The one that is inflated fastest.
        let mut blobs = self.layer_blobs(diff_id)?;
        blobs.sort_by_key(|blob| match blob.compression {
            Compression::None => 0,
            Compression::Zstd => 1,
            Compression::Gzip => 2,
        });
        let blob = blobs.first().ok_or_else(missing)?;
        let (file, _) = self
            .shared
            .blobs
            .open_blob(&blob.digest)?
            .ok_or_else(missing)?;
        let input = BufReader::with_capacity(crate::ingest::PIECE_BYTES, file);
        decoder(input, blob.compression)
    }

    /// Keeps a layer's bytes in one more compression: what was made of it for a push.
    ///
    /// # Errors
    /// When the layer is not here, or the blob cannot be stored.
    pub fn add_layer_blob(
        &self,
        lease: &Lease,
        diff_id: &Digest,
        compression: Compression,
        ingested: &Ingested,
    ) -> Result<()> {
        let Ingested {
            folder,
            digest,
            size_bytes,
            ..
        } = ingested;
        lease.hold(digest);
        if lease.layer_of_blob(diff_id)?.is_none() {
            return Err(Error::internal(format!("layer {diff_id} is missing")));
        }
        self.shared.blobs.take_file(&folder.blob(), digest)?;
        self.shared.blobs.sync()?;
        let (digest, diff_id) = (digest.clone(), diff_id.clone());
        let (size, compression) = (*size_bytes, compression.to_string());
        self.shared.db.write(Durability::Normal, move |tx| {
            tx.execute(
                "INSERT INTO layer_blob (digest, layer, size_bytes, compression)
                 SELECT ?1, id, ?3, ?4 FROM layer WHERE diff_id = ?2 ON CONFLICT (digest) DO NOTHING",
                params![
                    digest.as_str(),
                    diff_id.as_str(),
                    i64::try_from(size).unwrap_or(i64::MAX),
                    compression
                ],
            )
            .map_err(sql_error)?;
            Ok(())
        })
    }

    /// Records what an image was pushed as: its manifest, and the name by digest that it has now.
    ///
    /// # Errors
    /// `No such image: X`, or when it cannot be recorded.
    pub fn record_pushed(
        &self,
        lease: &Lease,
        id: &ImageId,
        name: &Reference,
        manifest: &Digest,
        documents: BTreeMap<Digest, Vec<u8>>,
    ) -> Result<()> {
        let image = self.get(id.as_str())?;
        let new = NewImage {
            config: self.config_bytes(id)?,
            diff_ids: image.config.rootfs.diff_ids.clone(),
            manifest: Some(manifest.clone()),
            target: Some(name.digest.clone().unwrap_or_else(|| manifest.clone())),
            documents,
            parent: None,
            references: vec![name.clone()],
        };
        let tagged_ns = image.last_tagged_ns.unwrap_or_default();
        self.commit(lease, NewLayers::default(), vec![new], tagged_ns)
            .map(drop)
    }
}
