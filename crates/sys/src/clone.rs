//! New processes by clone3: with namespaces, a pidfd from the first moment, and directly in a cgroup.
//!
//! For single-threaded callers only, since the child goes on with the parent's copied memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// Not libc's: its constant has 32 bits and overflows.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How a child differs from its parent.
#[derive(Debug, Default)]
pub struct Clone<'a> {
    /// `CLONE_NEW…` bits.
    pub namespaces: u64,
    /// A directory of the v2 hierarchy that the child is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A process that was just made.
#[derive(Debug)]
pub struct Child {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// Refers to this process, whatever happens to the number.
    pub pidfd: OwnedFd,
}

/// Makes a child that runs `child` and exits with its result.
///
/// # Safety
/// The calling process must have one thread.
pub unsafe fn spawn(clone: &Clone<'_>, child: impl FnOnce() -> i32) -> io::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = clone.namespaces | u64::from(libc::CLONE_PIDFD.unsigned_abs());
    if clone.cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    let mut arguments = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD.unsigned_abs().into(),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: clone
            .cgroup
            .map_or(0, |fd| fd.as_raw_fd().unsigned_abs().into()),
    };
    // SAFETY: without CLONE_VM this is fork; the caller has one thread, so every lock in the copied memory is free.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the parent's frames, where it would go on as a second parent.
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: ends this process only; no handlers of the parent run.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = i32::try_from(pid).expect("the kernel's pids fit");
            // SAFETY: the kernel has just stored a new descriptor, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid, pidfd })
        }
    }
}
