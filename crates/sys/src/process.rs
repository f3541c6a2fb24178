//! Attributes of the calling process that rustix has no call for: keyring, I/O priority, scheduler, personality, descriptors.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// sched_setattr(2)'s structure.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct SchedulerAttributes {
    /// Size of this structure; filled by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_…`
    pub policy: u32,
    /// `SCHED_FLAG_…`
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, nanoseconds.
    pub runtime_ns: u64,
    /// Nanoseconds.
    pub deadline_ns: u64,
    /// Nanoseconds.
    pub period_ns: u64,
}

/// Sets the scheduling policy of the calling thread.
pub fn set_scheduler(attributes: SchedulerAttributes) -> io::Result<()> {
    let size = u32::try_from(size_of::<SchedulerAttributes>()).expect("is small");
    let attributes = SchedulerAttributes { size, ..attributes };
    // SAFETY: a live structure of the size that it names.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Sets the I/O priority of the calling thread: class 1 to 3, level 0 to 7.
pub fn set_io_priority(class: i32, level: i32) -> io::Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, (class << 13) | level) })
}

/// Sets the execution domain.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: takes a number only.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) })
}

/// Replaces the session keyring by a new one of this name, which the user of this process may search.
pub fn join_session_keyring(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: a live string.
    let serial = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            name.as_ptr(),
        )
    };
    if serial < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: sets flags; closes nothing before execve.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) })
}

/// Closes every descriptor from 3 on but those in `keep`, which need not be sorted.
///
/// # Safety
/// No value that owns one of the closed descriptors may be used or dropped afterwards.
pub unsafe fn close_all_but(keep: &mut [RawFd]) -> io::Result<()> {
    keep.sort_unstable();
    let mut first: RawFd = 3;
    for &kept in keep.iter() {
        if kept > first {
            // SAFETY: the caller promises that nobody uses these numbers again.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, kept - 1, 0) })?;
        }
        first = first.max(kept + 1);
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) })
}

/// Which signals are ignored, as far as [`note_ignored_signals`] has found out; all until then.
static IGNORED: AtomicU64 = AtomicU64::new(u64::MAX);

/// Finds out which signals this process ignores, so that [`reset_signals`] need not touch the others, here and in forks.
/// To be called after the last change of dispositions; one of a forked child's own must be followed by another call.
pub fn note_ignored_signals() {
    let mut ignored = 0;
    for signal in 1..=64_u32 {
        let mut action = [0_u64; 4];
        // SAFETY: only asks; the kernel fills its structure, which is not longer than this on any architecture.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                std::ptr::null::<u64>(),
                action.as_mut_ptr(),
                8,
            )
        };
        // The handler is the first member; 1 is SIG_IGN.
        if result == 0 && action[0] == 1 {
            ignored |= 1 << (signal - 1);
        }
    }
    IGNORED.store(ignored, Ordering::Relaxed);
}

/// Puts every ignored signal back to its default, and unblocks all: ignored and blocked ones would pass to the executed program.
pub fn reset_signals() {
    // The kernel's own call: libc refuses the two signals that it uses itself, and an inherited SIG_IGN would stay.
    // All zero is SIG_DFL with no flags and an empty mask, in the layout of every architecture.
    let default = [0_u64; 4];
    let ignored = IGNORED.load(Ordering::Relaxed);
    for signal in (1..=64).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
        // SAFETY: no handler is installed; SIGKILL and SIGSTOP are refused without effect. 8 is the size of the kernel's mask.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8,
            )
        };
    }
    // SAFETY: a zeroed set is initialised by sigemptyset before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Executes a program by path. Returns only on failure.
pub fn execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays end with null and point to strings that live across the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain(std::iter::once(std::ptr::null()))
        .collect()
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Forks without namespaces; the child runs `child` and exits with its result. Gives the child's pid.
///
/// # Safety
/// The calling process must have one thread.
pub unsafe fn fork(child: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: the caller's promise is the one that spawn asks for.
    let child = unsafe { crate::clone::spawn(&crate::clone::Clone::default(), child)? };
    Ok(child.pid)
}

/// Sends a signal to a child by number, ignoring that it may have ended.
pub fn send_signal(pid: i32, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid, signal) };
}

/// Makes the calling process's group the foreground one of the terminal on stdin.
pub fn take_foreground() {
    // SAFETY: takes numbers only; SIGTTOU, which a background process would get, is ignored for the moment.
    unsafe {
        let old = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
        libc::tcsetpgrp(0, libc::getpgrp());
        libc::signal(libc::SIGTTOU, old);
    }
}

/// Signals that wait to be taken one by one instead of interrupting.
#[derive(Debug)]
pub struct SignalQueue {
    set: libc::sigset_t,
}

impl SignalQueue {
    /// Blocks every signal that can be blocked, but those of faults.
    pub fn block_all() -> io::Result<Self> {
        // SAFETY: the set is initialised by sigfillset before it is used.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            for fault in [
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGABRT,
                libc::SIGTRAP,
                libc::SIGSYS,
            ] {
                libc::sigdelset(&raw mut set, fault);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { set })
        }
    }
    /// The next signal's number.
    pub fn wait(&self) -> i32 {
        loop {
            // SAFETY: a live set, and no place for details asked.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.set, std::ptr::null_mut()) };
            if signal > 0 {
                return signal;
            }
        }
    }
}
