//! The frames in which stdout and stderr share one stream: 8 bytes `{kind, 0, 0, 0, length as u32 big-endian}`, then the payload.
//!
//! Streams of containers with a terminal have no frames.

use bytes::{Buf, Bytes, BytesMut};

/// Content type of unframed streams, and of all streams before version 1.42.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Content type of framed streams.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// Length of a header.
pub const HEADER_LENGTH: usize = 8;
/// The longest payload that a reader takes; dockerd and we write far shorter ones.
const PAYLOAD_MAX: usize = 64 * 1024 * 1024;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Never sent by a daemon.
    Stdin,
    Stdout,
    Stderr,
    /// An error of the daemon, in the stream since nothing else is left.
    SystemError,
}

/// The header of a frame with `length` bytes.
#[must_use]
pub fn header(kind: StreamKind, length: u32) -> [u8; HEADER_LENGTH] {
    let kind = match kind {
        StreamKind::Stdin => 0,
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
        StreamKind::SystemError => 3,
    };
    let [a, b, c, d] = length.to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The first byte of a header.
    UnknownKind(u8),
    /// A payload longer than any that a daemon writes.
    TooLong(usize),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "unrecognized stream: {kind}"),
            Self::TooLong(length) => write!(f, "frame of {length} bytes is too long"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes a framed stream apart. Payloads are handed on as they come in, so a frame may yield several pieces.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
    current: Option<(StreamKind, usize)>,
}

impl FrameDecoder {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece of a payload; none until more was pushed.
    pub fn next_piece(&mut self) -> Result<Option<(StreamKind, Bytes)>, FrameError> {
        loop {
            if let Some((kind, rest)) = self.current {
                if rest == 0 {
                    self.current = None;
                    continue;
                }
                let length = rest.min(self.buffer.len());
                if length == 0 {
                    return Ok(None);
                }
                self.current = Some((kind, rest - length));
                return Ok(Some((kind, self.buffer.split_to(length).freeze())));
            }
            if self.buffer.len() < HEADER_LENGTH {
                return Ok(None);
            }
            let kind = match self.buffer[0] {
                0 => StreamKind::Stdin,
                1 => StreamKind::Stdout,
                2 => StreamKind::Stderr,
                3 => StreamKind::SystemError,
                other => return Err(FrameError::UnknownKind(other)),
            };
            self.buffer.advance(4);
            let length = usize::try_from(self.buffer.get_u32()).unwrap_or(usize::MAX);
            if length > PAYLOAD_MAX {
                return Err(FrameError::TooLong(length));
            }
            self.current = Some((kind, length));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut stream = Vec::new();
        for (kind, text) in [
            (StreamKind::Stdout, "hello"),
            (StreamKind::Stderr, ""),
            (StreamKind::Stderr, "oh"),
        ] {
            stream.extend(header(kind, u32::try_from(text.len()).expect("is short")));
            stream.extend(text.bytes());
        }
        for step in 1..stream.len() {
            let mut decoder = FrameDecoder::default();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for piece in stream.chunks(step) {
                decoder.push(piece);
                while let Some((kind, bytes)) = decoder.next_piece().expect("is valid") {
                    if kind == StreamKind::Stdout {
                        out.extend(bytes);
                    } else {
                        err.extend(bytes);
                    }
                }
            }
            assert_eq!(
                (out.as_slice(), err.as_slice()),
                (&b"hello"[..], &b"oh"[..]),
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn garbage_is_refused() {
        let mut decoder = FrameDecoder::default();
        decoder.push(b"HTTP/1.1 400");
        assert_eq!(decoder.next_piece(), Err(FrameError::UnknownKind(b'H')));
        let mut decoder = FrameDecoder::default();
        decoder.push(&header(StreamKind::Stdout, u32::MAX));
        assert!(matches!(decoder.next_piece(), Err(FrameError::TooLong(_))));
    }
}
