//! Blobs that are being downloaded: written in any order, read in order while they arrive, kept when the download breaks off.
//!
//! The bytes lie in `partial/<hex>`, cut into segments that are each filled from the front; `partial/<hex>.map` says how
//! far each is. Bytes are written before the map, so that a killed daemon's successor trusts the map; after a power cut
//! the map may promise too much, and the digest of the whole finds it out. A row in the database is the intent.

use crate::ingest::{Compression, Ingest, Ingested, MAGIC_BYTES, PIECE_BYTES, Purpose};
use crate::store::{Shared, make_private};
use crate::{Images, time};
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use gantry_state::{Database, Durability, sql_error};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A blob shorter than this is one segment.
const SEGMENTED_BYTES_MIN: u64 = 64 << 20;
/// Length of a segment, at least.
const SEGMENT_BYTES_MIN: u64 = 16 << 20;
/// Segments of one blob, at most.
const SEGMENTS_MAX: u64 = 64;
/// Size and segment length before the segments' entries.
const HEADER_BYTES: u64 = 16;
/// After this time without a download nobody goes on with it.
const LIFE_NS: i64 = 24 * 3600 * 1_000_000_000;
/// The reader is not woken for less, unless it is the end.
const WAKE_BYTES: u64 = 64 << 10;

/// A blob of which some bytes may be here.
pub struct Partial {
    shared: Arc<Shared>,
    digest: Digest,
    size_bytes: u64,
    segment_bytes: u64,
    file: File,
    map: File,
    /// Bytes of each segment that are here, from its front.
    filled: Vec<AtomicU64>,
    /// Bytes that [`Partial::ingest`] has read.
    read_bytes: AtomicU64,
    /// Whether an earlier download left some of it.
    is_inherited: bool,
    is_discarded: AtomicBool,
    /// Why no more bytes come.
    ended: Mutex<Option<String>>,
    changed: Condvar,
}

/// A part of a blob that is filled from its front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// For [`Partial::write`].
    pub index: usize,
    /// What is missing; empty when it is whole.
    pub missing: Range<u64>,
}

/// The digests that are being downloaded.
#[derive(Default)]
pub(crate) struct Partials {
    open: Mutex<HashSet<Digest>>,
}

