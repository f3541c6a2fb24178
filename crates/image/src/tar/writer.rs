//! Writes members as Go's archive/tar would: ustar where it fits, pax records where it does not.

use super::{BLOCK, Entry, EntryKind};
use crate::{ArchiveSink, Piece};
use gantry_base::{Error, Result};
use std::io::Write;

/// Writes an archive member by member. Call [`TarWriter::finish`] at the end.
pub(crate) struct TarWriter<W> {
    output: W,
    left: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(output: W) -> Self {
        Self {
            output,
            left: 0,
            padding: 0,
        }
    }

    /// Writes the header; exactly `entry.size` bytes of data have to follow for a regular file.
    pub(crate) fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.end_member()?;
        let records = records(entry);
        if !records.is_empty() {
            let mut header = blank_header(b'x', records.len() as u64);
            let base = entry
                .path
                .rsplit(|byte| *byte == b'/')
                .find(|part| !part.is_empty())
                .unwrap_or(b"entry");
            let name = [b"PaxHeaders.0/", base].concat();
            put_text(&mut header[..100], &name[..name.len().min(100)]);
            seal(&mut header);
            self.output.write_all(&header)?;
            self.output.write_all(&records)?;
            self.output
                .write_all(&[0; BLOCK][..records.len().next_multiple_of(BLOCK) - records.len()])?;
        }
        self.output.write_all(&header(entry))?;
        self.left = if entry.kind == EntryKind::Regular {
            entry.size
        } else {
            0
        };
        self.padding = usize::try_from(self.left.next_multiple_of(BLOCK as u64) - self.left)
            .expect("less than a block");
        Ok(())
    }

    /// Writes data of the member.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.count(bytes)?;
        self.output.write_all(bytes)?;
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Error::internal("a file grew while it was archived"))?;
        Ok(())
    }

    /// A member of bytes in memory.
    pub(crate) fn file(&mut self, entry: &Entry, bytes: &[u8]) -> Result<()> {
        self.begin(entry)?;
        self.write(bytes)
    }

    /// Ends the archive with two blocks of zeros.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.end_member()?;
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn end_member(&mut self) -> Result<()> {
        if self.left != 0 {
            return Err(Error::internal("a file shrank while it was archived"));
        }
        self.output.write_all(&[0; BLOCK][..self.padding])?;
        self.padding = 0;
        Ok(())
    }
}

impl<W: ArchiveSink> TarWriter<W> {
    /// As [`TarWriter::write`], without a copy where the output can do without.
    pub(crate) fn write_piece(&mut self, piece: &Piece) -> Result<()> {
        self.count(piece)?;
        self.output.write_piece(piece)?;
        Ok(())
    }
}

fn type_flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Regular => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharacterDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

const SIZE_MAX: u64 = 0o77_777_777_777;
const OWNER_MAX: u32 = 0o7_777_777;

fn records(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if !fits(&entry.path) && split(&entry.path).is_none() {
        record(&mut records, b"path", &entry.path);
    }
    if !fits(&entry.link) {
        record(&mut records, b"linkpath", &entry.link);
    }
    if entry.size > SIZE_MAX {
        record(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if id > OWNER_MAX {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let time = entry.mtime;
    if time.nanoseconds != 0 || time.seconds < 0 || time.seconds.unsigned_abs() > SIZE_MAX {
        record(
            &mut records,
            b"mtime",
            decimal_time(time.seconds, time.nanoseconds).as_bytes(),
        );
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    records
}

fn decimal_time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanoseconds) {
        (false, fraction) => ("", seconds.unsigned_abs(), fraction),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, fraction) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - fraction),
    };
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The length counts itself.
pub(super) fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Short enough for its field, and in characters that every reader takes for the same.
fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// Prefix and name for a path that ustar can hold in two fields.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() || path.len() > 256 {
        return None;
    }
    let name_of = |at: usize| &path[at + 1..];
    path.iter()
        .enumerate()
        .filter(|(at, byte)| **byte == b'/' && *at > 0 && *at <= 155)
        .map(|(at, _)| at)
        .find(|at| !name_of(*at).is_empty() && name_of(*at).len() <= 100)
        .map(|at| (&path[..at], name_of(at)))
}

fn blank_header(flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put_octal(&mut block[100..108], 0o644);
    put_octal(&mut block[108..116], 0);
    put_octal(&mut block[116..124], 0);
    put_octal(&mut block[124..136], if size > SIZE_MAX { 0 } else { size });
    put_octal(&mut block[136..148], 0);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    put_octal(&mut block[329..337], 0);
    put_octal(&mut block[337..345], 0);
    block
}

fn header(entry: &Entry) -> [u8; BLOCK] {
    let size = if entry.kind == EntryKind::Regular {
        entry.size
    } else {
        0
    };
    let mut block = blank_header(type_flag(entry.kind), size);
    if fits(&entry.path) {
        put_text(&mut block[..100], &entry.path);
    } else if let Some((prefix, name)) = split(&entry.path) {
        put_text(&mut block[345..500], prefix);
        put_text(&mut block[..100], name);
    } else {
        let end = entry.path.len().min(100);
        put_text(&mut block[..100], &entry.path[..end]);
    }
    let link_end = entry.link.len().min(100);
    put_text(&mut block[157..257], &entry.link[..link_end]);
    put_octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    put_octal(&mut block[108..116], u64::from(entry.uid.min(OWNER_MAX)));
    put_octal(&mut block[116..124], u64::from(entry.gid.min(OWNER_MAX)));
    put_octal(
        &mut block[136..148],
        u64::try_from(entry.mtime.seconds)
            .unwrap_or(0)
            .min(SIZE_MAX),
    );
    put_octal(&mut block[329..337], u64::from(entry.device_major));
    put_octal(&mut block[337..345], u64::from(entry.device_minor));
    seal(&mut block);
    block
}

fn put_text(field: &mut [u8], text: &[u8]) {
    field[..text.len()].copy_from_slice(text);
}

fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[text.len() - digits..]);
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
