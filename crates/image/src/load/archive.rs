//! The members of an archive: small ones in memory, layers stored and unpacked as they stream by.
//!
//! Nothing here touches a path that the archive names: members are keys of a map.

use super::LoadEvent;
use crate::ingest::{Compression, Ending, Ingested, Purpose};
use crate::store::NewLayers;
use crate::tar::{BLOCK, Entry, EntryKind, TarReader, looks_like_header};
use crate::unpack::clean_path;
use crate::{Images, Lease};
use gantry_base::{Error, Result};
use gantry_oci::Digest;
use std::collections::{HashMap, VecDeque};
use std::io::BufRead;
use std::time::{Duration, Instant};

/// Layers that may still be unpacking while the next one is read.
const UNFINISHED_MAX: usize = 2;
/// How far a chain of links may go: docker-archives of old link equal layers to each other.
const LINKS_MAX: usize = 8;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// What is known of one member.
enum Member {
    Document(Vec<u8>),
    Blob(Box<Ingested>),
    /// Taken into the layers already.
    Layer {
        size_bytes: u64,
        diff_id: Digest,
    },
    /// A layer that the store has; its bytes were skipped.
    Known {
        diff_id: Digest,
    },
    Link(Vec<u8>),
}

/// All members of an archive.
pub(super) struct Contents {
    members: HashMap<Vec<u8>, Member>,
    layers: NewLayers,
}

/// A layer as an archive has it.
pub(super) struct ArchivedLayer {
    pub(super) diff_id: Digest,
    /// Length of the blob, if it was read.
    pub(super) size_bytes: Option<u64>,
}

/// Reads the whole archive.
pub(super) fn read(
    images: &Images,
    lease: &Lease,
    input: impl BufRead,
    progress: &mut dyn FnMut(LoadEvent),
) -> Result<Contents> {
    let mut reader = Reader {
        images,
        lease,
        archive: TarReader::new(input),
        unfinished: VecDeque::new(),
        members: HashMap::new(),
    };
    let limits = images.shared.limits;
    let (mut count, mut document_bytes) = (0, 0);
    while let Some(entry) = reader.archive.next_entry()? {
        count += 1;
        let path = clean_path(&entry.path)?;
        let added = reader.member(path, &entry, progress)?;
        document_bytes += added;
        if count > limits.members || document_bytes > limits.documents_bytes {
            return Err(Error::invalid(
                "the archive has more members than an image archive may have",
            ));
        }
    }
    reader.archive.drain()?;
    while !reader.unfinished.is_empty() {
        reader.finish_oldest()?;
    }
    Ok(Contents {
        members: reader.members,
        layers: NewLayers::default(),
    })
}

struct Reader<'a, R> {
    images: &'a Images,
    lease: &'a Lease,
    archive: TarReader<R>,
    unfinished: VecDeque<(Vec<u8>, Ending)>,
    members: HashMap<Vec<u8>, Member>,
}