impl Partials {
    fn open(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images {
    /// Begins the download of a blob, or goes on with one. Nobody else may be downloading the same one.
    ///
    /// # Errors
    /// When somebody is, or a file or row cannot be written.
    pub fn partial(&self, digest: &Digest, size_bytes: u64) -> Result<Arc<Partial>> {
        let shared = &self.shared;
        if !shared.partials.open().insert(digest.clone()) {
            return Err(Error::conflict(format!(
                "{digest} is already being downloaded"
            )));
        }
        let opened = open(shared, digest, size_bytes);
        if opened.is_err() {
            shared.partials.open().remove(digest);
        }
        opened.map(Arc::new)
    }
}

impl Partial {
    /// Of the whole blob.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
    /// Of the whole blob.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
    /// Bytes that are here.
    pub fn arrived_bytes(&self) -> u64 {
        let filled = self.filled.iter();
        filled.map(|filled| filled.load(Ordering::Acquire)).sum()
    }
    /// Bytes that were read, hashed and handed on.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }
    /// Whether an earlier download left some of it.
    pub fn is_inherited(&self) -> bool {
        self.is_inherited
    }
    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.filled.len()
    }

    /// A segment and what is missing of it.
    pub fn segment(&self, index: usize) -> Segment {
        let range = self.range(index);
        let filled = self.filled[index].load(Ordering::Acquire);
        Segment {
            index,
            missing: range.start + filled..range.end,
        }
    }

    fn range(&self, index: usize) -> Range<u64> {
        let start = index as u64 * self.segment_bytes;
        start..(start + self.segment_bytes).min(self.size_bytes)
    }

    /// Appends to a segment. One writer per segment at a time.
    ///
    /// # Errors
    /// When the disk takes no more, or the bytes go beyond the segment's end.
    pub fn write(&self, index: usize, bytes: &[u8]) -> Result<()> {
        let missing = self.segment(index).missing;
        let length = bytes.len() as u64;
        if length > missing.end - missing.start {
            return Err(Error::internal("a segment is longer than it may be"));
        }
        let filled = missing.start + length - self.range(index).start;
        let entry = HEADER_BYTES + index as u64 * 8;
        self.file
            .write_all_at(bytes, missing.start)
            .and_then(|()| self.map.write_all_at(&filled.to_le_bytes(), entry))
            .with_context(|| {
                format!(
                    "cannot write {}",
                    path(&self.shared, &self.digest).display()
                )
            })?;
        gantry_sys::file::write_behind(&self.file, missing.start, missing.start + length);
        self.filled[index].store(filled, Ordering::Release);
        gantry_base::failpoint!("image.partial_written");
        let _ended = self.ended();
        self.changed.notify_all();
        Ok(())
    }

    /// Says that no more bytes come, and why; [`Partial::ingest`] fails if it needs more.
    pub fn end(&self, why: &str) {
        *self.ended() = Some(why.to_owned());
        self.changed.notify_all();
    }

    fn ended(&self) -> MutexGuard<'_, Option<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the blob from its beginning, as it arrives, and unpacks it. Its first bytes say how it is compressed.
    ///
    /// # Errors
    /// When no more bytes come or the whole has another digest; [`Error::kind`] is then `Conflict`.
    pub fn ingest_layer(&self) -> Result<Ingested> {
        let shared = &self.shared;
        let mut first = [0; MAGIC_BYTES];
        if self.size_bytes >= MAGIC_BYTES as u64 {
            self.wait_for(0)?;
            self.file
                .read_exact_at(&mut first, 0)
                .context("cannot read a blob")?;
        }
        let purpose = Purpose::Layer(Compression::detect(&first)?);
        let mut ingest = Ingest::begin_beside(shared, purpose)?;
        let mut position = 0;
        while position < self.size_bytes {
            let until = self.wait_for(position)?;
            let mut part = Part {
                file: &self.file,
                position,
                until,
            };
            while part.position < part.until {
                let piece = shared
                    .pool
                    .read_from(&mut part)
                    .context("cannot read a blob")?;
                ingest.feed(piece)?;
                self.read_bytes.store(part.position, Ordering::Relaxed);
            }
            position = until;
        }
        let ingested = ingest.end().wait()?;
        if ingested.digest != self.digest {
            return Err(Error::conflict(format!(
                "filesystem layer verification failed for digest {}",
                self.digest
            )));
        }
        Ok(ingested)
    }

    /// Hands the whole file over to what was made of it; the download is over.
    ///
    /// # Errors
    /// When the file cannot be moved or the row not be removed.
    pub fn finish(&self, ingested: &Ingested) -> Result<()> {
        let blob = ingested.folder.blob();
        std::fs::rename(path(&self.shared, &self.digest), &blob)
            .with_context(|| format!("cannot create {}", blob.display()))?;
        gantry_base::failpoint!("image.partial_finished");
        self.forget()
    }

    /// Throws away what is here: it is not what it should be.
    ///
    /// # Errors
    /// When the row cannot be removed.
    pub fn discard(&self) -> Result<()> {
        self.forget()
    }

    fn forget(&self) -> Result<()> {
        if self.is_discarded.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        remove_files(&self.shared.partial(), &self.digest);
        delete_row(&self.shared.db, &self.digest)
    }

    /// Up to where the bytes from `position` on are here; waits for some.
    fn wait_for(&self, position: u64) -> Result<u64> {
        let mut ended = self.ended();
        loop {
            let mut until = position;
            let first = usize::try_from(position / self.segment_bytes).unwrap_or(usize::MAX);
            for (index, filled) in self.filled.iter().enumerate().skip(first) {
                let range = self.range(index);
                until = range.start + filled.load(Ordering::Acquire);
                if until < range.end {
                    break;
                }
            }
            let is_enough = until >= position + WAKE_BYTES || until == self.size_bytes;
            if is_enough && until > position {
                return Ok(until);
            }
            if let Some(why) = &*ended {
                return Err(Error::internal(why.clone()));
            }
            ended = self
                .changed
                .wait(ended)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.arrived_bytes() == 0 && self.size_bytes > 0 {
            // Nothing to go on with. What stays after a failure is swept when the store is opened next.
            drop(self.forget());
        }
        self.shared.partials.open().remove(&self.digest);
    }
}

/// A stretch of a file that others go on writing behind.
struct Part<'a> {
    file: &'a File,
    position: u64,
    until: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.until - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left).min(PIECE_BYTES);
        let read = self.file.read_at(&mut buffer[..length], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Throws away what is too old, or has no row; called when the store is opened.
pub(crate) fn sweep(root: &Path, db: &Database) -> Result<()> {
    let folder = root.join("partial");
    make_private(&folder)?;
    let now = time::now_ns();
    let rows: Vec<(String, i64)> = db.read(|connection| {
        let mut statement = connection
            .prepare("SELECT digest, begun_ns FROM partial_blob")
            .map_err(sql_error)?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(sql_error)?;
        rows.collect::<Result<_, _>>().map_err(sql_error)
    })?;
    let mut kept = HashSet::new();
    for (digest, begun_ns) in rows {
        let digest = Digest::parse(&digest)?;
        let is_here = folder.join(digest.hex()).exists();
        if is_here && now.saturating_sub(begun_ns) < LIFE_NS {
            kept.insert(digest.hex().to_owned());
        } else {
            remove_files(&folder, &digest);
            delete_row(db, &digest)?;
        }
    }
    let read = || format!("cannot read {}", folder.display());
    for entry in std::fs::read_dir(&folder).with_context(read)? {
        let entry = entry.with_context(read)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !kept.contains(name.trim_end_matches(".map")) {
            std::fs::remove_file(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn path(shared: &Shared, digest: &Digest) -> PathBuf {
    shared.partial().join(digest.hex())
}

fn map_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{}.map", digest.hex()))
}

/// What cannot be removed now is swept when the store is opened next.
fn remove_files(folder: &Path, digest: &Digest) {
    drop(std::fs::remove_file(folder.join(digest.hex())));
    drop(std::fs::remove_file(map_path(folder, digest)));
}

fn delete_row(db: &Database, digest: &Digest) -> Result<()> {
    let digest = digest.clone();
    db.write(Durability::Normal, move |tx| {
        tx.execute(
            "DELETE FROM partial_blob WHERE digest = ?1",
            [digest.as_str()],
        )
        .map_err(sql_error)?;
        Ok(())
    })
}

fn open(shared: &Arc<Shared>, digest: &Digest, size_bytes: u64) -> Result<Partial> {
    let size = i64::try_from(size_bytes).map_err(|_| Error::invalid("a size is out of range"))?;
    let (text, begun_ns) = (digest.clone(), time::now_ns());
    shared.db.write(Durability::Normal, move |tx| {
        tx.execute(
            "INSERT INTO partial_blob (digest, size_bytes, begun_ns) VALUES (?1, ?2, ?3)
             ON CONFLICT (digest) DO UPDATE SET size_bytes = excluded.size_bytes, begun_ns = excluded.begun_ns",
            rusqlite::params![text.as_str(), size, begun_ns],
        )
        .map_err(sql_error)?;
        Ok(())
    })?;
    let open = |path: &Path| {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options
            .open(path)
            .with_context(|| format!("cannot create {}", path.display()))
    };
    let file = open(&path(shared, digest))?;
    let map = open(&map_path(&shared.partial(), digest))?;
    let (segment_bytes, filled) = if let Some(found) = read_map(&map, &file, size_bytes)? {
        found
    } else {
        let segment_bytes = segment_bytes_for(size_bytes);
        let count = size_bytes.div_ceil(segment_bytes).max(1);
        let new = || format!("cannot write the map of {digest}");
        map.set_len(0).with_context(new)?;
        file.set_len(0).with_context(new)?;
        let mut header = size_bytes.to_le_bytes().to_vec();
        header.extend(segment_bytes.to_le_bytes());
        header.resize(header.len() + usize::try_from(count).unwrap_or(0) * 8, 0);
        map.write_all_at(&header, 0).with_context(new)?;
        (segment_bytes, vec![0; usize::try_from(count).unwrap_or(0)])
    };
    Ok(Partial {
        shared: shared.clone(),
        digest: digest.clone(),
        size_bytes,
        segment_bytes,
        file,
        map,
        is_inherited: filled.iter().any(|filled| *filled > 0),
        filled: filled.into_iter().map(AtomicU64::new).collect(),
        read_bytes: AtomicU64::new(0),
        is_discarded: AtomicBool::new(false),
        ended: Mutex::default(),
        changed: Condvar::new(),
    })
}

fn segment_bytes_for(size_bytes: u64) -> u64 {
    if size_bytes < SEGMENTED_BYTES_MIN {
        return size_bytes.max(1);
    }
    size_bytes.div_ceil(SEGMENTS_MAX).max(SEGMENT_BYTES_MIN)
}

/// What an earlier download left, if it was of the same length and its map makes sense.
fn read_map(map: &File, file: &File, size_bytes: u64) -> Result<Option<(u64, Vec<u64>)>> {
    let mut bytes = Vec::new();
    let most = HEADER_BYTES + SEGMENTS_MAX * 8;
    map.take(most + 1)
        .read_to_end(&mut bytes)
        .context("cannot read the map of a download")?;
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("has eight bytes")))
        .collect();
    let [size, segment_bytes, filled @ ..] = words.as_slice() else {
        return Ok(None);
    };
    let length = file.metadata().context("cannot read a download")?.len();
    let is_sound = *size == size_bytes
        && *segment_bytes == segment_bytes_for(size_bytes)
        && filled.len() as u64 == size_bytes.div_ceil(*segment_bytes).max(1)
        && filled.iter().enumerate().all(|(index, filled)| {
            let start = index as u64 * segment_bytes;
            let end = (start + segment_bytes).min(size_bytes);
            *filled <= end - start && (*filled == 0 || start + filled <= length)
        });
    Ok(is_sound.then(|| (*segment_bytes, filled.to_vec())))
}
