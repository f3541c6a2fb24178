//! Holds published ports on the host by bound sockets, so that no other program takes them and a conflict is seen before
//! anything has been made.
//!
//! The sockets never see a packet that belongs to the port: the firewall translates it before. What reaches them all the
//! same, because the table is gone, is refused (TCP) or dropped (UDP) by the kernel.

use crate::firewall::PortProtocol;
use crate::sysctl;
use gantry_base::{Context as _, Error, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

/// The kernel's range where it does not say; also Docker's.
const USUAL_RANGE: RangeInclusive<u16> = 32_768..=60_999;

/// Sockets that hold one port number on one or more addresses, for as long as they are kept.
#[derive(Debug)]
pub struct Reservation {
    /// The port.
    pub port: u16,
    /// One socket for each address asked for, in that order; none for SCTP on a kernel without it, where nobody else can
    /// take the port either.
    pub sockets: Vec<OwnedFd>,
}

/// Holds `port` of `protocol` on every address of `addresses` (the unspecified address of a family means all of it).
///
/// # Errors
/// `address already in use`, Docker's last words and an internal error as with Docker, or others of the operating system.
/// The caller puts `failed to bind host port for <ip>:<port>:<container ip>:<container port>/<protocol>: ` before them.
pub fn reserve(protocol: PortProtocol, addresses: &[IpAddr], port: u16) -> Result<Reservation> {
    if port == 0 {
        return Err(Error::invalid("cannot reserve port 0"));
    }
    Ok(hold_all(protocol, addresses, port).map_err(std::io::Error::from)?)
}

/// Holds the first free port of `range` after `last`, wrapping around, on every address of `addresses`.
///
/// # Errors
/// `all ports are allocated` if none is free; other errors than a taken port end the search.
pub fn reserve_any(
    protocol: PortProtocol,
    addresses: &[IpAddr],
    range: RangeInclusive<u16>,
    last: Option<u16>,
) -> Result<Reservation> {
    let (first, end) = (*range.start(), *range.end());
    let start = match last {
        Some(last) if range.contains(&last) && last < end => last + 1,
        _ => first,
    };
    for port in (start..=end).chain(first..start) {
        match hold_all(protocol, addresses, port) {
            Err(Errno::ADDRINUSE) => {}
            other => return Ok(other.map_err(std::io::Error::from)?),
        }
    }
    Err(Error::internal("all ports are allocated"))
}

/// The range from which the host picks ports (`net.ipv4.ip_local_port_range`); Docker picks published ones from it too.
pub fn ephemeral_range() -> Result<RangeInclusive<u16>> {
    let Some(text) = sysctl::get("ipv4/ip_local_port_range")? else {
        return Ok(USUAL_RANGE);
    };
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first > 0 && first <= last => Ok(first..=last),
        _ => Err(Error::internal(format!(
            "cannot understand net.ipv4.ip_local_port_range: {text:?}"
        ))),
    }
    .context("cannot find the range of ephemeral ports")
}

fn hold_all(protocol: PortProtocol, addresses: &[IpAddr], port: u16) -> Result<Reservation, Errno> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        match hold(protocol, SocketAddr::new(*address, port)) {
            Ok(socket) => sockets.push(socket),
            Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT)
                if protocol == PortProtocol::Sctp => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(Reservation { port, sockets })
}

fn hold(protocol: PortProtocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    match bind(protocol, address, false) {
        // Connections of an earlier server may linger on the port, which is no conflict. Only with the option do they not
        // count, but with it two sockets that merely hold the port would not see each other: so the second one listens,
        // behind a filter that lets nothing in.
        Err(Errno::ADDRINUSE) if protocol == PortProtocol::Tcp => {
            let socket = bind(protocol, address, true)?;
            gantry_sys::netlink::drop_incoming(&socket)?;
            rustix::net::listen(&socket, 0)?;
            Ok(socket)
        }
        other => other,
    }
}

fn bind(protocol: PortProtocol, address: SocketAddr, reuse: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let (kind, number) = match protocol {
        PortProtocol::Tcp => (SocketType::STREAM, None),
        PortProtocol::Udp => (SocketType::DGRAM, None),
        PortProtocol::Sctp => (
            SocketType::STREAM,
            Some(Protocol::from_raw(
                core::num::NonZero::new(u32::from(protocol.number())).ok_or(Errno::INVAL)?,
            )),
        ),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, number)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if reuse {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if protocol == PortProtocol::Udp {
        // Before it is bound: else what arrives in between would wait in its queue for ever.
        gantry_sys::netlink::drop_incoming(&socket)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}