impl<R: BufRead> Reader<'_, R> {
    /// Gives how much memory the member takes.
    fn member(
        &mut self,
        path: Vec<u8>,
        entry: &Entry,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<u64> {
        let member = match entry.kind {
            EntryKind::Directory => return Ok(0),
            EntryKind::Symlink => {
                let parent = path
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .map_or(&[][..], |at| &path[..=at]);
                let target = if entry.link.starts_with(b"/") {
                    entry.link.clone()
                } else {
                    [parent, &entry.link].concat()
                };
                Member::Link(target)
            }
            EntryKind::HardLink => Member::Link(entry.link.clone()),
            EntryKind::Regular if entry.segments.is_none() => {
                return self.file(path, entry.size, progress);
            }
            _ => {
                return Err(Error::invalid(format!(
                    "unexpected kind of file in the archive: {:?}",
                    String::from_utf8_lossy(&path)
                )));
            }
        };
        let bytes = path.len() as u64;
        self.members.insert(path, member);
        Ok(bytes)
    }

    fn file(
        &mut self,
        path: Vec<u8>,
        size: u64,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<u64> {
        if let Some(digest) = digest_of_path(&path)
            && let Some(diff_id) = self.lease.layer_of_blob(&digest)?
        {
            self.members.insert(path, Member::Known { diff_id });
            return Ok(0);
        }
        let head = self.head()?;
        let compression = Compression::detect(&head).unwrap_or(Compression::None);
        let is_tar =
            looks_like_header(&head) || (head.len() == BLOCK && head.iter().all(|byte| *byte == 0));
        let limits = self.images.shared.limits;
        if compression == Compression::None && !is_tar && size <= limits.document_bytes {
            let mut bytes = head;
            bytes.extend_from_slice(&self.archive.read_payload(limits.document_bytes)?);
            self.members.insert(path, Member::Document(bytes));
            return Ok(size);
        }
        let is_layer = is_tar || compression != Compression::None;
        let purpose = match is_layer {
            // Manifests speak of blobs by such names; the layers of other archives are only known by their tars.
            true if digest_of_path(&path).is_some() => Purpose::Layer(compression),
            true => Purpose::Import(compression),
            false => Purpose::Blob,
        };
        while self.unfinished.len() >= UNFINISHED_MAX {
            self.finish_oldest()?;
        }
        let ending = self.ingest(&path, purpose, head, size, progress)?;
        self.unfinished.push_back((path, ending));
        Ok(0)
    }

    /// Enough of the member's beginning to tell what it is.
    fn head(&mut self) -> Result<Vec<u8>> {
        let mut head = Vec::with_capacity(BLOCK);
        while head.len() < BLOCK {
            let bytes = self.archive.payload()?;
            if bytes.is_empty() {
                break;
            }
            let step = bytes.len().min(BLOCK - head.len());
            head.extend_from_slice(&bytes[..step]);
            self.archive.consume(step);
        }
        Ok(head)
    }

    fn ingest(
        &mut self,
        path: &[u8],
        purpose: Purpose,
        head: Vec<u8>,
        size: u64,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Ending> {
        let shared = &self.images.shared;
        let mut ingest = self.images.begin_ingest(purpose)?;
        ingest.feed(shared.pool.copy_of(&head))?;
        let (mut current, mut told) = (head.len() as u64, Instant::now());
        let id = layer_label(path);
        let mut tell = |current| {
            progress(LoadEvent::Layer {
                id: id.clone(),
                current_bytes: current,
                total_bytes: size,
            });
        };
        loop {
            let piece = shared.pool.copy_of(self.archive.payload()?);
            if piece.is_empty() {
                tell(current);
                return Ok(ingest.end());
            }
            self.archive.consume(piece.len());
            current += piece.len() as u64;
            ingest.feed(piece)?;
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                tell(current);
            }
        }
    }

    fn finish_oldest(&mut self) -> Result<()> {
        if let Some((path, ending)) = self.unfinished.pop_front() {
            self.members
                .insert(path, Member::Blob(Box::new(ending.wait()?)));
        }
        Ok(())
    }
}

impl Contents {
    /// The small member at `path`, if there is one; `blobs/sha256/<hex>` must have that digest.
    pub(super) fn document(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let key = self.follow(path)?;
        let Some(Member::Document(bytes)) = self.members.get(&key) else {
            return Ok(None);
        };
        if let Some(digest) = digest_of_path(&key)
            && Digest::of(bytes) != digest
        {
            return Err(wrong_digest(&digest, &Digest::of(bytes)));
        }
        Ok(Some(bytes.clone()))
    }

    /// The small blob with this digest and length.
    pub(super) fn blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        let bytes = self
            .document(&blob_path(digest))?
            .ok_or_else(|| missing(&blob_path(digest)))?;
        if bytes.len() as u64 != size {
            return Err(Error::invalid(format!(
                "{digest} has {} bytes, not {size}",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// The layer at `path`; takes it into the layers to commit.
    pub(super) fn layer(&mut self, path: &str) -> Result<ArchivedLayer> {
        let key = self.follow(path)?;
        match self.members.get(&key) {
            Some(Member::Known { diff_id }) => {
                return Ok(ArchivedLayer {
                    diff_id: diff_id.clone(),
                    size_bytes: None,
                });
            }
            Some(Member::Layer {
                diff_id,
                size_bytes,
                ..
            }) => {
                return Ok(ArchivedLayer {
                    diff_id: diff_id.clone(),
                    size_bytes: Some(*size_bytes),
                });
            }
            Some(Member::Blob(_)) => {}
            Some(_) => return Err(Error::invalid(format!("{path} is not a layer"))),
            None => return Err(missing(path)),
        }
        let Some(Member::Blob(ingested)) = self.members.remove(&key) else {
            return Err(missing(path));
        };
        let (digest, size_bytes) = (ingested.digest.clone(), ingested.size_bytes);
        if let Some(expected) = digest_of_path(&key)
            && expected != digest
        {
            return Err(wrong_digest(&expected, &digest));
        }
        let diff_id = self.layers.add(*ingested)?;
        self.members.insert(
            key,
            Member::Layer {
                size_bytes,
                diff_id: diff_id.clone(),
            },
        );
        Ok(ArchivedLayer {
            diff_id,
            size_bytes: Some(size_bytes),
        })
    }

    pub(super) fn into_layers(self) -> NewLayers {
        self.layers
    }

    /// Follows links from name to name.
    fn follow(&self, path: &str) -> Result<Vec<u8>> {
        let mut key = clean_path(path.as_bytes())?;
        for _ in 0..LINKS_MAX {
            match self.members.get(&key) {
                Some(Member::Link(target)) => key = clean_path(target)?,
                _ => return Ok(key),
            }
        }
        Err(Error::invalid(format!("too many links lead to {path}")))
    }
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn missing(path: &str) -> Error {
    Error::invalid(format!("open {path}: no such file or directory"))
}

fn wrong_digest(expected: &Digest, found: &Digest) -> Error {
    Error::invalid(format!("unexpected digest {found}, expected {expected}"))
}

/// The digest that a blob's name promises.
fn digest_of_path(path: &[u8]) -> Option<Digest> {
    let hex = path.strip_prefix(b"blobs/sha256/")?;
    Digest::parse(&format!("sha256:{}", std::str::from_utf8(hex).ok()?)).ok()
}

/// Twelve digits of the name that tells layers apart: that of the blob, or of the folder in old archives.
fn layer_label(path: &[u8]) -> String {
    let path = path.strip_prefix(b"blobs/sha256/").unwrap_or(path);
    let text = String::from_utf8_lossy(path);
    text.split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .take(12)
        .collect()
}
