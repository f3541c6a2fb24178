//! Buffers that go from thread to thread and come back when the last has read them.

use std::io::Read;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// Size of a buffer: large enough that hand-over costs nothing beside the work on it.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// Idle buffers kept.
const IDLE_MAX: usize = 32;

/// Where buffers wait for their next use.
#[derive(Clone, Default)]
pub struct Pool {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Bytes that several threads read; cloning shares them.
#[derive(Clone)]
pub struct Piece {
    buffer: Arc<Buffer>,
}

struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    pool: Pool,
}

impl Pool {
    /// Fills one piece from `input`; it is empty only at the end.
    ///
    /// # Errors
    /// What reading met.
    pub fn read_from(&self, input: &mut impl Read) -> std::io::Result<Piece> {
        let mut bytes = self.take();
        let mut length = 0;
        while length < bytes.len() {
            match input.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.piece(bytes, length))
    }

    /// A copy of at most one piece's worth of `bytes`.
    pub fn copy_of(&self, bytes: &[u8]) -> Piece {
        let mut buffer = self.take();
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.piece(buffer, length)
    }

    fn take(&self) -> Vec<u8> {
        let idle = self
            .idle
            .lock()
            .expect("no code panics while it holds the buffers")
            .pop();
        idle.unwrap_or_else(|| vec![0; PIECE_BYTES])
    }

    fn piece(&self, bytes: Vec<u8>, length: usize) -> Piece {
        Piece {
            buffer: Arc::new(Buffer {
                bytes,
                length,
                pool: self.clone(),
            }),
        }
    }
}

impl Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer.bytes[..self.buffer.length]
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Ok(mut idle) = self.pool.idle.lock()
            && idle.len() < IDLE_MAX
        {
            idle.push(bytes);
        }
    }
}
