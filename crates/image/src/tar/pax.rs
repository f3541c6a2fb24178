//! Extended headers: records of `length key=value\n`.

use super::{Segment, Time, invalid};
use gantry_base::Result;

/// What the records of one extended header say; absent members leave the header block's value.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// The three ways in which GNU tar writes sparse files in pax archives.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `realsize` (1.0) or `size` (0.x).
    pub(super) size: Option<u64>,
    /// 0.1: one list; 0.0: pairs of records.
    pub(super) map: Option<Vec<Segment>>,
    pending_offset: Option<u64>,
}

impl SparseRecords {
    fn begin_piece(&mut self, offset: u64) -> Result<()> {
        match self.pending_offset.replace(offset) {
            None => Ok(()),
            Some(_) => Err(invalid("sparse offset without length")),
        }
    }
    pub(super) fn is_sparse(&self) -> bool {
        self.major.is_some() || self.map.is_some() || self.size.is_some()
    }
}

impl Extensions {
    /// Reads all records of one extended header.
    pub(super) fn parse(mut bytes: &[u8], segments_max: usize) -> Result<Self> {
        let mut extensions = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes)?;
            extensions.take(key, value, segments_max)?;
            bytes = rest;
        }
        if extensions.sparse.pending_offset.is_some() {
            return Err(invalid("sparse offset without length"));
        }
        Ok(extensions)
    }

    fn take(&mut self, key: &[u8], value: &[u8], segments_max: usize) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if name.is_empty() || name.contains(&0) {
                return Err(invalid("name of an extended attribute"));
            }
            self.xattrs.retain(|(known, _)| known != name);
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        // An empty value means that the header block's own counts.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| path(value)).transpose()?,
            b"linkpath" => self.link = given.then(|| path(value)).transpose()?,
            b"size" => self.size = given.then(|| decimal(value)).transpose()?,
            b"uid" => self.uid = given.then(|| decimal(value)).transpose()?,
            b"gid" => self.gid = given.then(|| decimal(value)).transpose()?,
            b"mtime" => self.mtime = given.then(|| time(value)).transpose()?,
            b"GNU.sparse.major" => self.sparse.major = Some(decimal(value)?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(path(value)?),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.size = Some(decimal(value)?),
            b"GNU.sparse.map" => self.sparse.map = Some(list(value, segments_max)?),
            b"GNU.sparse.offset" => self.sparse.begin_piece(decimal(value)?)?,
            b"GNU.sparse.numbytes" => {
                let offset = self
                    .sparse
                    .pending_offset
                    .take()
                    .ok_or_else(|| invalid("sparse length without offset"))?;
                let map = self.sparse.map.get_or_insert_default();
                if map.len() >= segments_max {
                    return Err(invalid("too many pieces of a sparse file"));
                }
                map.push(Segment {
                    offset,
                    length: decimal(value)?,
                });
            }
            _ => {}
        }
        Ok(())
    }
}

/// Refuses a global header that would change which bytes are an entry. Docker ignores all others, and so do we.
pub(super) fn check_global(mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let (key, _, rest) = split_record(bytes)?;
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
            return Err(invalid("a global header sets a path or a size"));
        }
        bytes = rest;
    }
    Ok(())
}

fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let malformed = || invalid("malformed extended header");
    let blank = bytes
        .iter()
        .take(20)
        .position(|byte| *byte == b' ')
        .ok_or_else(malformed)?;
    let length = usize::try_from(decimal(&bytes[..blank])?).map_err(|_| malformed())?;
    if length <= blank + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return Err(malformed());
    }
    let record = &bytes[blank + 1..length - 1];
    let equals = memchr::memchr(b'=', record).ok_or_else(malformed)?;
    if equals == 0 || record[..equals].contains(&0) {
        return Err(malformed());
    }
    Ok((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn path(value: &[u8]) -> Result<Vec<u8>> {
    if value.contains(&0) {
        Err(invalid("a path holds a NUL"))
    } else {
        Ok(value.to_vec())
    }
}

pub(super) fn decimal(text: &[u8]) -> Result<u64> {
    let number = || invalid("not a decimal number");
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(number());
    }
    let text = std::str::from_utf8(text).map_err(|_| number())?;
    let value: u64 = text.parse().map_err(|_| number())?;
    if value > i64::MAX.unsigned_abs() {
        Err(invalid("number out of range"))
    } else {
        Ok(value)
    }
}

fn list(value: &[u8], segments_max: usize) -> Result<Vec<Segment>> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let mut map = Vec::new();
    let mut numbers = value.split(|byte| *byte == b',');
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or_else(|| invalid("odd sparse map"))?;
        if map.len() >= segments_max {
            return Err(invalid("too many pieces of a sparse file"));
        }
        map.push(Segment {
            offset: decimal(offset)?,
            length: decimal(length)?,
        });
    }
    Ok(map)
}

/// `-1.5` is half a second before -1.
fn time(text: &[u8]) -> Result<Time> {
    let bad = || invalid("malformed time");
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    let seconds = i64::try_from(decimal(whole)?).map_err(|_| bad())?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let nanoseconds = (0..9).fold(0u32, |value, index| {
        value * 10
            + fraction
                .get(index)
                .map_or(0, |digit| u32::from(digit - b'0'))
    });
    Ok(match (negative, nanoseconds) {
        (false, _) => Time {
            seconds,
            nanoseconds,
        },
        (true, 0) => Time {
            seconds: -seconds,
            nanoseconds: 0,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in pairs {
            super::super::writer::record(&mut bytes, key.as_bytes(), value.as_bytes());
        }
        bytes
    }

    #[test]
    fn records_and_their_faults() {
        let bytes = records(&[
            ("path", "ab"),
            ("size", "1234"),
            ("mtime", "-1.25"),
            ("path", ""),
        ]);
        let parsed = Extensions::parse(&bytes, 4).expect("is valid");
        assert_eq!((parsed.path, parsed.size), (None, Some(1234)));
        assert_eq!(
            parsed.mtime,
            Some(Time {
                seconds: -2,
                nanoseconds: 750_000_000
            })
        );
        assert!(Extensions::parse(&bytes[..bytes.len() - 1], 4).is_err());
        for bad in [
            &b"5 a=b\n"[..],
            b"99 a=b\n",
            b"x a=b\n",
            b"6 =ab\n",
            b"11 path=a\0\n",
            b"12 size=-12\n",
            b"6 a=bc",
            b"+6 a=b\n",
        ] {
            assert!(Extensions::parse(bad, 4).is_err(), "{bad:?}");
        }
        assert!(check_global(&records(&[("size", "12")])).is_err());
        assert!(check_global(&records(&[("comment", "abc")])).is_ok());
    }

    #[test]
    fn sparse_maps_in_both_old_forms() {
        let pairs = records(&[("GNU.sparse.offset", "1"), ("GNU.sparse.numbytes", "2")]);
        let parsed = Extensions::parse(&pairs, 4).expect("is valid");
        let wanted = Segment {
            offset: 1,
            length: 2,
        };
        assert_eq!(parsed.sparse.map, Some(vec![wanted]));
        assert!(Extensions::parse(&pairs, 0).is_err());
        assert!(Extensions::parse(&records(&[("GNU.sparse.offset", "1")]), 4).is_err());
        let parsed = Extensions::parse(&records(&[("GNU.sparse.map", "0,1,9,1")]), 4);
        let map = parsed.expect("is valid").sparse.map;
        assert_eq!(map.expect("is there").len(), 2);
        assert!(Extensions::parse(&records(&[("GNU.sparse.map", "0,1,9")]), 4).is_err());
        assert!(Extensions::parse(&records(&[("GNU.sparse.map", "0,1,9,1")]), 1).is_err());
    }
}
