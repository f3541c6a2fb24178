//! Namespaces by kind: making, joining, and what a fresh one needs (a host name, a loopback device).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// A kind of namespace, as the OCI runtime specification has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// User and group ids, capabilities.
    User,
    /// Process numbers.
    Pid,
    /// Mounts.
    Mount,
    /// Network devices, addresses, ports.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// What is seen as the root of the cgroup hierarchies.
    Cgroup,
    /// Offsets of the monotonic and boot clocks.
    Time,
}

impl Kind {
    /// All of them, in the order in which they have to be joined.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Pid,
        Self::Ipc,
        Self::Uts,
        Self::Network,
        Self::Cgroup,
        Self::Time,
        Self::Mount,
    ];

    /// By the name in an OCI configuration.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "user" => Self::User,
            "pid" => Self::Pid,
            "mount" => Self::Mount,
            "network" => Self::Network,
            "ipc" => Self::Ipc,
            "uts" => Self::Uts,
            "cgroup" => Self::Cgroup,
            "time" => Self::Time,
            _ => return None,
        })
    }
    /// The name in an OCI configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
    /// The file in `/proc/PID/ns`.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.name(),
        }
    }
    /// The `CLONE_NEW…` bit.
    pub fn flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        };
        flag.unsigned_abs().into()
    }
}

/// Joins the namespace that a file of `/proc/PID/ns` refers to. Joining a pid or time namespace affects children only.
pub fn join(namespace: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
    setns(namespace, kind.flag())
}

/// Joins several namespaces (`CLONE_NEW…` bits) of a process at once (Linux 5.8).
pub fn join_process(pidfd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    setns(pidfd, flags)
}

fn setns(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    let flags = libc::c_int::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes numbers only. Which namespaces a thread is in is no matter of memory safety.
    if unsafe { libc::setns(fd.as_raw_fd(), flags) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves namespaces for new ones (`CLONE_NEW…` bits only).
pub fn unshare(flags: u64) -> io::Result<()> {
    let flags = libc::c_int::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes a number; the bits of namespaces do not split the descriptor table.
    if unsafe { libc::unshare(flags) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets the NIS domain name of this UTS namespace; the host name is `rustix::system::sethostname`.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe a live string.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings up the loopback device of this network namespace.
pub fn bring_up_loopback() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = (*byte).cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("are small");
    // SAFETY: SIOCSIFFLAGS reads name and flags of the live structure.
    let result = unsafe {
        libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_flags_agree() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            assert!(
                std::path::Path::new("/proc/self/ns")
                    .join(kind.proc_name())
                    .exists()
            );
        }
        assert_eq!(Kind::parse("net"), None);
    }
}
