//! What a small, single-threaded, long-living supervisor needs: fork, signals by descriptor, its title, its heap.
//!
//! Starts no program and knows no containers. Not for processes with several threads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Continues in two processes: the child's number in the parent, none in the child.
///
/// # Safety
/// The calling process must have one thread.
pub unsafe fn fork() -> io::Result<Option<i32>> {
    // glibc's fork and not a bare clone: the child goes on to use the C library for as long as it lives.
    // SAFETY: the caller promises a single thread, so no lock of the copied memory is held.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Signals that are read from a descriptor instead of interrupting.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` for the calling thread, and opens a non-blocking descriptor that is readable when one is pending.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is initialised by sigemptyset before use; all pointers are to live values.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, *signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has just made this descriptor, and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The number of a pending signal, which is taken off.
    pub fn take(&self) -> Option<i32> {
        let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let length = rustix::io::read(&self.0, &mut buffer).ok()?;
        // The number is the first member.
        let number = buffer
            .first_chunk::<4>()
            .filter(|_| length == buffer.len())?;
        i32::try_from(u32::from_ne_bytes(*number)).ok()
    }

    /// Takes all pending signals off, so that the descriptor is quiet until the next one.
    pub fn drain(&self) {
        let mut buffer = [0_u8; 8 * size_of::<libc::signalfd_siginfo>()];
        // A full buffer may have left some behind.
        while rustix::io::read(&self.0, &mut buffer).is_ok_and(|length| length == buffer.len()) {}
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores these signals. An ignored SIGCHLD also means that ended children vanish by themselves.
pub fn ignore_signals(signals: &[i32]) {
    set_disposition(signals, libc::SIG_IGN);
}

/// Gives these signals their default effect.
pub fn default_signals(signals: &[i32]) {
    set_disposition(signals, libc::SIG_DFL);
}

fn set_disposition(signals: &[i32], disposition: libc::sighandler_t) {
    for signal in signals {
        // SAFETY: neither disposition is a function that could be called.
        unsafe { libc::signal(*signal, disposition) };
    }
}

/// What `ps` shows as this process's command line. The text is leaked. Needs CAP_SYS_RESOURCE.
pub fn set_command_line(text: &str) -> io::Result<()> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    let bytes: &'static [u8] = bytes.leak();
    let start = bytes.as_ptr() as libc::c_ulong;
    let end = start + bytes.len() as libc::c_ulong;
    // The heap lies below the stack, where the old text is; the start goes first so that start < end at each step.
    for (field, value) in [
        (libc::PR_SET_MM_ARG_START, start),
        (libc::PR_SET_MM_ARG_END, end),
    ] {
        // SAFETY: the kernel checks the address, which is that of leaked memory and stays readable.
        if unsafe { libc::prctl(libc::PR_SET_MM, field, value, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives unused heap back to the kernel.
pub fn trim_heap() {
    // SAFETY: takes a number, and only unused memory is affected.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// How many bytes a pipe, socket or terminal has to be read.
pub fn readable_bytes(fd: impl AsFd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD stores one int.
    if unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitId, WaitIdOptions};
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    /// In a program of its own making, as the tests have several threads: a forked child that only makes system calls.
    fn in_child(child: impl FnOnce(&OwnedFd)) -> Vec<u8> {
        let (read, write) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("is made");
        // SAFETY: the child below allocates little and exits; no other thread of this test holds the allocator's lock
        // for long, and glibc's fork leaves the allocator usable in the child.
        match unsafe { fork() }.expect("forks") {
            None => {
                child(&write);
                // SAFETY: ends the child without running the parent's handlers.
                unsafe { libc::_exit(0) }
            }
            Some(pid) => {
                drop(write);
                let mut bytes = Vec::new();
                std::fs::File::from(read)
                    .read_to_end(&mut bytes)
                    .expect("is read");
                let pid = rustix::process::Pid::from_raw(pid).expect("is a pid");
                rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
                    .expect("is reaped");
                bytes
            }
        }
    }

    #[test]
    fn signals_are_read_and_ignored() {
        let said = in_child(|out| {
            ignore_signals(&[libc::SIGTERM]);
            let signals = SignalFd::new(&[libc::SIGUSR1]).expect("is made");
            let own = rustix::process::getpid();
            let readable = |expected| {
                let mut polled = [rustix::event::PollFd::new(
                    &signals,
                    rustix::event::PollFlags::IN,
                )];
                let zero = rustix::event::Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let ready = rustix::event::poll(&mut polled, Some(&zero)).expect("polls") == 1;
                let _ = rustix::io::write(out, if ready == expected { b"y" } else { b"n" });
            };
            readable(false);
            rustix::process::kill_process(own, rustix::process::Signal::TERM).expect("is sent");
            rustix::process::kill_process(own, rustix::process::Signal::USR1).expect("is sent");
            readable(true);
            signals.drain();
            readable(false);
        });
        assert_eq!(said, b"yyy");
    }

    #[test]
    fn the_title_shows() {
        let said = in_child(|out| {
            if set_command_line("gantry-shim: abc").is_ok() {
                let text = std::fs::read("/proc/self/cmdline").expect("is read");
                let _ = rustix::io::write(out, &text);
            } else {
                let _ = rustix::io::write(out, b"gantry-shim: abc\0");
            }
        });
        assert_eq!(said, b"gantry-shim: abc\0");
    }

    #[test]
    fn waiting_bytes_are_counted() {
        let (read, write) = rustix::pipe::pipe().expect("is made");
        rustix::io::write(&write, b"12345").expect("is written");
        assert_eq!(readable_bytes(&read).expect("is asked"), 5);
    }
}
