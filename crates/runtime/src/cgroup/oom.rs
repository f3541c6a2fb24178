//! News of processes that the kernel killed for want of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gantry_base::{Error, Result};
use rustix::event::{EventfdFlags, epoll};
use rustix::fs::OFlags;

use super::Cgroup;

/// A descriptor for epoll that tells that memory ran out, or that the cgroup is going away.
#[derive(Debug)]
pub struct OomEvents {
    fd: OwnedFd,
    flags: epoll::EventFlags,
}

impl OomEvents {
    /// For epoll, with [`OomEvents::flags`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What to wait for: the control file of v2 is always readable and tells news by `EPOLLPRI`.
    pub fn flags(&self) -> epoll::EventFlags {
        self.flags
    }

    /// Makes the descriptor quiet again. The caller then compares [`Cgroup::oom_kill_count`] with what it knew.
    pub fn drain(&self) -> Result<()> {
        let mut buffer = [0; 512];
        let read = if self.flags == epoll::EventFlags::PRI {
            rustix::io::pread(&self.fd, &mut buffer, 0)
        } else {
            rustix::io::read(&self.fd, &mut buffer[..8])
        };
        match read {
            // The cgroup of v2 is gone.
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NODEV) => Ok(()),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }
}

/// None without a memory controller.
pub(super) fn events(cgroup: &Cgroup) -> Result<Option<OomEvents>> {
    let Ok(dir) = cgroup.controller("memory") else {
        return Ok(None);
    };
    let open = |file: &str, flags| {
        dir.open(file, flags)
            .map_err(|error| Error::from(error).prefixed(format!("open {}", dir.shown(file))))
    };
    if dir.hierarchy.unified {
        let events = OomEvents {
            fd: open("memory.events", OFlags::RDONLY)?,
            flags: epoll::EventFlags::PRI,
        };
        // The first read tells the kernel from when on there are news.
        events.drain()?;
        return Ok(Some(events));
    }
    let control = open("memory.oom_control", OFlags::RDONLY)?;
    let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(std::io::Error::from)?;
    dir.write(
        "cgroup.event_control",
        format!("{} {}", fd.as_raw_fd(), control.as_raw_fd()),
    )?;
    Ok(Some(OomEvents {
        fd,
        flags: epoll::EventFlags::IN,
    }))
}

/// How many processes were killed, in nested cgroups too where the kernel counts so. A cgroup that is gone has none.
pub(super) fn kill_count(cgroup: &Cgroup) -> Result<u64> {
    let Ok(dir) = cgroup.controller("memory") else {
        return Ok(0);
    };
    let file = if dir.hierarchy.unified {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    let text = match dir.try_read(file) {
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            return Ok(0);
        }
        other => other
            .map_err(|error| Error::from(error).prefixed(format!("read {}", dir.shown(file))))?,
    };
    // Kernels before 4.13 do not count.
    Ok(text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0))
}
