//! The connection to the daemon, which may go away and come back as another one.
//!
//! Sending never blocks: what the daemon does not take at the moment waits here, in order. A daemon that takes nothing
//! for very long is treated as gone.

use gantry_base::Result;
use gantry_shim_protocol::{
    Event, Failure, FailureKind, PACKET_MAX, Reply, RequestPacket, ShimPacket, VERSION,
};
use gantry_sys::fdpass::{self, Packet};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Packets that wait for the daemon.
const OUTBOX_MAX: usize = 1024;

/// What can be read of a request of a later version, so that it gets its answer.
#[derive(serde::Deserialize)]
struct Numbered {
    seq: u64,
}

/// What came from the daemon.
pub(crate) enum Incoming {
    /// A request with its descriptors.
    Request(RequestPacket, Vec<OwnedFd>),
    /// Nothing yet, or something that was answered here.
    Nothing,
    /// The connection has ended.
    Gone,
}

/// The connection, and the socket on which the next daemon knocks.
pub(crate) struct Control {
    socket: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    outbox: VecDeque<Vec<u8>>,
}

impl Control {
    /// Lives on a connected socket; says hello.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self> {
        let mut control = Self {
            socket: None,
            listener: None,
            outbox: VecDeque::new(),
        };
        fdpass::set_nonblocking(&socket)?;
        control.adopt(socket);
        Ok(control)
    }

    /// Takes the listening socket for later daemons.
    pub(crate) fn listen(&mut self, listener: OwnedFd) {
        // Non-blocking: the one that knocked may be gone by the time of accept.
        if fdpass::set_nonblocking(&listener).is_ok() {
            self.listener = Some(listener);
        }
    }

    /// No further daemon will be answered.
    pub(crate) fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// Whether a daemon is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether something waits to be sent.
    pub(crate) fn is_behind(&self) -> bool {
        self.socket.is_some() && !self.outbox.is_empty()
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&mut self) {
        self.socket = None;
        self.outbox = VecDeque::new();
    }

    /// The connected socket, and whether to wait for room in it.
    pub(crate) fn waits_for(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.socket
            .as_ref()
            .map(|socket| (socket.as_fd(), !self.outbox.is_empty()))
    }

    /// The listener.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Somebody knocks. A daemon of our own user replaces the one before; true then.
    pub(crate) fn accept(&mut self) -> bool {
        let Some(listener) = &self.listener else {
            return false;
        };
        let socket = match fdpass::accept(listener) {
            Ok(socket) => socket,
            Err(error) => {
                if error.kind() != ErrorKind::WouldBlock {
                    // Out of descriptors, say: the listener stays ready, and must not keep us busy.
                    std::thread::sleep(Duration::from_millis(10));
                }
                return false;
            }
        };
        // The socket's mode already keeps others out; this also covers a file whose mode was changed.
        let own = rustix::process::geteuid().as_raw();
        if !fdpass::peer(&socket).is_ok_and(|peer| peer.uid == own) {
            return false;
        }
        self.adopt(socket);
        true
    }

    /// The socket is readable.
    pub(crate) fn receive(&mut self) -> Incoming {
        let Some(socket) = &self.socket else {
            return Incoming::Nothing;
        };
        match fdpass::receive(socket, PACKET_MAX) {
            Ok(Some(packet)) => self.parse(packet),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Incoming::Nothing,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                self.reply(0, Reply::Failed(invalid(error.to_string())));
                Incoming::Nothing
            }
            Ok(None) | Err(_) => {
                self.disconnect();
                Incoming::Gone
            }
        }
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, seq: u64, reply: Reply) {
        self.post(&ShimPacket::Reply { seq, reply }, Some(seq));
    }

    /// Tells of an event. False: there is nobody to tell.
    pub(crate) fn event(&mut self, event: Event) -> bool {
        self.post(&ShimPacket::Event(event), None);
        self.is_connected()
    }

    /// Sends what waits, as far as the daemon takes it.
    pub(crate) fn write(&mut self) {
        while let (Some(socket), Some(packet)) = (&self.socket, self.outbox.front()) {
            match fdpass::send(socket, packet, &[]) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && self.outbox.len() <= OUTBOX_MAX =>
                {
                    return;
                }
                Err(_) => self.disconnect(),
            }
        }
    }

    fn adopt(&mut self, socket: OwnedFd) {
        self.disconnect();
        self.socket = Some(socket);
        self.event(Event::Hello {
            version: VERSION,
            pid: rustix::process::getpid().as_raw_nonzero().get(),
        });
    }

    fn parse(&mut self, packet: Packet) -> Incoming {
        let error = match serde_json::from_slice::<RequestPacket>(&packet.bytes) {
            Ok(request) => return Incoming::Request(request, packet.fds),
            Err(error) => error,
        };
        let failure = match serde_json::from_slice::<Numbered>(&packet.bytes) {
            Ok(Numbered { seq }) => {
                let message = format!("the shim does not know this request: {error}");
                (
                    seq,
                    Failure {
                        kind: FailureKind::Unsupported,
                        message,
                    },
                )
            }
            Err(error) => (
                0,
                invalid(format!("the shim cannot read a request: {error}")),
            ),
        };
        self.reply(failure.0, Reply::Failed(failure.1));
        Incoming::Nothing
    }

    fn post(&mut self, packet: &ShimPacket, seq: Option<u64>) {
        if self.socket.is_none() {
            return;
        }
        let bytes = serde_json::to_vec(packet).unwrap_or_default();
        let bytes = match seq {
            Some(seq) if bytes.len() > PACKET_MAX || bytes.is_empty() => {
                let message = format!(
                    "the answer has {} bytes, more than a packet holds",
                    bytes.len()
                );
                let failure = Failure {
                    kind: FailureKind::Internal,
                    message,
                };
                serde_json::to_vec(&ShimPacket::Reply {
                    seq,
                    reply: Reply::Failed(failure),
                })
                .unwrap_or_default()
            }
            _ => bytes,
        };
        self.outbox.push_back(bytes);
        self.write();
    }
}

fn invalid(message: String) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        message,
    }
}
