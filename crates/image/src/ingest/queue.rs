//! The reading end of a queue of pieces, as a buffered reader.

use super::Piece;
use std::io::{BufRead, Read, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

/// Reads pieces one after the other; ends when the sender is gone.
pub(crate) struct QueueReader {
    pieces: Receiver<Piece>,
    current: Option<Piece>,
    position: usize,
    count: Arc<AtomicU64>,
}

impl QueueReader {
    pub(crate) fn new(pieces: Receiver<Piece>) -> Self {
        Self {
            pieces,
            current: None,
            position: 0,
            count: Arc::default(),
        }
    }
    /// How many bytes were read so far; stays valid while something else owns the reader.
    pub(crate) fn count(&self) -> Arc<AtomicU64> {
        self.count.clone()
    }
}

impl BufRead for QueueReader {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        while self
            .current
            .as_ref()
            .is_none_or(|piece| self.position >= piece.len())
        {
            self.position = 0;
            self.current = self.pieces.recv().ok();
            if self.current.is_none() {
                return Ok(&[]);
            }
        }
        Ok(self
            .current
            .as_ref()
            .map_or(&[][..], |piece| &piece[self.position..]))
    }
    fn consume(&mut self, count: usize) {
        self.position += count;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Read for QueueReader {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}
