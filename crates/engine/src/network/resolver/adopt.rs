//! Taking a container's name server over after a restart of the daemon.
//!
//! The shim holds the sockets, and the kernel keeps what arrives in them. Copies of its descriptors are taken with
//! `pidfd_getfd`, which needs no word of the shim; where it has none, as after a connect, new sockets are opened.

use super::super::Claims;
use gantry_base::{Error, Result};
use gantry_network::resolver::{self, Sockets};
use gantry_sys::netns;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The sockets that the process `holder` keeps for the namespace of `pid`, or new ones.
pub(crate) fn reopen_resolver(
    claims: &mut Claims,
    namespace: BorrowedFd<'_>,
    holder: Option<i32>,
) -> Result<()> {
    if !claims.has_names() {
        return Ok(());
    }
    let held = holder.and_then(|holder| held_sockets(holder).unwrap_or_default());
    claims.resolver = Some(match held {
        Some(sockets) => sockets,
        None => netns::run_in(namespace, resolver::open_here)??,
    });
    Ok(())
}

/// Copies of the name server's sockets among the descriptors of a process.
fn held_sockets(holder: i32) -> Result<Option<Sockets>> {
    let pid = rustix::process::Pid::from_raw(holder)
        .ok_or_else(|| Error::internal("a shim without a process"))?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(std::io::Error::from)?;
    let (mut udp, mut tcp) = (None, None);
    for entry in std::fs::read_dir(format!("/proc/{holder}/fd"))?.flatten() {
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let (true, Some(number)) = (is_socket, number) else {
            continue;
        };
        let flags = rustix::process::PidfdGetfdFlags::empty();
        let Ok(copy) = rustix::process::pidfd_getfd(&pidfd, number, flags) else {
            continue;
        };
        match kind_of(&copy) {
            Some(rustix::net::SocketType::DGRAM) => udp = Some(UdpSocket::from(copy)),
            Some(rustix::net::SocketType::STREAM) => tcp = Some(TcpListener::from(copy)),
            _ => {}
        }
    }
    Ok(udp.zip(tcp).map(|(udp, tcp)| Sockets { udp, tcp }))
}

/// The type of a socket that is bound to the name server's address.
fn kind_of(socket: &OwnedFd) -> Option<rustix::net::SocketType> {
    let address = rustix::net::getsockname(socket.as_fd()).ok()?;
    let address = std::net::SocketAddr::try_from(address).ok()?;
    if address.ip() != IpAddr::V4(resolver::ADDRESS) {
        return None;
    }
    rustix::net::sockopt::socket_type(socket).ok()
}
