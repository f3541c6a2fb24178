//! One attached client: a connected stream socket from which input is read and to which output is written.
//!
//! The two directions end separately. Output that the socket does not take waits in a bounded queue; a client whose
//! queue is full holds the process back (its output is not read), as a pipeline would. That ends when the client takes
//! nothing for [`STALL_OBSERVER`] (it attached to a running process) or [`STALL_FOREGROUND`] (the process was started
//! for it): then the client gets what waits and a last line that says so, and the process goes on without it.
//!
//! Much output for a single client moves from pipe to socket without passing through this process: [`Client::splice`].

use super::Stream;
use super::detach::DetachKeys;
use super::queue::ByteQueue;
use gantry_shim_protocol::Attach;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketType};
use rustix::pipe::SpliceFlags;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A client with so much output waiting holds the process back.
const QUEUE_BYTES: usize = 1024 * 1024;
/// How long a client that attached later may take nothing while it holds the process back.
const STALL_OBSERVER: Duration = Duration::from_secs(30);
/// The same for a client for which the process was started: the user of `docker run … | less` reads in his own time.
const STALL_FOREGROUND: Duration = Duration::from_mins(10);
pub(super) const NOTICE: &[u8] =
    b"gantry: output was not read for too long; the rest of it is not shown\r\n";

/// What became of bytes that a client sent.
pub(crate) enum Input {
    /// Bytes for the process were appended, perhaps none.
    Bytes,
    /// No more input will come.
    End,
    /// The detach keys; bytes that were typed before were appended.
    Detached,
}

/// One attached client.
pub(crate) struct Client {
    /// Distinguishes the clients of one process.
    pub(crate) key: u32,
    socket: OwnedFd,
    reads: bool,
    writes: bool,
    stdout: bool,
    stderr: bool,
    framed: bool,
    stall_limit: Duration,
    keys: Option<DetachKeys>,
    queue: ByteQueue,
    /// Whether the kernel moves pages from a pipe to this socket.
    can_splice: bool,
    /// The last output was moved by the kernel: more is awaited in the pipe, not in the queue, until the client takes it.
    is_spliced: bool,
    /// When the client last took something, or had nothing to take.
    progress: Instant,
    /// No more output is queued; once the queue is empty the client is closed.
    leaves: bool,
    hung_up: bool,
}

