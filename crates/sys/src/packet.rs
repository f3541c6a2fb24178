//! Raw Ethernet frames. Source: packet(7).

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Sends one whole frame, Ethernet header included, from the interface with this index in the thread's network namespace.
///
/// Gives the socket back: the kernel waits for a grace period (some 10 ms) when it is closed, so that belongs on another thread.
pub fn send_frame(interface_index: u32, frame: &[u8]) -> io::Result<OwnedFd> {
    // Protocol 0 receives nothing: the socket is for sending only.
    let socket = rustix::net::socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::c_ushort::try_from(libc::AF_PACKET).expect("a small constant");
    address.sll_ifindex =
        i32::try_from(interface_index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).expect("a small struct");
    // SAFETY: both pointers lead to live memory of the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    match usize::try_from(sent) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(sent) if sent == frame.len() => Ok(socket),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
    }
}
