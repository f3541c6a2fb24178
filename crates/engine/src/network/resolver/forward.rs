//! Questions that are passed on: to the servers that the container was given, else to the host's.
//!
//! As in dockerd, the host's servers are asked from the host, and those that were given from the container's own network
//! namespace: they take its routes and meet its rules.

use super::super::Inner;
use super::super::names::Scope;
use super::{read_message, write_message};
use gantry_base::{Error, Result};
use gantry_network::dns::{self, Query};
use gantry_network::resolv_conf;
use gantry_sys::netns;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, UdpSocket};

/// How long one server may take, as in dockerd.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many servers are asked, as in every resolver.
const SERVERS_MAX: usize = 3;
const DOMAIN: u16 = 53;
const REFUSED: u8 = 5;

/// The first answer of use; none if no server gives any.
pub(super) async fn ask(
    inner: &Arc<Inner>,
    scope: &Scope,
    query: &Query<'_>,
    packet: &[u8],
    over_tcp: bool,
) -> Option<Vec<u8>> {
    let mut last = None;
    for (server, from_host) in servers(inner, scope).into_iter().take(SERVERS_MAX) {
        let namespace = if from_host {
            None
        } else {
            scope.namespace.clone()
        };
        let asked = exchange(inner, namespace, server, query, packet, over_tcp);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(reply)) => {
                let code = reply
                    .get(3)
                    .map_or(dns::SERVER_FAILURE, |flags| flags & 0x0f);
                if !matches!(code, dns::SERVER_FAILURE | REFUSED) {
                    return Some(reply);
                }
                last = Some(reply);
            }
            Ok(Err(error)) => {
                tracing::debug!(%server, %error, "a name server outside does not answer");
            }
            Err(_) => tracing::debug!(%server, "a name server outside does not answer"),
        }
    }
    last
}

/// The servers to ask, and whether from the host. The host's file is read each time: its changes count at once.
fn servers(inner: &Inner, scope: &Scope) -> Vec<(SocketAddr, bool)> {
    let given = [&scope.servers, &inner.settings.dns]
        .into_iter()
        .find(|list| !list.is_empty());
    let from_file = given.is_none();
    let list = match given {
        Some(list) => list.clone(),
        None => std::fs::read_to_string(resolv_conf::HOST_FILE)
            .map(|text| resolv_conf::nameservers(&text))
            .unwrap_or_default(),
    };
    list.into_iter()
        .map(|address| {
            let is_far = address.is_ipv6() && !scope.has_v6;
            let from_host = from_file || is_far || scope.namespace.is_none();
            (SocketAddr::new(address, DOMAIN), from_host)
        })
        .collect()
}

async fn exchange(
    inner: &Arc<Inner>,
    namespace: Option<Arc<OwnedFd>>,
    server: SocketAddr,
    query: &Query<'_>,
    packet: &[u8],
    over_tcp: bool,
) -> Result<Vec<u8>> {
    let kind = if over_tcp {
        SocketType::STREAM
    } else {
        SocketType::DGRAM
    };
    let socket = open(inner, namespace, server.ip(), kind).await?;
    if over_tcp {
        let socket = TcpSocket::from_std_stream(socket.into());
        let mut stream = socket.connect(server).await?;
        write_message(&mut stream, packet).await?;
        let reply = read_message(&mut stream).await?;
        return if query.is_answered_by(&reply) {
            Ok(reply)
        } else {
            Err(Error::internal("the answer is to another question"))
        };
    }
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; super::PACKET_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else may be somebody's guess: the right one may still come.
        if query.is_answered_by(&buffer[..length]) {
            return Ok(buffer[..length].to_vec());
        }
    }
}

/// A socket of the namespace, opened by the network thread, which alone enters namespaces.
async fn open(
    inner: &Arc<Inner>,
    namespace: Option<Arc<OwnedFd>>,
    server: IpAddr,
    kind: SocketType,
) -> Result<OwnedFd> {
    let family = if server.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let open = move || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socket_with(family, kind, flags, None).map_err(std::io::Error::from)
    };
    let Some(namespace) = namespace else {
        return Ok(open()?);
    };
    let networks = super::Networks {
        inner: inner.clone(),
    };
    networks
        .call(move |_| Ok(netns::run_here(namespace.as_fd(), open)??))
        .await
}
