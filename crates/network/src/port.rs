//! Holds published ports on the host by bound sockets, so that no other program takes them and a conflict is seen before
//! anything has been made.

use crate::firewall::PortProtocol;
use gantry_base::{Error, Result};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

/// Sockets that hold one port number on one or more addresses, for as long as they are kept.
#[derive(Debug)]
pub struct Reservation {
    /// The port.
    pub port: u16,
    /// One socket for each address asked for, in that order.
    pub sockets: Vec<OwnedFd>,
}

/// Holds `port` of `protocol` on every address of `addresses` (the unspecified address of a family means all of it).
///
/// # Errors
/// A conflict `address already in use` (Docker's last words), and others with the operating system's words. The caller puts
/// `failed to bind host port for <ip>:<port>:<container ip>:<container port>/<protocol>: ` before it.
pub fn reserve(_protocol: PortProtocol, _addresses: &[IpAddr], _port: u16) -> Result<Reservation> {
    Err(Error::not_implemented("to be written"))
}

/// Holds the first free port of `range` after `last`, wrapping around, on every address of `addresses`.
///
/// # Errors
/// `all ports are allocated` if none is free.
pub fn reserve_any(
    _protocol: PortProtocol,
    _addresses: &[IpAddr],
    _range: RangeInclusive<u16>,
    _last: Option<u16>,
) -> Result<Reservation> {
    Err(Error::not_implemented("to be written"))
}

/// The range from which the host picks ports (`net.ipv4.ip_local_port_range`); Docker picks published ones from it too.
pub fn ephemeral_range() -> Result<RangeInclusive<u16>> {
    Err(Error::not_implemented("to be written"))
}
