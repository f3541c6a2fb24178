//! The container's log as Docker's json-file driver writes it, byte for byte.
//!
//! `escape` turns bytes into the inside of a JSON string, `line` cuts a stream into records, `file` appends records and
//! rotates, `timestamp` writes times. Nothing here blocks for long or fails: what cannot be written is counted.

mod escape;
mod file;
mod line;
mod timestamp;

use file::LogFile;
use gantry_shim_protocol::Log;
use line::Splitter;
use std::os::fd::OwnedFd;
pub(crate) use timestamp::Timestamp;

/// One of the container's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, and all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A json-file log that is being written.
pub(crate) struct JsonLog {
    file: LogFile,
    stdout: Splitter,
    stderr: Splitter,
}

impl JsonLog {
    /// Opens the log described by `log` in `directory`; none if nothing is to be logged.
    pub(crate) fn open(log: &Log, directory: Option<OwnedFd>) -> gantry_base::Result<Option<Self>> {
        let Log::JsonFile {
            file,
            max_size,
            max_files,
            attributes,
        } = log
        else {
            return Ok(None);
        };
        let directory = directory
            .ok_or_else(|| gantry_base::Error::invalid("a json-file log needs a log directory"))?;
        let file = LogFile::open(directory, file, *max_size, *max_files)?;
        let attributes = escape::attributes(attributes);
        Ok(Some(Self {
            file,
            stdout: Splitter::new("stdout", &attributes),
            stderr: Splitter::new("stderr", &attributes),
        }))
    }

    /// Logs bytes that were read from `stream` at `time`. An unfinished line waits for its end.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8], time: Timestamp) {
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        splitter.feed(bytes, time, &mut self.file);
        self.file.flush();
    }

    /// Both streams have ended: logs what is left of unfinished lines.
    pub(crate) fn finish(&mut self, time: Timestamp) {
        self.stdout.finish(time, &mut self.file);
        self.stderr.finish(time, &mut self.file);
        self.file.flush();
    }

    /// Opens the file again by its name, after someone truncated, moved or removed it.
    pub(crate) fn reopen(&mut self) -> gantry_base::Result<()> {
        self.file.reopen()
    }

    /// Bytes of the log that could not be written, so far.
    pub(crate) fn bytes_dropped(&self) -> u64 {
        self.file.bytes_dropped()
    }

    /// Gives buffers back that are only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.file.trim();
        self.stdout.trim();
        self.stderr.trim();
    }
}
