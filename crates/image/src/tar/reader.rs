//! Reads members one after the other from a buffered source.

use super::header::{Block, Header};
use super::pax::{self, Extensions};
use super::sparse::{self, TextMap};
use super::{BLOCK, Entry, EntryKind, Segment, Time, invalid};
use gantry_base::{Error, Result};
use std::io::BufRead;

/// Bytes of extensions that one member may have, all together.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Pieces that a sparse file may have.
const SEGMENTS_MAX: usize = 100_000;

/// The members of an archive, in order.
pub(crate) struct TarReader<R> {
    input: R,
    /// What is left of the current member's data, and the padding behind it.
    payload: u64,
    padding: u64,
    ended: bool,
}

/// What came before a member's own header.
#[derive(Default)]
struct Pending {
    extensions: Option<Extensions>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    bytes: u64,
}

impl<R: BufRead> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            payload: 0,
            padding: 0,
            ended: false,
        }
    }

    /// The source, from which everything before the current member's data was read.
    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// The next member; skips what is left of the one before.
    ///
    /// # Errors
    /// Whatever makes the archive ambiguous or damaged.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut pending = Pending::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.header_block()? else {
                let nothing = pending.bytes == 0;
                return if nothing {
                    Ok(None)
                } else {
                    Err(unexpected_end())
                };
            };
            let header = Header::parse(&block)?;
            match header.type_flag() {
                b'x' | b'X' => {
                    let records = self.extension(&header, &mut pending)?;
                    if pending
                        .extensions
                        .replace(Extensions::parse(&records, SEGMENTS_MAX)?)
                        .is_some()
                    {
                        return Err(invalid("two extended headers"));
                    }
                }
                b'g' => pax::check_global(&self.extension(&header, &mut Pending::default())?)?,
                b'L' => {
                    let path = self.long_name(&header, &mut pending)?;
                    if pending.long_path.replace(path).is_some() {
                        return Err(invalid("two long names"));
                    }
                }
                b'K' => {
                    let link = self.long_name(&header, &mut pending)?;
                    if pending.long_link.replace(link).is_some() {
                        return Err(invalid("two long links"));
                    }
                }
                _ => return self.entry(&header, pending).map(Some),
            }
        }
    }

    /// The next piece of the current member's data; empty at its end.
    pub(crate) fn payload(&mut self) -> Result<&[u8]> {
        if self.payload == 0 {
            return Ok(&[]);
        }
        let bytes = self.input.fill_buf()?;
        if bytes.is_empty() {
            return Err(unexpected_end());
        }
        let length = usize::try_from(self.payload)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        Ok(&bytes[..length])
    }

    /// Marks `count` bytes of the last [`TarReader::payload`] as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.payload -= count as u64;
    }

    /// How much of the current member's data is left.
    pub(crate) fn payload_left(&self) -> u64 {
        self.payload
    }

    /// Reads the rest of the member's data, if it is at most `bytes_max`.
    pub(crate) fn read_payload(&mut self, bytes_max: u64) -> Result<Vec<u8>> {
        if self.payload > bytes_max {
            return Err(invalid("a member is too long"));
        }
        let mut bytes = Vec::with_capacity(
            usize::try_from(self.payload)
                .unwrap_or_default()
                .min(1 << 20),
        );
        loop {
            let piece = self.payload()?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            let length = piece.len();
            bytes.extend_from_slice(piece);
            self.consume(length);
        }
    }

    /// Reads the source to its end, so that everything behind the last member is seen (and hashed) too.
    pub(crate) fn drain(&mut self) -> Result<()> {
        loop {
            let length = self.input.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.input.consume(length);
        }
    }

    fn skip_rest(&mut self) -> Result<()> {
        let mut left = self.payload + self.padding;
        (self.payload, self.padding) = (0, 0);
        while left > 0 {
            let length = self.input.fill_buf()?.len();
            if length == 0 {
                return Err(unexpected_end());
            }
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(length);
            self.input.consume(step);
            left -= step as u64;
        }
        Ok(())
    }

    /// A block of zeros, or the end of the source between members, ends the archive.
    fn header_block(&mut self) -> Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            self.ended = true;
            return Ok(None);
        }
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        self.ended = true;
        if self.block(&mut block)? && block != [0; BLOCK] {
            return Err(invalid("a block of zeros between members"));
        }
        Ok(None)
    }

    /// Fills `block`; `false` if the source ended before it.
    fn block(&mut self, block: &mut Block) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return if filled == 0 {
                    Ok(false)
                } else {
                    Err(unexpected_end())
                };
            }
            let step = bytes.len().min(BLOCK - filled);
            block[filled..filled + step].copy_from_slice(&bytes[..step]);
            self.input.consume(step);
            filled += step;
        }
        Ok(true)
    }

    fn begin_payload(&mut self, size: u64) {
        self.payload = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn extension(&mut self, header: &Header<'_>, pending: &mut Pending) -> Result<Vec<u8>> {
        let size = header.size()?;
        // The header block counts, so that empty ones cannot go on for ever.
        pending.bytes = pending
            .bytes
            .saturating_add(size)
            .saturating_add(BLOCK as u64);
        if pending.bytes > EXTENSION_BYTES_MAX {
            return Err(invalid("extended headers are too long"));
        }
        self.begin_payload(size);
        self.read_payload(EXTENSION_BYTES_MAX)
    }

    fn long_name(&mut self, header: &Header<'_>, pending: &mut Pending) -> Result<Vec<u8>> {
        let mut name = self.extension(header, pending)?;
        if let Some(end) = memchr::memchr(0, &name) {
            name.truncate(end);
        }
        if name.is_empty() {
            Err(invalid("empty long name"))
        } else {
            Ok(name)
        }
    }

    fn entry(&mut self, header: &Header<'_>, pending: Pending) -> Result<Entry> {
        let extensions = pending.extensions.unwrap_or_default();
        let path = one_of(extensions.path, pending.long_path)?.unwrap_or_else(|| header.path());
        let link =
            one_of(extensions.link, pending.long_link)?.unwrap_or_else(|| header.link().to_vec());
        let size = match extensions.size {
            Some(size) => size,
            None => header.size()?,
        };
        let kind = kind(header.type_flag(), &path)?;
        let (device_major, device_minor) = match kind {
            EntryKind::CharacterDevice | EntryKind::BlockDevice => header.device()?,
            _ => (0, 0),
        };
        let mtime = match extensions.mtime {
            Some(time) => time,
            None => Time {
                seconds: header.mtime()?,
                nanoseconds: 0,
            },
        };
        let mut entry = Entry {
            path,
            kind,
            link,
            mode: header.mode()?,
            uid: owner(extensions.uid, || header.uid())?,
            gid: owner(extensions.gid, || header.gid())?,
            mtime,
            device_major,
            device_minor,
            size: 0,
            segments: None,
            xattrs: extensions.xattrs,
        };
        let has_link = matches!(kind, EntryKind::HardLink | EntryKind::Symlink);
        if has_link && entry.link.is_empty() {
            return Err(invalid("a link without a target"));
        }
        match kind {
            EntryKind::Regular => {
                self.begin_payload(size);
                entry.size = size;
                self.resolve_sparse(header, extensions.sparse, &mut entry)?;
            }
            // Old programs repeat the target's size here; neither GNU tar nor Go take data to follow.
            EntryKind::HardLink => self.begin_payload(0),
            _ if size != 0 => return Err(invalid("data behind a member that has none")),
            _ => self.begin_payload(0),
        }
        Ok(entry)
    }

    fn resolve_sparse(
        &mut self,
        header: &Header<'_>,
        records: pax::SparseRecords,
        entry: &mut Entry,
    ) -> Result<()> {
        let (map, size) = if header.type_flag() == b'S' {
            if !header.is_gnu() || records.is_sparse() {
                return Err(invalid("sparse file in two formats"));
            }
            self.old_gnu_map(header)?
        } else if records.is_sparse() {
            let size = records
                .size
                .ok_or_else(|| invalid("sparse file without a size"))?;
            if let Some(name) = records.name {
                entry.path = name;
            }
            let map = match (records.major, records.minor, records.map) {
                (Some(1), Some(0), None) => self.text_map()?,
                (None | Some(0), None | Some(0 | 1), Some(map)) => map,
                _ => return Err(invalid("unknown format of a sparse file")),
            };
            (map, size)
        } else {
            return Ok(());
        };
        sparse::check(&map, size, self.payload)?;
        entry.size = size;
        entry.segments = Some(map);
        Ok(())
    }

    fn old_gnu_map(&mut self, header: &Header<'_>) -> Result<(Vec<Segment>, u64)> {
        let (slots, mut continues, size) = header.gnu_sparse()?;
        let mut map = Vec::new();
        sparse::gnu_slots(slots, &mut map, SEGMENTS_MAX)?;
        while continues {
            let mut block = [0; BLOCK];
            // These blocks come before the data and do not count as such.
            if !self.block(&mut block)? {
                return Err(unexpected_end());
            }
            let before = map.len();
            sparse::gnu_slots(&block[..504], &mut map, SEGMENTS_MAX)?;
            continues = block[504] != 0;
            if continues && map.len() == before {
                return Err(invalid("empty sparse map"));
            }
        }
        Ok((map, size))
    }

    fn text_map(&mut self) -> Result<Vec<Segment>> {
        let mut text = TextMap::default();
        loop {
            if self.payload < BLOCK as u64 {
                return Err(invalid("malformed sparse map"));
            }
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? {
                return Err(unexpected_end());
            }
            self.payload -= BLOCK as u64;
            if let Some(map) = text.block(&block, SEGMENTS_MAX)? {
                return Ok(map);
            }
        }
    }
}

/// The two dialects' ways to say the same may not contradict each other.
fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(invalid("two long names differ")),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn owner(extension: Option<u64>, header: impl FnOnce() -> Result<u64>) -> Result<u32> {
    let id = match extension {
        Some(id) => id,
        None => header()?,
    };
    // The topmost value means "leave it as it is" to the kernel.
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| invalid("owner out of range"))
}

fn kind(flag: u8, path: &[u8]) -> Result<EntryKind> {
    Ok(match flag {
        // Archives older than ustar have no other mark of a directory.
        b'0' | 0 if path.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' | b'S' => EntryKind::Regular,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharacterDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => return Err(Error::invalid(format!("unhandled tar header type {other}"))),
    })
}

fn unexpected_end() -> Error {
    Error::invalid("unexpected EOF")
}
