//! Takes the frames of stdout and stderr apart without copying payloads twice, and joins small neighbours into one write.

use crate::failure::{Failure, Outcome};
use crate::output::Stream;
use gantry_api::frame::HEADER_LENGTH;

/// Payloads at least this long are written as they are.
const DIRECT_BYTES: usize = 16 * 1024;

/// State between two reads.
#[derive(Default)]
pub(crate) struct Demultiplexer {
    header: [u8; HEADER_LENGTH],
    header_filled: usize,
    current: Option<Target>,
    rest: usize,
    joined: Vec<u8>,
    joined_stream: Option<Stream>,
    error_text: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Output(Stream),
    SystemError,
}

impl Demultiplexer {
    /// Hands every payload in `bytes` to `write`, in order.
    ///
    /// # Errors
    /// A stream without frames, or an error that the daemon sent in the stream.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut write: impl FnMut(Stream, &[u8]),
    ) -> Outcome {
        while !bytes.is_empty() {
            let Some(target) = self.current else {
                let count = (HEADER_LENGTH - self.header_filled).min(bytes.len());
                self.header[self.header_filled..self.header_filled + count]
                    .copy_from_slice(&bytes[..count]);
                self.header_filled += count;
                bytes = &bytes[count..];
                if self.header_filled == HEADER_LENGTH {
                    self.header_filled = 0;
                    self.begin_frame()?;
                }
                continue;
            };
            let count = self.rest.min(bytes.len());
            let (payload, next) = bytes.split_at(count);
            bytes = next;
            self.rest -= count;
            match target {
                Target::Output(stream) => self.join(stream, payload, &mut write),
                Target::SystemError => self.error_text.extend_from_slice(payload),
            }
            if self.rest == 0 {
                self.current = None;
                if target == Target::SystemError {
                    self.flush(&mut write);
                    let text = String::from_utf8_lossy(&self.error_text).into_owned();
                    return Err(Failure::new(format!("error from daemon in stream: {text}")));
                }
            }
        }
        self.flush(&mut write);
        Ok(())
    }

    fn begin_frame(&mut self) -> Outcome {
        let [kind, _, _, _, a, b, c, d] = self.header;
        let target = match kind {
            0 | 1 => Target::Output(Stream::Stdout),
            2 => Target::Output(Stream::Stderr),
            3 => Target::SystemError,
            other => return Err(Failure::new(format!("unrecognized stream: {other}"))),
        };
        self.rest = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        self.current = (self.rest > 0).then_some(target);
        Ok(())
    }

    fn join(&mut self, stream: Stream, payload: &[u8], write: &mut impl FnMut(Stream, &[u8])) {
        if self.joined_stream.is_some_and(|joined| joined != stream) {
            self.flush(write);
        }
        if self.joined.is_empty() && payload.len() >= DIRECT_BYTES {
            write(stream, payload);
            return;
        }
        self.joined_stream = Some(stream);
        self.joined.extend_from_slice(payload);
    }

    fn flush(&mut self, write: &mut impl FnMut(Stream, &[u8])) {
        if let Some(stream) = self.joined_stream.take() {
            write(stream, &self.joined);
            self.joined.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_api::frame::{StreamKind, header};

    fn frames(parts: &[(StreamKind, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, text) in parts {
            bytes.extend(header(*kind, u32::try_from(text.len()).expect("is short")));
            bytes.extend(text.bytes());
        }
        bytes
    }

    #[test]
    fn frames_survive_any_cut_and_keep_their_order() {
        let stream = frames(&[
            (StreamKind::Stdout, "a"),
            (StreamKind::Stdout, "b"),
            (StreamKind::Stderr, "x"),
            (StreamKind::Stdout, "c"),
        ]);
        for step in 1..=stream.len() {
            let mut demultiplexer = Demultiplexer::default();
            let mut seen = String::new();
            for piece in stream.chunks(step) {
                let write = |stream, bytes: &[u8]| {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    seen.push_str(&if stream == Stream::Stderr {
                        text.to_uppercase()
                    } else {
                        text
                    });
                };
                demultiplexer.feed(piece, write).expect("is valid");
            }
            assert_eq!(seen, "abXc", "in steps of {step}");
        }
    }

    #[test]
    fn small_neighbours_are_one_write() {
        let stream = frames(&[(StreamKind::Stdout, "a"), (StreamKind::Stdout, "b")]);
        let mut writes = Vec::new();
        Demultiplexer::default()
            .feed(&stream, |_, bytes| writes.push(bytes.to_vec()))
            .expect("is valid");
        assert_eq!(writes, [b"ab"]);
    }

    #[test]
    fn errors_in_the_stream_are_failures() {
        let mut seen = Vec::new();
        let stream = frames(&[(StreamKind::Stdout, "a"), (StreamKind::SystemError, "oh")]);
        let failure = Demultiplexer::default()
            .feed(&stream, |_, bytes| seen.extend_from_slice(bytes))
            .expect_err("fails");
        assert_eq!(
            (failure.message.as_str(), seen.as_slice()),
            ("error from daemon in stream: oh", &b"a"[..])
        );
        assert!(
            Demultiplexer::default()
                .feed(b"HTTP/1.1 400", |_, _| {})
                .is_err()
        );
    }
}
