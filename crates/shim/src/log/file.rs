//! The log's file: whole records are appended with one write for each batch, and the file is rotated by size.
//!
//! A write that fails or falls short leaves no torn record behind: the file is cut back to the last whole one, the rest
//! is dropped and counted, and the next batch is tried again. Rotation is dockerd's: before a record, once the size is reached.

use gantry_base::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// A batch is written once it is this long, whatever is still to be encoded.
const BATCH_BYTES: usize = 256 * 1024;

/// The open file and the batch that is being collected for it.
pub(crate) struct LogFile {
    directory: OwnedFd,
    name: String,
    max_size: Option<u64>,
    max_files: u32,
    file: Option<OwnedFd>,
    size: u64,
    batch: Vec<u8>,
    bytes_dropped: u64,
}

impl LogFile {
    /// Opens `name` in `directory` for appending, and makes it if need be.
    pub(crate) fn open(
        directory: OwnedFd,
        name: &str,
        max_size: Option<u64>,
        max_files: u32,
    ) -> Result<Self> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(gantry_base::Error::invalid(format!(
                "invalid name of a log file: {name:?}"
            )));
        }
        let mut log = Self {
            directory,
            name: name.to_owned(),
            max_size: max_size.filter(|size| *size > 0),
            max_files: max_files.max(1),
            file: None,
            size: 0,
            batch: Vec::new(),
            bytes_dropped: 0,
        };
        log.reopen()?;
        Ok(log)
    }

    /// Where to append the next record; rotates before it if the file is full.
    pub(crate) fn next_record(&mut self) -> &mut Vec<u8> {
        let full = self
            .max_size
            .is_some_and(|max| self.size + self.batch.len() as u64 >= max);
        if full || self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
        if self.max_size.is_some_and(|max| self.size >= max) {
            self.rotate();
        }
        &mut self.batch
    }

    /// Writes what was collected.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.file.is_none() {
            // The last opening failed (a full disk, a removed directory); it may work by now.
            let _ = self.reopen();
        }
        let mut written = 0;
        if let Some(file) = &self.file {
            while written < self.batch.len() {
                match rustix::io::write(file, &self.batch[written..]) {
                    Ok(0) => break,
                    Ok(count) => written += count,
                    Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
        }
        self.size += written as u64;
        if written < self.batch.len() {
            self.drop_rest(written);
        }
        self.batch.clear();
    }

    /// Opens the file again by its name.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        // Append mode: after a truncation from outside the next record goes to the new end, not behind a hole.
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        self.file = None;
        let file = rustix::fs::openat(
            &self.directory,
            self.name.as_str(),
            flags,
            Mode::from_raw_mode(0o640),
        )
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot open log file {}", self.name))?;
        self.size =
            rustix::fs::fstat(&file).map_or(0, |status| u64::try_from(status.st_size).unwrap_or(0));
        self.file = Some(file);
        Ok(())
    }

    /// Bytes that could not be written, so far.
    pub(crate) fn bytes_dropped(&self) -> u64 {
        self.bytes_dropped
    }

    /// Gives memory back that is only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.batch.shrink_to_fit();
    }

    /// Only `written` bytes of the batch are in the file: cuts off the torn record, counts the rest.
    fn drop_rest(&mut self, written: usize) {
        let whole = memchr::memrchr(b'\n', &self.batch[..written]).map_or(0, |at| at + 1);
        let torn = (written - whole) as u64;
        if torn > 0
            && let Some(file) = &self.file
            && let Ok(status) = rustix::fs::fstat(file)
        {
            // From the file's real end, which is not `size` if someone else truncated it.
            let end = u64::try_from(status.st_size)
                .unwrap_or(0)
                .saturating_sub(torn);
            if rustix::fs::ftruncate(file, end).is_ok() {
                self.size = end;
            }
        }
        self.bytes_dropped += (self.batch.len() - whole) as u64;
    }

    fn rotate(&mut self) {
        // Someone may have truncated the file: then it is not full after all.
        if let (Some(file), Some(max)) = (&self.file, self.max_size)
            && let Ok(status) = rustix::fs::fstat(file)
        {
            self.size = u64::try_from(status.st_size).unwrap_or(0);
            if self.size < max {
                return;
            }
        }
        if self.max_files < 2 {
            if let Some(file) = &self.file
                && rustix::fs::ftruncate(file, 0).is_ok()
            {
                self.size = 0;
            }
            return;
        }
        // Renames replace, so that no moment has fewer files than before; a missing link in the chain is no error.
        for number in (1..self.max_files - 1).rev() {
            let from = format!("{}.{number}", self.name);
            let _ = self.rename(&from, &format!("{}.{}", self.name, number + 1));
        }
        if self.rename(&self.name, &format!("{}.1", self.name)).is_ok() {
            // On failure `file` is none, and the next flush tries again.
            let _ = self.reopen();
        }
    }

    fn rename(&self, from: &str, to: &str) -> rustix::io::Result<()> {
        rustix::fs::renameat(&self.directory, from, &self.directory, to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{JsonLog, Stream, Timestamp};
    use gantry_shim_protocol::Log;
    use std::path::{Path, PathBuf};

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("gantry-shim-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("is made");
        path
    }

    fn open(folder: &Path, max_size: Option<u64>, max_files: u32) -> JsonLog {
        let directory = std::fs::File::open(folder).expect("opens").into();
        let log = Log::JsonFile {
            file: "log".into(),
            max_size,
            max_files,
            attributes: Vec::new(),
        };
        JsonLog::open(&log, Some(directory))
            .expect("opens")
            .expect("is a log")
    }

    fn texts(path: &Path) -> Vec<(String, String, String)> {
        let content = std::fs::read_to_string(path).expect("is read");
        assert!(content.is_empty() || content.ends_with('\n'));
        let text = |value: &serde_json::Value, key: &str| {
            value[key].as_str().expect("is a string").to_owned()
        };
        content
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("is JSON"))
            .map(|value| {
                (
                    text(&value, "log"),
                    text(&value, "stream"),
                    text(&value, "time"),
                )
            })
            .collect()
    }

    /// The lengths are those of dockerd 28.5 for the same output.
    #[test]
    fn long_lines_are_cut_where_dockerd_cuts_them() {
        let mut output = Vec::new();
        for (byte, length) in [(b'a', 16384), (b'b', 16383), (b'c', 16385), (b'd', 40000)] {
            output.extend(std::iter::repeat_n(byte, length));
            output.push(b'\n');
        }
        output.extend(format!("y{}\nend", "é".repeat(8195)).into_bytes());
        for step in [1, 7, 4096, 16384, 65536, output.len()] {
            let folder = folder(&format!("long{step}"));
            let mut log = open(&folder, None, 1);
            for (index, piece) in output.chunks(step).enumerate() {
                log.write(
                    Stream::Stdout,
                    piece,
                    Timestamp(i64::try_from(index).expect("fits")),
                );
            }
            log.finish(Timestamp(1_000_000_000));
            let texts = texts(&folder.join("log"));
            let lengths: Vec<usize> = texts
                .iter()
                .map(|(text, _, _)| text.chars().count())
                .collect();
            assert_eq!(
                lengths,
                [16384, 1, 16384, 16384, 2, 16384, 16384, 7233, 8193, 5, 3],
                "step {step}"
            );
            assert!(texts[8].0.ends_with("é\u{fffd}") && texts[9].0 == "\u{fffd}ééé\n");
            assert_eq!(texts[5].2, texts[7].2, "pieces bear the time of the first");
            assert_eq!(
                (texts[10].0.as_str(), texts[10].2.as_str()),
                ("end", "1970-01-01T00:00:01Z")
            );
            std::fs::remove_dir_all(folder).expect("is removed");
        }
    }

    #[test]
    fn a_record_is_dockerds_to_the_byte() {
        let folder = folder("bytes");
        let log = Log::JsonFile {
            file: "log".into(),
            max_size: None,
            max_files: 1,
            attributes: vec![("k".into(), "v".into())],
        };
        let directory = std::fs::File::open(&folder).expect("opens").into();
        let mut log = JsonLog::open(&log, Some(directory))
            .expect("opens")
            .expect("is a log");
        log.write(Stream::Stderr, b"tab\tcr\r\n\n", Timestamp(1_500_000_000));
        let content = std::fs::read_to_string(folder.join("log")).expect("is read");
        let rest = r#","stream":"stderr","attrs":{"k":"v"},"time":"1970-01-01T00:00:01.5Z"}"#;
        assert_eq!(
            content,
            format!("{{\"log\":\"tab\\u0009cr\\r\\n\"{rest}\n{{\"log\":\"\\n\"{rest}\n")
        );
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn streams_do_not_mix_and_files_rotate_by_size() {
        let folder = folder("rotate");
        let mut log = open(&folder, Some(1000), 3);
        for number in 0..100 {
            log.write(
                Stream::Stdout,
                format!("out {number} ").as_bytes(),
                Timestamp(0),
            );
            log.write(
                Stream::Stderr,
                format!("err {number}\n").as_bytes(),
                Timestamp(0),
            );
            log.write(Stream::Stdout, b"end\n", Timestamp(0));
        }
        let mut all = Vec::new();
        for name in ["log.2", "log.1", "log"] {
            let size = std::fs::metadata(folder.join(name)).expect("exists").len();
            assert!(
                size < 1100 && (name == "log" || size >= 1000),
                "{name} has {size}"
            );
            all.extend(texts(&folder.join(name)));
        }
        assert!(!folder.join("log.3").exists());
        let (last, before) = (&all[all.len() - 1], &all[all.len() - 2]);
        assert_eq!(
            (last.0.as_str(), last.1.as_str()),
            ("out 99 end\n", "stdout")
        );
        assert_eq!(
            (before.0.as_str(), before.1.as_str()),
            ("err 99\n", "stderr")
        );
        // One large write rotates in its middle as well.
        let many = (0..1000)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join("\n")
            + "\n";
        log.write(Stream::Stdout, many.as_bytes(), Timestamp(0));
        assert!(std::fs::metadata(folder.join("log")).expect("exists").len() < 1100);
        assert_eq!(
            texts(&folder.join("log")).last().expect("has records").0,
            "999\n"
        );
        let first = texts(&folder.join("log"))[0]
            .0
            .trim()
            .parse::<u32>()
            .expect("is a number");
        let previous = texts(&folder.join("log.1"))
            .last()
            .expect("has records")
            .0
            .trim()
            .parse::<u32>();
        assert_eq!(previous.expect("is a number") + 1, first);
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn one_file_is_truncated_instead_and_a_restart_goes_on() {
        let folder = folder("one");
        let mut log = open(&folder, Some(200), 1);
        for number in 0..10 {
            log.write(
                Stream::Stdout,
                format!("{number}\n").as_bytes(),
                Timestamp(0),
            );
        }
        let before = texts(&folder.join("log")).len();
        assert!((1..5).contains(&before) && !folder.join("log.1").exists());
        drop(log);
        let mut log = open(&folder, None, 1);
        log.write(Stream::Stdout, b"more\n", Timestamp(0));
        assert_eq!(texts(&folder.join("log")).len(), before + 1);
        std::fs::File::create(folder.join("log")).expect("is truncated");
        log.write(Stream::Stdout, b"after\n", Timestamp(0));
        assert_eq!(texts(&folder.join("log")).len(), 1);
        std::fs::rename(folder.join("log"), folder.join("moved")).expect("is moved");
        log.reopen().expect("opens");
        log.write(Stream::Stdout, b"new\n", Timestamp(0));
        assert_eq!(texts(&folder.join("log"))[0].0, "new\n");
        std::fs::remove_dir_all(folder).expect("is removed");
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "a/b", "/x"] {
            let log = Log::JsonFile {
                file: name.into(),
                max_size: None,
                max_files: 1,
                attributes: Vec::new(),
            };
            let directory = std::fs::File::open("/tmp").expect("opens").into();
            assert!(JsonLog::open(&log, Some(directory)).is_err(), "{name:?}");
        }
    }
}
