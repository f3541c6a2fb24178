//! Cuts one output stream into log records: a line each, and lines longer than 16 KiB in pieces without a newline.
//!
//! The pieces of a long line bear the time of its first piece; what is left at the end of the stream is a piece too.

use super::Timestamp;
use super::escape::escape;
use super::file::LogFile;

/// Longest record, in bytes of output; dockerd's buffer.
const RECORD_MAX: usize = 16 * 1024;

/// The state of one stream.
pub(crate) struct Splitter {
    /// All of a record between the text and the time.
    middle: Vec<u8>,
    /// The start of a line whose end was not read yet; always shorter than [`RECORD_MAX`].
    unfinished: Vec<u8>,
    /// Set after the first piece of a long line, until its end.
    first_piece: Option<Timestamp>,
}

impl Splitter {
    /// For the stream called `name`; `attributes` is a JSON object or empty.
    pub(crate) fn new(name: &str, attributes: &[u8]) -> Self {
        let mut middle = format!("\",\"stream\":\"{name}\"").into_bytes();
        if !attributes.is_empty() {
            middle.extend_from_slice(b",\"attrs\":");
            middle.extend_from_slice(attributes);
        }
        middle.extend_from_slice(b",\"time\":\"");
        Self {
            middle,
            unfinished: Vec::new(),
            first_piece: None,
        }
    }

    /// Takes bytes read at `time`, and writes the records that they complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], time: Timestamp, file: &mut LogFile) {
        let now = self.tail(time);
        while !bytes.is_empty() {
            let room = RECORD_MAX - self.unfinished.len();
            let window = &bytes[..bytes.len().min(room)];
            let (text, used, ends) = match memchr::memchr(b'\n', window) {
                Some(at) => (&bytes[..at], at + 1, true),
                None if window.len() == room => (window, room, false),
                None => {
                    self.unfinished.extend_from_slice(bytes);
                    return;
                }
            };
            bytes = &bytes[used..];
            let tail = self.first_piece.map(|first| self.tail(first));
            record(
                file,
                &self.unfinished,
                text,
                ends,
                tail.as_ref().unwrap_or(&now),
            );
            self.unfinished.clear();
            self.first_piece = if ends {
                None
            } else {
                self.first_piece.or(Some(time))
            };
        }
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self, time: Timestamp, file: &mut LogFile) {
        if !self.unfinished.is_empty() {
            let tail = self.tail(self.first_piece.unwrap_or(time));
            record(file, &self.unfinished, &[], false, &tail);
            self.unfinished.clear();
        }
        self.first_piece = None;
    }

    /// Gives memory back that is only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.unfinished.shrink_to_fit();
    }

    fn tail(&self, time: Timestamp) -> Vec<u8> {
        let mut tail = Vec::with_capacity(self.middle.len() + 40);
        tail.extend_from_slice(&self.middle);
        time.write_to(&mut tail);
        tail.extend_from_slice(b"\"}\n");
        tail
    }
}

fn record(file: &mut LogFile, start: &[u8], end: &[u8], newline: bool, tail: &[u8]) {
    let out = file.next_record();
    out.extend_from_slice(b"{\"log\":\"");
    if start.is_empty() {
        escape(out, end);
    } else if end.is_empty() {
        escape(out, start);
    } else {
        // Joined first: a character may lie across the border.
        let mut whole = Vec::with_capacity(start.len() + end.len());
        whole.extend_from_slice(start);
        whole.extend_from_slice(end);
        escape(out, &whole);
    }
    if newline {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(tail);
}
