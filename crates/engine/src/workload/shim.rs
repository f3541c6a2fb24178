//! A connection to one shim: blocking while a container starts, asynchronous from then on.
//!
//! One ordered socket per shim. Replies are matched by number; events go to the container's actor in order,
//! the end of the connection last.

use gantry_base::{Context, Error, ErrorKind, ExecId, Result};
use gantry_shim_protocol::{
    Event, FDS_MAX, Failure, FailureKind, FdRole, PACKET_MAX, Reply, Request, RequestPacket,
    ShimPacket, VERSION,
};
use gantry_sys::fdpass::{self, Packet};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// How long a shim may take for an answer before its container counts as stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// The blocking side: used by one thread, for the birth or the adoption of a shim.
pub(crate) struct BlockingShim {
    socket: OwnedFd,
    next_seq: u64,
    /// Events that came before the reply that was waited for.
    early: Vec<Event>,
    pub(crate) shim_pid: i32,
}

impl BlockingShim {
    /// Takes a connected socket and waits for the shim's hello.
    pub(crate) fn greet(socket: OwnedFd, timeout: Duration) -> Result<Self> {
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(timeout),
        )
        .map_err(std::io::Error::from)?;
        let mut shim = Self {
            socket,
            next_seq: 1,
            early: Vec::new(),
            shim_pid: 0,
        };
        match shim.receive()? {
            ShimPacket::Event(Event::Hello {
                version: VERSION,
                pid,
            }) => shim.shim_pid = pid,
            ShimPacket::Event(Event::Hello { version, .. }) => {
                return Err(Error::internal(format!(
                    "the shim speaks version {version}, this daemon {VERSION}"
                )));
            }
            other => {
                return Err(Error::internal(format!(
                    "the shim did not say hello first, but {other:?}"
                )));
            }
        }
        rustix::net::sockopt::set_socket_timeout(
            &shim.socket,
            rustix::net::sockopt::Timeout::Recv,
            Some(ANSWER_TIMEOUT),
        )
        .map_err(std::io::Error::from)?;
        Ok(shim)
    }

    /// Sends descriptors for the coming request, in as many packets as it takes.
    pub(crate) fn send_descriptors(
        &mut self,
        descriptors: &[(FdRole, BorrowedFd<'_>)],
    ) -> Result<()> {
        for group in descriptors.chunks(FDS_MAX) {
            let roles = group.iter().map(|(role, _)| role.clone()).collect();
            let fds: Vec<_> = group.iter().map(|(_, fd)| *fd).collect();
            self.send(Request::Descriptors { roles }, &fds)?;
        }
        Ok(())
    }

    /// Sends a request and waits for its answer; a refusal is an error.
    pub(crate) fn ask(&mut self, request: Request) -> std::result::Result<Reply, ShimError> {
        let seq = self.send(request, &[])?;
        loop {
            match self.receive()? {
                ShimPacket::Reply {
                    seq: answered,
                    reply,
                } if answered == seq => return check(reply),
                ShimPacket::Reply { .. } => {}
                ShimPacket::Event(event) => self.early.push(event),
            }
        }
    }

    fn send(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<u64> {
        let seq = self.next_seq;
        self.next_seq += 1;
        fdpass::send(&self.socket, &encode(seq, request)?, fds)
            .context("cannot reach the container's shim")?;
        Ok(seq)
    }

    fn receive(&mut self) -> Result<ShimPacket> {
        let packet = fdpass::receive(&self.socket, PACKET_MAX)
            .context("no answer from the container's shim")?;
        let packet = packet
            .ok_or_else(|| Error::internal("the container's shim ended without an answer"))?;
        decode(&packet)
    }

    /// Hands the connection over to the event loop; must be called within the runtime.
    pub(crate) fn into_async(
        self,
        events: mpsc::Sender<ShimEvent>,
        generation: u64,
    ) -> Result<Shim> {
        fdpass::set_nonblocking(&self.socket).context("cannot watch the shim's socket")?;
        let socket = Arc::new(watch_fd(self.socket).context("cannot watch the shim's socket")?);
        let pending = Arc::new(Mutex::new(HashMap::new()));
        let reader = tokio::spawn(read_loop(
            socket.clone(),
            pending.clone(),
            events,
            generation,
            self.early,
        ));
        Ok(Shim {
            socket,
            pending,
            next_seq: AtomicU64::new(self.next_seq),
            reader: reader.abort_handle(),
        })
    }
}

/// An event of a shim, with the run it belongs to: a late event of an earlier run is told apart by the number.
#[derive(Debug)]
pub(crate) struct ShimEvent {
    pub(crate) generation: u64,
    /// None: the connection ended.
    pub(crate) event: Option<Event>,
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>;

/// The asynchronous side.
pub(crate) struct Shim {
    socket: Arc<AsyncFd<OwnedFd>>,
    pending: Pending,
    next_seq: AtomicU64,
    reader: tokio::task::AbortHandle,
}

impl Shim {
    /// Sends a request with descriptors at once, in call order; the answer is awaited by the returned future.
    pub(crate) fn request(
        &self,
        request: Request,
        descriptors: &[(FdRole, BorrowedFd<'_>)],
        fds: &[BorrowedFd<'_>],
    ) -> impl Future<Output = std::result::Result<Reply, ShimError>> + Send + use<> {
        let answer = self.send(request, descriptors, fds);
        async move {
            let answer = answer?;
            match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                Ok(Ok(reply)) => check(reply),
                Ok(Err(_)) => Err(gone().into()),
                Err(_) => Err(Error::internal("no answer from the container's shim").into()),
            }
        }
    }

    /// Sends a signal to the container's init, or to one exec.
    pub(crate) fn signal(
        &self,
        exec: Option<&ExecId>,
        signal: i32,
    ) -> impl Future<Output = std::result::Result<Reply, ShimError>> + Send + use<> {
        let request = Request::Signal {
            exec: exec.map(|exec| exec.as_str().to_owned()),
            signal,
            all: false,
        };
        self.request(request, &[], &[])
    }

    fn send(
        &self,
        request: Request,
        descriptors: &[(FdRole, BorrowedFd<'_>)],
        fds: &[BorrowedFd<'_>],
    ) -> Result<oneshot::Receiver<Reply>> {
        for group in descriptors.chunks(FDS_MAX) {
            let roles = group.iter().map(|(role, _)| role.clone()).collect();
            let group: Vec<_> = group.iter().map(|(_, fd)| *fd).collect();
            let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
            self.transmit(&encode(seq, Request::Descriptors { roles })?, &group)?;
        }
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.pending
            .lock()
            .expect("no code panics while it holds the table")
            .insert(seq, reply);
        let sent = encode(seq, request).and_then(|bytes| self.transmit(&bytes, fds));
        if sent.is_err() {
            self.pending
                .lock()
                .expect("no code panics while it holds the table")
                .remove(&seq);
        }
        sent.map(|()| answer)
    }

    /// A full buffer means that the shim has not read a hundred packets: it counts as stuck.
    fn transmit(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        fdpass::send(self.socket.as_fd(), bytes, fds).map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::NotConnected => gone(),
            _ => Error::internal("cannot reach the container's shim").with_source(error),
        })
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_loop(
    socket: Arc<AsyncFd<OwnedFd>>,
    pending: Pending,
    events: mpsc::Sender<ShimEvent>,
    generation: u64,
    early: Vec<Event>,
) {
    for event in early {
        let _ = events
            .send(ShimEvent {
                generation,
                event: Some(event),
            })
            .await;
    }
    while let Some(packet) = next_packet(&socket).await {
        match decode(&packet) {
            Ok(ShimPacket::Reply { seq, reply }) => {
                let waiting = pending
                    .lock()
                    .expect("no code panics while it holds the table")
                    .remove(&seq);
                if let Some(waiting) = waiting {
                    // The caller may have gone; the work is done all the same.
                    let _ = waiting.send(reply);
                }
            }
            Ok(ShimPacket::Event(event)) => {
                let _ = events
                    .send(ShimEvent {
                        generation,
                        event: Some(event),
                    })
                    .await;
            }
            Err(error) => tracing::error!(%error, "a shim sent a packet that cannot be read"),
        }
    }
    pending
        .lock()
        .expect("no code panics while it holds the table")
        .clear();
    let _ = events
        .send(ShimEvent {
            generation,
            event: None,
        })
        .await;
}

/// The next packet; none at the end of the connection.
async fn next_packet(socket: &AsyncFd<OwnedFd>) -> Option<Packet> {
    loop {
        let mut guard = socket.readable().await.ok()?;
        match guard.try_io(|fd| fdpass::receive(fd.get_ref(), PACKET_MAX)) {
            Ok(Ok(packet)) => return packet,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                tracing::error!(%error, "a shim sent a packet that is too long");
            }
            Ok(Err(_)) => return None,
            Err(_would_block) => {}
        }
    }
}

/// A refusal of a shim keeps its class, as exit codes and HTTP codes depend on it.
#[derive(Debug)]
pub(crate) enum ShimError {
    /// The shim answered with a refusal.
    Refused(Failure),
    /// The shim could not be asked.
    Unreachable(Error),
}

impl From<Error> for ShimError {
    fn from(error: Error) -> Self {
        Self::Unreachable(error)
    }
}

impl From<ShimError> for Error {
    fn from(error: ShimError) -> Self {
        match error {
            ShimError::Unreachable(error) => error,
            ShimError::Refused(failure) => {
                let kind = match failure.kind {
                    FailureKind::CommandNotFound
                    | FailureKind::CommandNotExecutable
                    | FailureKind::Invalid => ErrorKind::InvalidParameter,
                    FailureKind::NoSuchProcess => ErrorKind::NotFound,
                    FailureKind::Unsupported => ErrorKind::NotImplemented,
                    FailureKind::Internal => ErrorKind::Internal,
                };
                Self::new(kind, failure.message)
            }
        }
    }
}

fn check(reply: Reply) -> std::result::Result<Reply, ShimError> {
    match reply {
        Reply::Failed(failure) => Err(ShimError::Refused(failure)),
        other => Ok(other),
    }
}

fn gone() -> Error {
    Error::conflict("the container's shim has ended")
}

fn encode(seq: u64, request: Request) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(&RequestPacket { seq, request })
        .map_err(|error| Error::internal(format!("cannot write a request to a shim: {error}")))?;
    if bytes.len() > PACKET_MAX {
        return Err(Error::invalid(
            "the request is too long for the container's shim",
        ));
    }
    Ok(bytes)
}

fn decode(packet: &Packet) -> Result<ShimPacket> {
    serde_json::from_slice(&packet.bytes)
        .map_err(|error| Error::internal(format!("a shim sent what is no packet: {error}")))
}

/// Puts a descriptor under the runtime's eyes.
#[expect(
    deprecated,
    reason = "its successor is unsafe; an OwnedFd keeps the promise that it asks for"
)]
pub(crate) fn watch_fd(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
