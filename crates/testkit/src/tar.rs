//! Writes tar archives (ustar, POSIX.1-1988) with fixed times and owners, so that the same content gives the same bytes.
//!
//! For images of tests and of the benchmark; the product reads archives with a parser of its own, which this is independent of.

use std::io::{self, Read, Write};

/// Bytes of a block; archives consist of whole ones.
pub const BLOCK_BYTES: usize = 512;
const TIME_S: u64 = 1_700_000_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory.
    Folder,
}

/// Builds an archive entry by entry.
pub struct Archive<W> {
    sink: W,
}

impl<W: Write> Archive<W> {
    /// Writes into `sink`.
    pub fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Adds a directory, unless its name is too long for the format.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn folder(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.entry(name, "", Kind::Folder, mode)
    }

    /// Adds a symbolic link, unless a name is too long for the format.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, target, Kind::Link, 0o777)
    }

    /// Adds a file of exactly `size` bytes, unless its name is too long for the format; a content that is shorter is filled up.
    ///
    /// # Errors
    /// When the sink fails or the content cannot be read.
    pub fn file(&mut self, name: &str, mode: u32, content: impl Read, size: u64) -> io::Result<()> {
        let Some(head) = header(name, "", Kind::File, mode, size) else {
            return Ok(());
        };
        self.sink.write_all(&head)?;
        let copied = io::copy(&mut content.take(size), &mut self.sink)?;
        let padded = size.next_multiple_of(BLOCK_BYTES as u64);
        io::copy(&mut io::repeat(0).take(padded - copied), &mut self.sink)?;
        Ok(())
    }

    /// Writes the end and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn entry(&mut self, name: &str, link: &str, kind: Kind, mode: u32) -> io::Result<()> {
        header(name, link, kind, mode, 0).map_or(Ok(()), |head| self.sink.write_all(&head))
    }
}

/// One header block; none when a name does not fit, which the caller leaves out.
fn header(name: &str, link: &str, kind: Kind, mode: u32, size: u64) -> Option<[u8; BLOCK_BYTES]> {
    let (prefix, name) = if name.len() <= 100 {
        ("", name)
    } else {
        let cut = name
            .match_indices('/')
            .map(|(i, _)| i)
            .find(|i| name.len() - i - 1 <= 100)?;
        (&name[..cut], &name[cut + 1..])
    };
    if prefix.len() > 155 || link.len() > 100 {
        return None;
    }
    let kind = match kind {
        Kind::File => b'0',
        Kind::Link => b'2',
        Kind::Folder => b'5',
    };
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{TIME_S:011o}\0").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_lists_what_was_written() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin", 0o755).expect("a folder");
        archive
            .file("bin/sh", 0o755, &b"content"[..], 7)
            .expect("a file");
        archive.link("bin/bash", "sh").expect("a link");
        let bytes = archive.finish().expect("an archive");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.tar");
        std::fs::write(&path, bytes).expect("a file in it");
        let list = std::process::Command::new("tar")
            .arg("tvf")
            .arg(&path)
            .output()
            .expect("tar runs");
        let list = String::from_utf8_lossy(&list.stdout);
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(lines.len(), 3, "{list}");
        assert!(lines[0].starts_with("drwxr-xr-x 0/0"), "{list}");
        assert!(
            lines[1].starts_with("-rwxr-xr-x 0/0") && lines[1].ends_with("bin/sh"),
            "{list}"
        );
        assert!(lines[2].ends_with("bin/bash -> sh"), "{list}");
    }

    #[test]
    fn long_names_are_split_and_too_long_ones_left_out() {
        let long = format!("{}/{}", "a".repeat(100), "b".repeat(90));
        let block = header(&long, "", Kind::File, 0o644, 1).expect("a header");
        assert_eq!(
            (&block[..90], &block[345..445]),
            ("b".repeat(90).as_bytes(), "a".repeat(100).as_bytes())
        );
        assert!(header(&"c".repeat(101), "", Kind::File, 0o644, 1).is_none());
    }
}
