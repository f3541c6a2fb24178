//! Forgets tracked UDP flows to a published port, so that they follow a change of its target at once.

use crate::firewall::PublishedPort;
use crate::netlink::Socket;
use gantry_base::{Error, Result};

/// Deletes the tracked flows to the host's side of `port`; returns how many. `socket` is one to netfilter.
pub fn flush_port(_socket: &mut Socket, _port: &PublishedPort) -> Result<usize> {
    Err(Error::not_implemented("to be written"))
}
