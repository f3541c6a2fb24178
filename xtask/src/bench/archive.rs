//! The tar archives that the benchmark feeds to daemons: one with a single program, and one as large as a small distribution.
//!
//! Writes ustar (POSIX.1-1988) with fixed times and owners, so that the same tree gives the same bytes.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bytes of file content after which the large archive ends.
const TREE_BYTES: u64 = 200 << 20;
const TIME_S: u64 = 1_700_000_000;
const BLOCK_BYTES: usize = 512;

/// An archive with one executable file.
pub(super) fn with_program(name: &str, program: &Path) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut file = fs::File::open(program)?;
    let size = file.metadata()?.len();
    archive.write_all(&header(name, "", b'0', 0o755, size).ok_or(io::ErrorKind::InvalidInput)?)?;
    copy_padded(&mut file, size, &mut archive)?;
    archive.write_all(&[0; 2 * BLOCK_BYTES])?;
    Ok(archive)
}

/// An archive of folders, links and files of this system's `/usr`, in the order of their names, up to a fixed size.
pub(super) fn of_this_system(sink: &mut impl Write) -> io::Result<u64> {
    let mut left = TREE_BYTES;
    for folder in ["/usr/bin", "/usr/lib", "/usr/share"] {
        add_folder(Path::new(folder), sink, &mut left)?;
    }
    sink.write_all(&[0; 2 * BLOCK_BYTES])?;
    Ok(TREE_BYTES - left)
}

fn add_folder(folder: &Path, sink: &mut impl Write, left: &mut u64) -> io::Result<()> {
    let Some(head) = header(&name_of(folder), "", b'5', 0o755, 0) else {
        return Ok(());
    };
    sink.write_all(&head)?;
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, metadata) = (entry.path(), fs::symlink_metadata(entry.path())?);
        if *left == 0 {
            return Ok(());
        }
        if metadata.is_dir() {
            add_folder(&path, sink, left)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path)?;
            if let Some(head) = target
                .to_str()
                .and_then(|t| header(&name_of(&path), t, b'2', 0o777, 0))
            {
                sink.write_all(&head)?;
            }
        } else if metadata.is_file() && metadata.len() <= *left {
            add_file(&path, &metadata, sink)?;
            *left -= metadata.len();
        }
    }
    Ok(())
}

fn add_file(path: &Path, metadata: &fs::Metadata, sink: &mut impl Write) -> io::Result<()> {
    let mode = u64::from(metadata.permissions().mode() & 0o7777);
    if let Some(head) = header(&name_of(path), "", b'0', mode, metadata.len()) {
        sink.write_all(&head)?;
        copy_padded(&mut fs::File::open(path)?, metadata.len(), sink)?;
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.display()
        .to_string()
        .trim_start_matches('/')
        .to_owned()
}

/// One header block; none when a name does not fit, which the caller skips.
fn header(name: &str, link: &str, kind: u8, mode: u64, size: u64) -> Option<[u8; BLOCK_BYTES]> {
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

fn copy_padded(content: &mut impl Read, size: u64, sink: &mut impl Write) -> io::Result<()> {
    // A file that has shrunk since is filled up, so that the archive stays whole.
    let copied = io::copy(&mut content.take(size), sink)?;
    let padded = size.next_multiple_of(BLOCK_BYTES as u64);
    io::copy(&mut io::repeat(0).take(padded - copied), sink).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tar_reads_what_was_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("program");
        fs::write(&program, b"content").expect("a file in it");
        let archive = folder.path().join("a.tar");
        fs::write(
            &archive,
            with_program("payload", &program).expect("an archive"),
        )
        .expect("another file in it");
        let list = std::process::Command::new("tar")
            .arg("tvf")
            .arg(&archive)
            .output()
            .expect("tar runs");
        let list = String::from_utf8_lossy(&list.stdout);
        assert!(
            list.starts_with("-rwxr-xr-x 0/0") && list.trim_end().ends_with("payload"),
            "{list}"
        );
    }

    #[test]
    fn long_names_are_split_and_too_long_ones_left_out() {
        let long = format!("{}/{}", "a".repeat(100), "b".repeat(90));
        let block = header(&long, "", b'0', 0o644, 1).expect("a header");
        assert_eq!(
            (&block[..90], &block[345..445]),
            ("b".repeat(90).as_bytes(), "a".repeat(100).as_bytes())
        );
        assert!(header(&"c".repeat(101), "", b'0', 0o644, 1).is_none());
    }
}
