//! Tells everybody on a bridge which Ethernet address an IPv4 address has from now on.
//!
//! Addresses are used again, with another Ethernet address each time: without this, whoever spoke to the last owner keeps
//! sending to an address that is gone until its entry has gone stale, half a minute and more. Source: RFC 5227, section 3.

use crate::link::MacAddress;
use gantry_base::{Context, Result};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{OnceLock, mpsc};

/// Sends a gratuitous ARP request from the interface with this index, in the thread's network namespace.
pub(crate) fn announce(interface_index: u32, mac: MacAddress, ip: Ipv4Addr) -> Result<()> {
    let socket = gantry_sys::packet::send_frame(interface_index, &frame(mac, ip))
        .with_context(|| format!("cannot announce {ip}"))?;
    close_elsewhere(socket);
    Ok(())
}

/// The thread that closes packet sockets, where nobody waits for the kernel's grace period.
static CLOSER: OnceLock<Option<mpsc::Sender<OwnedFd>>> = OnceLock::new();

/// Starts what [`announce`] needs. To be called before the thread enters a container's namespace: a thread stays in the namespace
/// that it was started in, and keeps it alive.
pub(crate) fn prepare() {
    CLOSER.get_or_init(|| {
        let (sender, sockets) = mpsc::channel::<OwnedFd>();
        let thread = std::thread::Builder::new().name("packet-closer".into());
        let started = thread.spawn(move || sockets.into_iter().for_each(drop));
        started.is_ok().then_some(sender)
    });
}

fn close_elsewhere(socket: OwnedFd) {
    if let Some(Some(closer)) = CLOSER.get() {
        // Without its thread the socket is closed here, by the error that is dropped.
        drop(closer.send(socket));
    }
}

fn frame(mac: MacAddress, ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&mac.0);
    // ARP over Ethernet for IPv4, a request.
    frame.extend_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    // Sender and target are the same address; the target's Ethernet address does not matter.
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&ip.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&ip.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sender_and_target_are_the_announced_address() {
        let frame = frame(MacAddress([2, 0, 0, 0, 0, 9]), Ipv4Addr::new(10, 0, 0, 7));
        assert_eq!(frame.len(), 42);
        assert_eq!(
            (&frame[28..32], &frame[38..42]),
            (&[10, 0, 0, 7][..], &[10, 0, 0, 7][..])
        );
    }
}
