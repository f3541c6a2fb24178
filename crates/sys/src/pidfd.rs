//! Processes by descriptor: signals, the end, and their namespaces. Never hits another process by a reused number.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// 0 to 255; 128 + signal for a death by signal, as shells have it.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A descriptor of a process by number; the caller must know that the number still is the process it means.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal by number, real-time signals included; 0 only asks whether one could.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // Not rustix's call: its signal type excludes the real-time signals that a container's users may send.
    // SAFETY: takes numbers and a null pointer, which the call allows.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reaps a child that has ended; none while it runs.
pub fn try_wait(pidfd: impl AsFd) -> io::Result<Option<Exit>> {
    wait_with(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// Waits for a child's end and reaps it.
pub fn wait(pidfd: impl AsFd) -> io::Result<Exit> {
    loop {
        if let Some(exit) = wait_with(pidfd.as_fd(), WaitIdOptions::EXITED)? {
            return Ok(exit);
        }
    }
}

fn wait_with(pidfd: impl AsFd, options: WaitIdOptions) -> io::Result<Option<Exit>> {
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)
    })?;
    Ok(status.and_then(|status| {
        status
            .exit_status()
            .map(Exit::Code)
            .or_else(|| status.terminating_signal().map(Exit::Signal))
    }))
}

/// Whether any process, child or not, has ended (a zombie has).
pub fn has_ended(pidfd: impl AsFd) -> io::Result<bool> {
    wait_for_end(pidfd, Some(0))
}

/// Waits until any process has ended, at most `timeout_ms`; whether it has.
pub fn wait_for_end(pidfd: impl AsFd, timeout_ms: Option<u64>) -> io::Result<bool> {
    let timeout = timeout_ms.map(|milliseconds| Timespec {
        tv_sec: i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(milliseconds % 1000 * 1_000_000).unwrap_or(0),
    });
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, timeout.as_ref()))? > 0)
}

/// The process's mount namespace, by the descriptor alone (Linux 6.11).
pub fn mount_namespace(pidfd: impl AsFd) -> io::Result<OwnedFd> {
    const PIDFD_GET_MNT_NAMESPACE: libc::c_ulong = 0xff03;
    // SAFETY: this request takes no argument and returns a new descriptor.
    let fd = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_MNT_NAMESPACE, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_ends() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("starts");
        let pidfd = open(i32::try_from(child.id()).expect("fits")).expect("opens");
        assert_eq!(try_wait(&pidfd).expect("is asked"), None);
        assert!(!has_ended(&pidfd).expect("is asked"));
        send_signal(&pidfd, libc::SIGRTMIN() + 1).expect("is sent");
        assert_eq!(
            wait(&pidfd).expect("is reaped"),
            Exit::Signal(libc::SIGRTMIN() + 1)
        );
        assert_eq!(
            send_signal(&pidfd, 0).expect_err("is gone").raw_os_error(),
            Some(libc::ESRCH)
        );
        assert!(child.try_wait().is_err() || child.try_wait().is_ok());
    }
}
