//! The writing end of a process's standard input: what clients type is written in order, and none of it is lost.

use super::queue::ByteQueue;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Clients are read only while less than this waits for the process.
const QUEUE_BYTES: usize = 64 * 1024;

/// Standard input; closed if there never was one, if it was ended, or if the process closed its side.
pub(crate) struct Stdin {
    fd: Option<OwnedFd>,
    queue: ByteQueue,
    ends: bool,
}

impl Stdin {
    /// `fd` must be non-blocking.
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            fd,
            queue: ByteQueue::default(),
            ends: false,
        }
    }

    /// Writes `bytes` after all that came before, now or when the process reads. Without a reader they are dropped.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_none() || self.ends {
            return;
        }
        self.queue.push(bytes);
        self.write();
    }

    /// Closes once everything has been written.
    pub(crate) fn end(&mut self) {
        self.ends = true;
        self.write();
    }

    /// Writes what the process takes at the moment.
    pub(crate) fn write(&mut self) {
        while let Some(fd) = &self.fd {
            if self.queue.is_empty() {
                if self.ends {
                    self.fd = None;
                }
                return;
            }
            match rustix::io::write(fd, self.queue.front()) {
                Ok(count) => self.queue.consume(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The process closed its side (EPIPE), or its terminal is gone (EIO).
                Err(_) => self.close(),
            }
        }
    }

    /// Closes now; what waits is dropped.
    pub(crate) fn close(&mut self) {
        self.fd = None;
        self.queue = ByteQueue::default();
    }

    /// Whether a client's next bytes should be read. Without a reader they are read and dropped, so that no client hangs.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_BYTES
    }

    /// What to wait for: that the process reads.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.fd
            .as_ref()
            .filter(|_| !self.queue.is_empty())
            .map(AsFd::as_fd)
    }

    /// Gives memory back that is only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.queue.trim();
    }
}