impl Client {
    /// Takes over a connected stream socket.
    pub(crate) fn new(
        key: u32,
        socket: OwnedFd,
        attach: &Attach,
        terminal: bool,
        foreground: bool,
    ) -> Option<Self> {
        if rustix::net::sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
            return None;
        }
        // splice(2) has no flag of its own for this.
        rustix::io::ioctl_fionbio(&socket, true).ok()?;
        Some(Self {
            key,
            socket,
            reads: attach.stdin,
            writes: attach.stdout || attach.stderr,
            stdout: attach.stdout,
            stderr: attach.stderr,
            framed: attach.framed,
            stall_limit: if foreground {
                STALL_FOREGROUND
            } else {
                STALL_OBSERVER
            },
            keys: if terminal {
                DetachKeys::new(attach.detach_keys.clone())
            } else {
                None
            },
            queue: ByteQueue::default(),
            can_splice: true,
            is_spliced: false,
            progress: Instant::now(),
            leaves: false,
            hung_up: false,
        })
    }

    /// The socket, and whether to wait for input, and for room for output. None: nothing at all to wait for.
    pub(crate) fn waits_for(&self, stdin_has_room: bool) -> Option<(BorrowedFd<'_>, bool, bool)> {
        let input = self.reads && stdin_has_room && !self.leaves;
        let output = self.writes && !self.queue.is_empty();
        // A socket that has hung up is always ready: it is looked at only to read the rest of its input.
        (!self.hung_up || input).then_some((self.socket.as_fd(), input, output))
    }

    /// Reads once, and appends to `out` what is for the process.
    pub(crate) fn read(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> Input {
        if !self.reads || self.leaves {
            return Input::Bytes;
        }
        match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((1.., length)) => self.filter(&buffer[..length], out),
            Err(Errno::AGAIN | Errno::INTR) => Input::Bytes,
            Ok(_) | Err(_) => {
                self.reads = false;
                Input::End
            }
        }
    }

    /// The same for input that was read before the socket was handed over.
    pub(crate) fn filter(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Input {
        let Some(keys) = &mut self.keys else {
            out.extend_from_slice(bytes);
            return Input::Bytes;
        };
        if !keys.filter(bytes, out) {
            return Input::Bytes;
        }
        self.reads = false;
        self.leave();
        Input::Detached
    }

    /// Gives the client output of the process.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8], now: Instant) {
        if !self.wants(stream) || bytes.is_empty() {
            return;
        }
        self.is_spliced = false;
        let header = header(stream, bytes.len());
        let header = if self.framed { &header[..] } else { &[] };
        let mut sent = 0;
        if self.queue.is_empty() {
            self.progress = now;
            sent = self.transmitted(transmit(
                &self.socket,
                &[IoSlice::new(header), IoSlice::new(bytes)],
            ));
        }
        if self.writes {
            self.queue.push(header.get(sent..).unwrap_or_default());
            self.queue.push(&bytes[sent.saturating_sub(header.len())..]);
        }
    }

    /// Whether output of this stream goes to this client.
    pub(crate) fn wants(&self, stream: Stream) -> bool {
        let wanted = match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        wanted && self.writes && !self.leaves
    }

    /// Whether [`Client::splice`] may be called.
    pub(crate) fn can_splice(&self) -> bool {
        self.can_splice && self.queue.is_empty()
    }

    /// Moves the next `length` bytes of a pipe, which are in it already, to the client; what the socket does not take
    /// goes through `buffer` into the queue. See splice(2).
    pub(crate) fn splice(
        &mut self,
        stream: Stream,
        pipe: BorrowedFd<'_>,
        length: usize,
        buffer: &mut [u8],
        now: Instant,
    ) {
        self.progress = now;
        self.is_spliced = true;
        let header = header(stream, length);
        let header = if self.framed { &header[..] } else { &[] };
        let mut left = length;
        let sent = self.transmitted(transmit(&self.socket, &[IoSlice::new(header)]));
        self.queue.push(&header[sent..]);
        while left > 0 && self.writes && self.queue.is_empty() {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match rustix::pipe::splice(pipe, None, &self.socket, None, left, flags) {
                Ok(moved @ 1..) => left -= moved,
                Err(Errno::INTR) => {}
                Ok(_) | Err(Errno::AGAIN) => break,
                Err(Errno::INVAL) => {
                    self.can_splice = false;
                    break;
                }
                Err(_) => left -= self.transmitted(None),
            }
        }
        while left > 0 {
            let most = buffer.len().min(left);
            match rustix::io::read(pipe, &mut buffer[..most]) {
                Ok(0) => break,
                Ok(count) => {
                    if self.writes {
                        self.queue.push(&buffer[..count]);
                    }
                    left -= count;
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Sends what waits, as far as the client takes it.
    pub(crate) fn write(&mut self, now: Instant) {
        if self.writes && !self.queue.is_empty() {
            let sent =
                self.transmitted(transmit(&self.socket, &[IoSlice::new(self.queue.front())]));
            self.queue.consume(sent);
            if sent > 0 {
                self.progress = now;
            }
        }
    }

    /// The other side is gone: nobody reads output any more. Input that it sent before is still read.
    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
        self.writes = false;
        self.queue = ByteQueue::default();
    }

    /// No more output for this client; it is closed once it has what waits.
    pub(crate) fn leave(&mut self) {
        self.leaves = true;
        self.progress = Instant::now();
    }

    /// Whether the process's output should wait for this client.
    pub(crate) fn holds_back(&self) -> bool {
        let much = if self.is_spliced { 1 } else { QUEUE_BYTES };
        self.writes && !self.leaves && self.queue.len() >= much
    }

    /// Whether output waits for this client.
    pub(crate) fn is_behind(&self) -> bool {
        self.writes && !self.queue.is_empty()
    }

    /// Since when the client has taken nothing.
    pub(crate) fn last_progress(&self) -> Instant {
        self.progress
    }

    /// When this client will have stalled, if it holds the process back or is to leave.
    pub(crate) fn stalls_at(&self) -> Option<Instant> {
        (self.holds_back() || self.leaves && self.is_behind())
            .then(|| self.progress + self.stall_limit)
    }

    /// The client has stalled: the process no longer waits for it. A second time: it goes, with what waits.
    pub(crate) fn cut(&mut self) {
        if self.leaves {
            self.hang_up();
            return;
        }
        if self.framed && self.stderr {
            self.queue.push(&header(Stream::Stderr, NOTICE.len()));
        }
        if !self.framed || self.stderr {
            self.queue.push(NOTICE);
        }
        self.reads = false;
        self.leave();
    }

    /// Whether nothing remains to be done for this client.
    pub(crate) fn is_done(&self) -> bool {
        if self.leaves {
            return !self.is_behind();
        }
        // A client that neither sends nor receives was attached to learn of the end; it stays until it hangs up.
        let watches = !self.stdout && !self.stderr && !self.hung_up;
        !self.writes && !self.reads && !watches
    }

    /// Gives memory back that is only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.queue.trim();
    }

    /// None: the other side no longer reads.
    fn transmitted(&mut self, count: Option<usize>) -> usize {
        count.unwrap_or_else(|| {
            self.writes = false;
            self.queue = ByteQueue::default();
            0
        })
    }
}

/// How many bytes the socket takes at the moment; none if it takes no more ever.
fn transmit(socket: &OwnedFd, parts: &[IoSlice<'_>]) -> Option<usize> {
    let mut nothing = SendAncillaryBuffer::default();
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, parts, &mut nothing, flags)) {
        Ok(count) => Some(count),
        Err(Errno::AGAIN) => Some(0),
        Err(_) => None,
    }
}

impl Drop for Client {
    /// Ends the connection even if the daemon still holds a copy of the descriptor. Input that nobody read is thrown
    /// away first: closing over it would turn the client's end of file into "connection reset".
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        let mut waste = [0_u8; 4096];
        for _ in 0..1024 {
            match rustix::net::recv(&self.socket, &mut waste[..], RecvFlags::DONTWAIT) {
                Ok((1.., _)) | Err(Errno::INTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
    }
}

/// Docker's frame: the stream's number, three zeros, the length in network order.
fn header(stream: Stream, length: usize) -> [u8; 8] {
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [number, 0, 0, 0, length[0], length[1], length[2], length[3]]
}
