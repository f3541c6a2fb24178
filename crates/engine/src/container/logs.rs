//! Logs: the daemon reads the files that the shim writes; the shim is not asked.
//!
//! Reading runs on blocking threads in pieces; between the pieces a follower waits for inotify and for the container's end.

use super::Containers;
use super::logs_read::{Form, Sent};
use super::view::ContainerView;
use bytes::Bytes;
use gantry_base::{Context, Error, Result};
use rustix::fs::{Mode, OFlags, inotify};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

/// What a client wants of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogsOptions {
    /// Entries of stdout.
    pub stdout: bool,
    /// Entries of stderr.
    pub stderr: bool,
    /// Go on while the container runs.
    pub follow: bool,
    /// Put the time before each entry.
    pub timestamps: bool,
    /// Put the attributes before each entry.
    pub details: bool,
    /// Not older than this.
    pub since_ns: Option<i64>,
    /// Not younger than this.
    pub until_ns: Option<i64>,
    /// The last so many entries only.
    pub tail: Option<usize>,
}

/// The log as it is sent: framed, or raw for a terminal.
pub struct LogStream {
    /// Whether the container has a terminal.
    pub tty: bool,
    /// Pieces, in order; an error ends the stream.
    pub chunks: mpsc::Receiver<Result<Bytes>>,
}

/// Bytes read at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// Pieces that may wait for a slow client.
const CHUNKS_MAX: usize = 4;
/// How often a follower looks even without a notice, as inotify instances can be used up.
const POLL: Duration = Duration::from_millis(200);

impl Containers {
    /// Opens the log of a container.
    ///
    /// # Errors
    /// `configured logging driver does not support reading` for the driver `none`.
    #[expect(
        clippy::unused_async,
        reason = "it spawns a task, so it has to be called on the runtime"
    )]
    pub async fn logs(&self, reference: &str, options: LogsOptions) -> Result<LogStream> {
        let watch = self.shared.containers.watch(reference)?;
        let view = watch.borrow().clone();
        if view.config.log.driver == "none" {
            return Err(Error::not_implemented(
                "configured logging driver does not support reading",
            ));
        }
        let tty = view.config.process.tty;
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let form = Form {
            stdout: options.stdout,
            stderr: options.stderr,
            timestamps: options.timestamps,
            details: options.details,
            framed: !tty,
            since_ns: options.since_ns,
            until_ns: options.until_ns,
        };
        let path = PathBuf::from(&view.log_path);
        tokio::spawn(async move {
            if let Err(error) = send_all(&path, form, options, watch, &sender).await {
                drop(sender.send(Err(error)).await);
            }
        });
        Ok(LogStream { tty, chunks })
    }
}

/// The files still to be read, oldest first, and the position in the first of them.
struct Reader {
    path: PathBuf,
    files: std::collections::VecDeque<File>,
    current: Option<File>,
    rest: Vec<u8>,
    form: Form,
}

/// What a piece of reading ended with.
enum Piece {
    More(Bytes),
    EndOfFile(Bytes),
    EndOfInterest(Bytes),
}

async fn send_all(
    path: &Path,
    form: Form,
    options: LogsOptions,
    mut watch: watch::Receiver<Arc<ContainerView>>,
    chunks: &mpsc::Sender<Result<Bytes>>,
) -> Result<()> {
    let mut notices = if options.follow {
        Notices::open(path)
    } else {
        None
    };
    let mut reader = open_reader(path.to_owned(), form, options.tail).await?;
    loop {
        // Taken before the read: what was written before the end is read after it.
        let live = options.follow && watch.borrow_and_update().state.status.is_live();
        let piece;
        (reader, piece) = read_piece(reader).await?;
        let (bytes, end) = match piece {
            Piece::More(bytes) => (bytes, None),
            Piece::EndOfFile(bytes) => (bytes, Some(!live)),
            Piece::EndOfInterest(bytes) => (bytes, Some(true)),
        };
        if !bytes.is_empty() && chunks.send(Ok(bytes)).await.is_err() {
            return Ok(());
        }
        match end {
            None => {}
            Some(true) => return Ok(()),
            Some(false) => {
                tokio::select! {
                    () = Notices::wait(notices.as_mut()) => {}
                    changed = watch.changed() => if changed.is_err() { return Ok(()) },
                    () = chunks.closed() => return Ok(()),
                }
            }
        }
    }
}

