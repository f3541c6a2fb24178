//! Sockets of type `SOCK_SEQPACKET` that carry one message and its descriptors in each packet.
//!
//! Every descriptor that is made or received here is close-on-exec. A packet that did not fit, or whose descriptors
//! did not all arrive, is an error and never a shortened message. Blocking or not is a property of the socket.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Most descriptors that the kernel takes in one packet (`SCM_MAX_FD`).
pub const FDS_MAX: usize = 253;

/// One packet.
#[derive(Debug)]
pub struct Packet {
    /// The message.
    pub bytes: Vec<u8>,
    /// Its descriptors, in the order in which they were sent.
    pub fds: Vec<OwnedFd>,
}

/// Who is at the other end of a connected socket, as of the time of its connect or listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process, in our pid namespace; 0 if it is not visible there.
    pub pid: i32,
    /// Effective user, in our user namespace.
    pub uid: u32,
    /// Effective group, in our user namespace.
    pub gid: u32,
}

/// A connected pair of blocking packet sockets.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A packet socket that listens at `path`, which must not exist. The file has mode 0600.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    // The mode of the socket's file is the socket inode's own mode, so it is right before the name exists.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// A blocking packet socket connected to the listener at `path`.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = packet_socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The next connection of a listener; non-blocking itself, as the receiver is an event loop.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::net::accept_with(
        listener,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    )?)
}

/// Who is at the other end.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    // Not rustix's call: its result cannot express pid 0, which is what a peer outside our pid namespace has.
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).expect("12 bytes fit");
    // SAFETY: the pointers are to live values of the types that SO_PEERCRED fills, with their true length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer {
        pid: credentials.pid,
        uid: credentials.uid,
        gid: credentials.gid,
    })
}

/// Makes reads and writes of a socket or pipe return at once with `WouldBlock`.
pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

/// Sends one packet, whole or not at all. Never raises SIGPIPE.
///
/// # Errors
/// `WouldBlock` if the socket is non-blocking and its buffer is full; `InvalidInput` for an empty message (it could
/// not be told from the end of the connection) or more than [`FDS_MAX`] descriptors.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > FDS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = retry(|| {
        rustix::net::sendmsg(
            socket.as_fd(),
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Receives one packet of at most `bytes_max` bytes; none at the end of the connection.
///
/// # Errors
/// `WouldBlock` if the socket is non-blocking and has nothing; `InvalidData` for a longer packet or one whose
/// descriptors did not all fit into this process's table (those that did are closed). Such a packet is consumed.
pub fn receive(socket: impl AsFd, bytes_max: usize) -> io::Result<Option<Packet>> {
    // One look at the length first: the buffer is then as large as the message, and a long packet costs no memory.
    let mut probe = [0_u8; 1];
    let (_, length) = retry(|| {
        rustix::net::recv(
            socket.as_fd(),
            &mut probe[..],
            RecvFlags::PEEK | RecvFlags::TRUNC,
        )
    })?;
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0_u8; length.min(bytes_max)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(
            socket.as_fd(),
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet or its descriptors were truncated",
        ));
    }
    bytes.truncate(message.bytes);
    Ok(Some(Packet { bytes, fds }))
}

fn packet_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(call)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn packets_keep_their_bounds_and_descriptors() {
        let (a, b) = pair().expect("a pair is made");
        let (mut read, write) = io::pipe().expect("a pipe is made");
        send(&a, b"first", &[write.as_fd(), read.as_fd()]).expect("is sent");
        send(&a, b"second", &[]).expect("is sent");
        drop(write);
        let first = receive(&b, 100).expect("is received").expect("is a packet");
        assert_eq!(
            (first.bytes.as_slice(), first.fds.len()),
            (&b"first"[..], 2)
        );
        for fd in &first.fds {
            assert!(
                rustix::io::fcntl_getfd(fd)
                    .expect("is open")
                    .contains(rustix::io::FdFlags::CLOEXEC)
            );
        }
        let mut fds = first.fds.into_iter();
        io::PipeWriter::from(fds.next().expect("was two"))
            .write_all(b"x")
            .expect("is written");
        let mut text = String::new();
        read.read_to_string(&mut text).expect("is read");
        assert_eq!(text, "x");
        let second = receive(&b, 100).expect("is received").expect("is a packet");
        assert_eq!(
            (second.bytes.as_slice(), second.fds.len()),
            (&b"second"[..], 0)
        );
        drop(a);
        assert!(receive(&b, 100).expect("is the end").is_none());
    }

    #[test]
    fn a_long_packet_is_an_error_and_the_next_one_is_whole() {
        let (a, b) = pair().expect("a pair is made");
        let (read, _write) = io::pipe().expect("a pipe is made");
        send(&a, &vec![7; 64 * 1024], &[read.as_fd()]).expect("is sent");
        send(&a, b"next", &[]).expect("is sent");
        assert_eq!(
            receive(&b, 1000).expect_err("is too long").kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            receive(&b, 1000)
                .expect("is received")
                .expect("is a packet")
                .bytes,
            b"next"
        );
        set_nonblocking(&b).expect("is set");
        assert_eq!(
            receive(&b, 1000).expect_err("has nothing").kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(
            send(&a, b"", &[]).expect_err("is empty").kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn the_most_descriptors_arrive() {
        let (a, b) = pair().expect("a pair is made");
        let (read, _write) = io::pipe().expect("a pipe is made");
        send(&a, b"x", &vec![read.as_fd(); FDS_MAX]).expect("is sent");
        assert_eq!(
            receive(&b, 10)
                .expect("is received")
                .expect("is a packet")
                .fds
                .len(),
            FDS_MAX
        );
        assert!(send(&a, b"x", &vec![read.as_fd(); FDS_MAX + 1]).is_err());
    }

    #[test]
    fn a_listener_is_private_and_knows_its_peer() {
        let folder = std::env::temp_dir().join(format!("gantry-fdpass-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("is made");
        let path = folder.join("s");
        let listener = listen(&path).expect("listens");
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).expect("exists"));
        assert_eq!(mode & 0o777, 0o600);
        let client = connect(&path).expect("connects");
        let server = accept(&listener).expect("accepts");
        send(&client, b"hello", &[]).expect("is sent");
        assert_eq!(
            receive(&server, 10)
                .expect("is received")
                .expect("is a packet")
                .bytes,
            b"hello"
        );
        assert_eq!(
            peer(&server).expect("is connected").pid,
            i32::try_from(std::process::id()).expect("fits")
        );
        assert_eq!(
            peer(&server).expect("is connected").uid,
            rustix::process::geteuid().as_raw()
        );
        std::fs::remove_dir_all(&folder).expect("is removed");
    }
}
