//! Standard input without a thread, and without making it non-blocking for others who share it.
//!
//! A descriptor that can be polled is read only after it said that it is ready, so the read does not block. Regular files
//! cannot be polled and never block for long.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::BorrowedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The process's standard input.
pub(crate) struct Stdin {
    ready: Option<AsyncFd<BorrowedFd<'static>>>,
}

impl Stdin {
    pub(crate) fn open() -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "sound for a descriptor that stays open as long as the process"
        )]
        let registered = AsyncFd::with_interest(rustix::stdio::stdin(), Interest::READABLE);
        match registered {
            Ok(ready) => Ok(Self { ready: Some(ready) }),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => {
                Ok(Self { ready: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Zero bytes are the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(ready) = &self.ready else {
            // Other tasks get their turn between two chunks of a file.
            tokio::task::yield_now().await;
            return read_now(buffer);
        };
        loop {
            let mut guard = ready.readable().await?;
            if is_ready()? {
                return read_now(buffer);
            }
            guard.clear_ready();
        }
    }
}

fn is_ready() -> io::Result<bool> {
    let stdin = rustix::stdio::stdin();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut descriptors, Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read_now(buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(count) => return Ok(count),
            Err(rustix::io::Errno::INTR) => {}
            // The other end of a pseudo-terminal is gone.
            Err(rustix::io::Errno::IO) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}
