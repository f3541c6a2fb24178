//! Opening netlink sockets with the options that give short acknowledgements and readable errors; and sockets that are deaf.
//!
//! Only sockets: messages are the caller's. A socket belongs to the network namespace of the opening thread for good.

use gantry_base::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// `BPF_RET | BPF_K` of classic BPF: returns how many bytes of the packet to keep.
const RETURN_CONSTANT: u16 = 0x06;

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
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )
    .map_err(std::io::Error::from)
    .with_context(what)?;
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        set_flag(&socket, option).with_context(what)?;
    }
    if family == Family::Route {
        set_flag(&socket, libc::NETLINK_GET_STRICT_CHK).with_context(what)?;
    }
    Ok(socket)
}

/// Makes the kernel drop every packet that arrives for `socket`, of whatever protocol: it holds its port and nothing else.
pub fn drop_incoming(socket: impl AsFd) -> Result<(), rustix::io::Errno> {
    let mut accept_nothing = libc::sock_filter {
        code: RETURN_CONSTANT,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut accept_nothing,
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).expect("16 bytes fit");
    // SAFETY: the program points to one live instruction, which the kernel copies during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            length,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(
        rustix::io::Errno::from_io_error(&std::io::Error::last_os_error())
            .unwrap_or(rustix::io::Errno::INVAL),
    )
}

fn set_flag(socket: &OwnedFd, option: libc::c_int) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("4 bytes fit");
    // SAFETY: the option takes an int; the pointer is to a live one, with its true length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