async fn open_reader(path: PathBuf, form: Form, tail: Option<usize>) -> Result<Reader> {
    blocking(move || {
        let mut files = open_files(&path)?;
        if let Some(lines) = tail {
            seek_to_tail(&mut files, lines)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        let current = files.pop_front();
        Ok(Reader {
            path,
            files,
            current,
            rest: Vec::new(),
            form,
        })
    })
    .await
}

async fn read_piece(mut reader: Reader) -> Result<(Reader, Piece)> {
    blocking(move || {
        let piece = reader
            .read()
            .with_context(|| format!("cannot read {}", reader.path.display()))?;
        Ok((reader, piece))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::internal("reading the log ended unexpectedly"))?
}

/// Opens a log, which is a file; what somebody put in its place is neither followed nor waited for.
fn open_log(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(std::io::Error::other("not a regular file"))
}

/// `x.N … x.1 x`: the rotated files that exist, oldest first, then the current one.
fn open_files(path: &Path) -> Result<std::collections::VecDeque<File>> {
    let mut files = std::collections::VecDeque::new();
    let open = |path: &Path| match open_log(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).prefixed(format!("cannot open {}", path.display()))),
    };
    files.extend(open(path)?);
    for number in 1.. {
        let rotated = PathBuf::from(format!("{}.{number}", path.display()));
        let Some(file) = open(&rotated)? else { break };
        files.push_front(file);
    }
    Ok(files)
}

/// Drops files and moves the first one's position so that `lines` lines are left.
fn seek_to_tail(
    files: &mut std::collections::VecDeque<File>,
    mut lines: usize,
) -> std::io::Result<()> {
    let mut first = files.len();
    for (index, file) in files.iter_mut().enumerate().rev() {
        first = index;
        if lines == 0 {
            file.seek(SeekFrom::End(0))?;
            break;
        }
        let (position, found) = position_of_tail(file, lines)?;
        file.seek(SeekFrom::Start(position))?;
        lines -= found;
        if position > 0 {
            break;
        }
    }
    files.drain(..first);
    Ok(())
}

/// Where the last `lines` lines begin, and how many there are if the file has fewer.
fn position_of_tail(file: &mut File, lines: usize) -> std::io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let mut found = 0;
    let mut buffer = vec![0; BLOCK_BYTES];
    let mut at_very_end = true;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let block = &mut buffer[..usize::try_from(end - start).unwrap_or(BLOCK_BYTES)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        for position in memchr::memrchr_iter(b'\n', block) {
            // The line break that ends the file begins no line.
            let begins_line = !(at_very_end && position + 1 == block.len());
            if begins_line {
                found += 1;
                if found == lines {
                    return Ok((start + position as u64 + 1, found));
                }
            }
        }
        at_very_end = false;
        end = start;
    }
    Ok((0, found + 1))
}

impl Reader {
    /// Reads on, up to a block; at the end of a rotated file it goes on with the next.
    fn read(&mut self) -> std::io::Result<Piece> {
        let mut out = Vec::new();
        loop {
            let Some(file) = &mut self.current else {
                self.current = match self.files.pop_front() {
                    Some(file) => Some(file),
                    None => open_log(&self.path).ok(),
                };
                if self.current.is_none() {
                    return Ok(Piece::EndOfFile(out.into()));
                }
                continue;
            };
            let kept = self.rest.len();
            self.rest.resize(kept + BLOCK_BYTES, 0);
            let count = file.read(&mut self.rest[kept..])?;
            self.rest.truncate(kept + count);
            if count == 0 {
                if self.next_file()? {
                    continue;
                }
                return Ok(Piece::EndOfFile(out.into()));
            }
            let mut position = 0;
            while let Some(length) = memchr::memchr(b'\n', &self.rest[position..]) {
                let sent = self
                    .form
                    .append(&self.rest[position..position + length], &mut out);
                position += length + 1;
                if sent == Sent::End {
                    return Ok(Piece::EndOfInterest(out.into()));
                }
            }
            self.rest.drain(..position);
            if !out.is_empty() {
                return Ok(Piece::More(out.into()));
            }
        }
    }

