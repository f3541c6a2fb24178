//! The name server of each container on a network that a user made: answers from the names of its networks, and passes on
//! everything else.
//!
//! A container's sockets are also held by its shim, so that questions asked while no daemon runs wait for the next one, which
//! takes the same sockets back (`adopt.rs`). `forward.rs` asks the servers outside.

mod adopt;
mod forward;

pub(crate) use adopt::reopen_resolver;

use super::names::{Decision, Names, Scope};
use super::{Inner, Networks};
use gantry_network::dns::{self, Query};
use gantry_network::resolver::Sockets;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Questions of all containers that are on their way to servers outside, as in dockerd.
const FORWARDED_MAX: usize = 1024;
/// Connections of one container at a time.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);
const PACKET_BYTES_MAX: usize = 65_535;

/// The name servers that run.
pub(super) struct Resolvers {
    tasks: Mutex<HashMap<String, JoinSet<()>>>,
    forwarded: Semaphore,
    /// Those that begin when every container of boot is known; none afterwards.
    waiting: Mutex<Option<Vec<(String, Sockets)>>>,
}

impl Default for Resolvers {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            forwarded: Semaphore::new(FORWARDED_MAX),
            waiting: Mutex::new(Some(Vec::new())),
        }
    }
}

impl Networks {
    pub(super) fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.inner
            .names
            .write()
            .expect("no code panics while it holds the names")
    }

    /// Serves the container's questions from now on, in the place of an earlier server.
    pub(super) fn serve_names(&self, container: &str, sockets: Sockets) {
        if let Some(waiting) = self.inner.resolvers.waiting().as_mut() {
            waiting.push((container.to_owned(), sockets));
            return;
        }
        let server = Server {
            inner: Arc::downgrade(&self.inner),
            container: container.to_owned(),
        };
        let opened = (
            UdpSocket::from_std(sockets.udp),
            TcpListener::from_std(sockets.tcp),
        );
        let (udp, tcp) = match opened {
            (Ok(udp), Ok(tcp)) => (udp, tcp),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(container, %error, "cannot serve names to a container");
                return;
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(server.clone().serve_packets(Arc::new(udp)));
        tasks.spawn(server.serve_connections(tcp));
        self.inner
            .resolvers
            .tasks()
            .insert(container.to_owned(), tasks);
    }

    /// Begins to serve what an earlier daemon served: at the end of boot, as the names of all are known then.
    pub(crate) fn serve_adopted(&self) {
        let waiting = self.inner.resolvers.waiting().take();
        for (container, sockets) in waiting.into_iter().flatten() {
            self.serve_names(&container, sockets);
        }
    }

    /// Whether a name server runs for the container.
    pub(super) fn serves_names(&self, container: &str) -> bool {
        self.inner.resolvers.tasks().contains_key(container)
    }

    /// Takes a container's names from its neighbours, and ends its name server.
    pub(super) fn forget_names(&self, container: &str) {
        // Dropping the tasks ends them.
        self.inner.resolvers.tasks().remove(container);
        let mut names = self.names_mut();
        names.remove(None, container);
        names.remove_scope(container);
    }
}

impl Resolvers {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Vec<(String, Sockets)>>> {
        self.waiting
            .lock()
            .expect("no code panics while it holds the sockets")
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<String, JoinSet<()>>> {
        self.tasks
            .lock()
            .expect("no code panics while it holds the tasks")
    }
}

impl Inner {
    fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.names
            .read()
            .expect("no code panics while it holds the names")
    }
}

/// One container's server. It holds no part of the daemon alive.
#[derive(Clone)]
struct Server {
    inner: Weak<Inner>,
    container: String,
}

/// A question that is not ours to answer, with what answers it.
struct Forwarding {
    inner: Arc<Inner>,
    scope: Arc<Scope>,
    packet: Vec<u8>,
}

enum Handled {
    Reply(Vec<u8>),
    Forward(Forwarding),
    Nothing,
}

impl Server {
    /// What is known at once.
    fn handle(&self, packet: &[u8], over_udp: bool) -> Handled {
        let Some(inner) = self.inner.upgrade() else {
            return Handled::Nothing;
        };
        let Some(query) = Query::parse(packet) else {
            return dns::format_error(packet).map_or(Handled::Nothing, Handled::Reply);
        };
        let names = inner.names();
        let Some(scope) = names.scope(&self.container) else {
            return Handled::Reply(query.failure(dns::SERVER_FAILURE));
        };
        let decision = names.decide(&scope, &query);
        drop(names);
        match decision {
            Decision::Reply(reply) if over_udp => Handled::Reply(query.fitting(reply)),
            Decision::Reply(reply) => Handled::Reply(reply),
            Decision::Forward => Handled::Forward(Forwarding {
                inner,
                scope,
                packet: packet.to_vec(),
            }),
        }
    }

    async fn serve_packets(self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        let mut forwarded = JoinSet::new();
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // The client has gone before its answer came.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => {
                    tracing::warn!(container = self.container, %error, "a name server failed");
                    return;
                }
            };
            while forwarded.try_join_next().is_some() {}
            match self.handle(&buffer[..length], true) {
                Handled::Reply(reply) => send(&socket, &reply, client).await,
                Handled::Forward(forwarding) => {
                    let socket = socket.clone();
                    forwarded.spawn(async move {
                        let reply = forwarding.answer(false).await;
                        send(&socket, &reply, client).await;
                    });
                }
                Handled::Nothing => {}
            }
        }
    }

    async fn serve_connections(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            if connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((connection, _)) => {
                    // An error only means that the client has gone.
                    connections.spawn(self.clone().serve_connection(connection));
                }
                Err(error) => {
                    tracing::warn!(container = self.container, %error, "a name server cannot take a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve_connection(self, mut connection: TcpStream) {
        while let Ok(Ok(packet)) = tokio::time::timeout(IDLE, read_message(&mut connection)).await {
            let reply = match self.handle(&packet, false) {
                Handled::Reply(reply) => reply,
                Handled::Forward(forwarding) => forwarding.answer(true).await,
                Handled::Nothing => return,
            };
            let written = tokio::time::timeout(IDLE, write_message(&mut connection, &reply));
            if !matches!(written.await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

impl Forwarding {
    async fn answer(self, over_tcp: bool) -> Vec<u8> {
        let Some(query) = Query::parse(&self.packet) else {
            return Vec::new();
        };
        let Ok(_permit) = self.inner.resolvers.forwarded.try_acquire() else {
            return query.failure(dns::SERVER_FAILURE);
        };
        forward::ask(&self.inner, &self.scope, &query, &self.packet, over_tcp)
            .await
            .unwrap_or_else(|| query.failure(dns::SERVER_FAILURE))
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if !reply.is_empty() {
        // A client that has gone needs no answer.
        let _ = socket.send_to(reply, client).await;
    }
}

/// A message of a stream: its length comes before it.
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn write_message(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    let length = u16::try_from(packet.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a message is too long"))?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(packet);
    stream.write_all(&bytes).await
}
