//! `docker load`: archives of images.
//!
//! One pass: [`archive`] stores and unpacks every blob while it streams by, since only the end of an archive says which
//! blobs are needed and how they belong together. Then [`docker`] (manifest.json) or [`layout`] (index.json) says which
//! images there are; everything is checked against its digests before a single record is written.
//! Sources: docker-archive as dockerd 28 writes it, OCI image-spec 1.1 "image-layout.md".

mod archive;
mod docker;
mod layout;

use crate::ingest::{Compression, MAGIC_BYTES, PIECE_BYTES, QueueReader, decoder, spawn_scoped};
use crate::store::NewImage;
use crate::{ImageId, Images, Lease};
use archive::Contents;
use gantry_base::{Context, Error, Result};
use gantry_oci::Platform;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::sync::mpsc::sync_channel;

/// What a load tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadEvent {
    /// So much of a layer that is not here yet has been read.
    Layer {
        /// Twelve digits of what the archive calls the layer.
        id: String,
        /// Bytes of the blob read so far.
        current_bytes: u64,
        /// Bytes of the blob.
        total_bytes: u64,
    },
}

/// An image that was loaded; [`std::fmt::Display`] gives dockerd's line without the line end.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The name it was given: `busybox:latest`.
    pub reference: Option<String>,
    /// The image to which that name led before, if another: dockerd prints a line about it.
    pub replaced: Option<ImageId>,
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reference {
            Some(name) => write!(f, "Loaded image: {name}"),
            None => write!(f, "Loaded image ID: {}", self.id),
        }
    }
}

impl Images {
    /// Reads a docker-archive or an OCI layout, plain, gzip or zstd.
    ///
    /// # Errors
    /// When the archive is damaged, hostile or has no image for `platform`; then nothing of it stays.
    pub fn load(
        &self,
        input: impl Read + Send,
        platform: Option<&Platform>,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Vec<Loaded>> {
        let lease = self.lease();
        let mut contents = read_whole(self, &lease, input, progress)?;
        let index = contents.document("index.json")?;
        let images = match (contents.document("manifest.json")?, index) {
            // It can say nothing of platforms and attestations.
            (Some(_), Some(index)) if layout::has_indexes(&index) => {
                layout::images(&mut contents, &index, platform)?
            }
            (Some(manifest), _) => docker::images(&mut contents, &manifest, platform)?,
            (None, Some(index)) => layout::images(&mut contents, &index, platform)?,
            (None, None) => {
                return Err(Error::invalid(
                    "the archive holds no image: neither manifest.json nor index.json is there",
                ));
            }
        };
        let loaded = self.outcome(&images);
        self.commit(
            &lease,
            contents.into_layers(),
            images,
            crate::time::now_ns(),
        )?;
        drop(lease);
        Ok(loaded)
    }

    fn outcome(&self, images: &[NewImage]) -> Vec<Loaded> {
        let index = self.index();
        let mut loaded: Vec<Loaded> = Vec::new();
        for image in images {
            let id = ImageId(gantry_oci::Digest::of(&image.config));
            for reference in &image.references {
                let before = index.named(reference);
                // Whoever stood for the same index stays beside the new one.
                let replaced = before
                    .filter(|before| before.target.is_none() || before.target != image.target)
                    .map(|before| before.image.clone());
                let named = Loaded {
                    id: id.clone(),
                    reference: Some(reference.familiar()),
                    replaced: replaced.filter(|before| *before != id),
                };
                // One line for a name, however many platforms come with it.
                match loaded
                    .iter_mut()
                    .find(|known| known.reference == named.reference)
                {
                    Some(known) => *known = named,
                    None => loaded.push(named),
                }
            }
            if image.references.is_empty() {
                loaded.push(Loaded {
                    id,
                    reference: None,
                    replaced: None,
                });
            }
        }
        loaded
    }
}

/// The plain archive's members; an archive that is compressed as a whole is inflated on a thread.
fn read_whole(
    images: &Images,
    lease: &Lease,
    input: impl Read + Send,
    progress: &mut dyn FnMut(LoadEvent),
) -> Result<Contents> {
    let (compression, input) = detect(input)?;
    if compression == Compression::None {
        return archive::read(
            images,
            lease,
            BufReader::with_capacity(PIECE_BYTES, input),
            progress,
        );
    }
    let pool = &images.shared.pool;
    let limits = images.shared.limits;
    std::thread::scope(|scope| {
        let (pieces, queue) = sync_channel(8);
        let counted = Counted {
            input: BufReader::with_capacity(PIECE_BYTES, input),
            count: std::sync::Arc::default(),
        };
        let inflater = spawn_scoped(scope, "inflate-archive", move || -> Result<()> {
            let mut plain = 0;
            let mut counted = counted;
            let arrived = counted.count.clone();
            let mut decoder = decoder(&mut counted, compression)?;
            loop {
                let piece = pool
                    .read_from(&mut decoder)
                    .with_context(|| format!("cannot decompress {compression} data"))?;
                plain += piece.len() as u64;
                limits.check_inflated(plain, arrived.load(std::sync::atomic::Ordering::Relaxed))?;
                if piece.is_empty() || pieces.send(piece).is_err() {
                    return Ok(());
                }
            }
        })?;
        let contents = archive::read(images, lease, QueueReader::new(queue), progress);
        let inflated = inflater
            .join()
            .map_err(|_| Error::internal("the inflating thread has panicked"))?;
        // Its failure is the cause where both failed.
        inflated.and(contents)
    })
}

/// Looks at the first bytes and puts them back.
pub(crate) fn detect(mut input: impl Read + Send) -> Result<(Compression, impl Read + Send)> {
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    input
        .by_ref()
        .take(MAGIC_BYTES as u64)
        .read_to_end(&mut first)
        .context("cannot read the archive")?;
    let compression = Compression::detect(&first)?;
    Ok((compression, Cursor::new(first).chain(input)))
}

/// Counts what is taken from a reader.
struct Counted<R> {
    input: R,
    count: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.count
            .fetch_add(length as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.input.fill_buf()
    }
    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.count
            .fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
    }
}