    /// Goes on with the next file, or with a fresh one if the current was rotated away under us; a torn last line is dropped.
    fn next_file(&mut self) -> std::io::Result<bool> {
        if let Some(next) = self.files.pop_front() {
            self.rest.clear();
            self.current = Some(next);
            return Ok(true);
        }
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let Ok(fresh) = open_log(&self.path) else {
            return Ok(false);
        };
        let (old, new) = (current.metadata()?, fresh.metadata()?);
        if old.ino() != new.ino() || old.dev() != new.dev() {
            self.rest.clear();
            self.current = Some(fresh);
            return Ok(true);
        }
        let position = current.stream_position()?;
        if new.len() < position {
            // Truncated from outside: begin again.
            current.seek(SeekFrom::Start(0))?;
            self.rest.clear();
            return Ok(new.len() > 0);
        }
        Ok(false)
    }
}

/// Notices of writes into the log's directory.
struct Notices {
    fd: AsyncFd<OwnedFd>,
}

impl Notices {
    /// None if the host has no inotify instance left: the follower then polls.
    fn open(path: &Path) -> Option<Self> {
        let fd =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
        let events = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, path.parent()?, events).ok()?;
        Some(Self {
            fd: crate::workload::shim::watch_fd(fd).ok()?,
        })
    }

    async fn wait(notices: Option<&mut Self>) {
        let Some(notices) = notices else {
            return tokio::time::sleep(POLL).await;
        };
        let Ok(mut guard) = notices.fd.readable().await else {
            return tokio::time::sleep(POLL).await;
        };
        let mut buffer = [0; 4096];
        // What the notices say does not matter: the file is read to its end anyway.
        while guard
            .try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer)?))
            .is_ok_and(|read| read.is_ok())
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn scratch(name: &str) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("gantry-logs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("scratch directory");
        directory.join("x.log")
    }

    fn tail_of(path: &Path, lines: usize) -> String {
        let mut files = open_files(path).expect("opens");
        seek_to_tail(&mut files, lines).expect("seeks");
        let mut text = String::new();
        for mut file in files {
            file.read_to_string(&mut text).expect("reads");
        }
        text
    }

    #[test]
    fn tail_counts_over_rotated_files() {
        let path = scratch("tail");
        std::fs::write(&path, "d\ne\n").expect("writes");
        std::fs::write(path.with_extension("log.1"), "b\nc\n").expect("writes");
        std::fs::write(path.with_extension("log.2"), "a\n").expect("writes");
        let expected = [
            "",
            "e\n",
            "d\ne\n",
            "c\nd\ne\n",
            "b\nc\nd\ne\n",
            "a\nb\nc\nd\ne\n",
            "a\nb\nc\nd\ne\n",
        ];
        for (lines, text) in expected.into_iter().enumerate() {
            assert_eq!(tail_of(&path, lines), text, "{lines} lines");
        }
        std::fs::remove_dir_all(path.parent().expect("has one")).expect("removes");
    }

    #[test]
    fn a_file_rotated_away_is_followed_to_its_successor() {
        let path = scratch("rotate");
        let line = |text: &str| {
            format!(
                "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T10:00:00Z\"}}\n"
            )
        };
        std::fs::write(&path, line("a")).expect("writes");
        let form = Form {
            stdout: true,
            stderr: true,
            timestamps: false,
            details: false,
            framed: false,
            since_ns: None,
            until_ns: None,
        };
        let mut files = open_files(&path).expect("opens");
        let current = files.pop_front();
        let mut reader = Reader {
            path: path.clone(),
            files,
            current,
            rest: Vec::new(),
            form,
        };
        assert!(matches!(reader.read(), Ok(Piece::More(bytes)) if bytes == "a\n"));
        File::options()
            .append(true)
            .open(&path)
            .and_then(|mut f| f.write_all(line("b").as_bytes()))
            .expect("appends");
        std::fs::rename(&path, path.with_extension("log.1")).expect("rotates");
        std::fs::write(&path, line("c")).expect("writes");
        assert!(matches!(reader.read(), Ok(Piece::More(bytes)) if bytes == "b\n"));
        assert!(matches!(reader.read(), Ok(Piece::More(bytes)) if bytes == "c\n"));
        assert!(matches!(reader.read(), Ok(Piece::EndOfFile(bytes)) if bytes.is_empty()));
        std::fs::remove_dir_all(path.parent().expect("has one")).expect("removes");
    }
}
