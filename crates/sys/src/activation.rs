//! Sockets that a service manager opened for this process. Source: sd_listen_fds(3).

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// First descriptor that a service manager passes.
const FIRST: i32 = 3;
/// More than this is a mistake.
const COUNT_MAX: i32 = 64;

/// The listening sockets passed to this process, close-on-exec; none on a second call, as the caller of the first owns them.
pub fn take_sockets() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<i32>().ok())
    };
    let is_for_us = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    if !is_for_us || TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, COUNT_MAX);
    (FIRST..FIRST + count).filter_map(take).collect()
}

fn take(number: i32) -> Option<OwnedFd> {
    // SAFETY: F_SETFD touches nothing but the flag of a descriptor; it fails for a number that is not open.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the service manager opened the number for this process alone, and it is taken once.
    (result == 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}
