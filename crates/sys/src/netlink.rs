//! Opening netlink sockets with the options that give short acknowledgements and readable errors.
//!
//! Only the socket: messages are the caller's. The socket belongs to the network namespace of the opening thread for good.

use gantry_base::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// What the other end of the socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// A blocking, close-on-exec netlink socket in the network namespace of this thread.
pub fn open(family: Family) -> Result<OwnedFd> {
    let (protocol, name) = match family {
        Family::Route => (None, "rtnetlink"),
        Family::Netfilter => (Some(netlink::NETFILTER), "nfnetlink"),
    };
    let what = || format!("cannot open a socket to the kernel's {name}");
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(std::io::Error::from)
            .with_context(what)?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0)).map_err(std::io::Error::from).with_context(what)?;
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        set_flag(&socket, option).with_context(what)?;
    }
    if family == Family::Route {
        set_flag(&socket, libc::NETLINK_GET_STRICT_CHK).with_context(what)?;
    }
    Ok(socket)
}

fn set_flag(socket: &OwnedFd, option: libc::c_int) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("4 bytes fit");
    // SAFETY: the option takes an int; the pointer is to a live one, with its true length.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
