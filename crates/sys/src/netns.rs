//! Network namespaces: making one, and running a closure inside one.
//!
//! A namespace is entered only by a fresh OS thread that ends right after, so no thread of a pool is ever left in a
//! foreign namespace. Sockets that the closure opens stay bound to the namespace and may be used from any thread, which
//! is how the hot path avoids entering it again. Names in the file system (`/run/netns`) are not used.

use gantry_base::{Context as _, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A new, empty network namespace (only `lo`, down). It lives as long as a descriptor, a process or a socket holds it.
pub fn create() -> Result<OwnedFd> {
    create_with(|| ()).map(|(namespace, ())| namespace)
}

/// A new network namespace, and what `inside` returns when run in it before anything else can.
pub fn create_with<T: Send>(inside: impl FnOnce() -> T + Send) -> Result<(OwnedFd, T)> {
    in_fresh_thread(|| {
        // SAFETY: only the network namespace of this thread changes; no descriptor table or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(std::io::Error::from)
            .context("cannot create a network namespace")?;
        let namespace = current()?;
        Ok((namespace, inside()))
    })
}

/// Runs `inside` in `namespace` and returns its result.
pub fn run_in<T: Send>(namespace: BorrowedFd<'_>, inside: impl FnOnce() -> T + Send) -> Result<T> {
    in_fresh_thread(|| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(std::io::Error::from)
            .context("cannot enter the network namespace")?;
        Ok(inside())
    })
}

/// The network namespace of the calling thread.
pub fn current() -> Result<OwnedFd> {
    open(Path::new("/proc/thread-self/ns/net"))
}

/// The network namespace of a process or of a file that pins one, such as `/proc/<pid>/ns/net`.
///
/// # Errors
/// Also where the file is not a network namespace.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot open network namespace {}", path.display()))?;
    if !is_network_namespace(namespace.as_fd()) {
        return Err(Error::invalid(format!("{} is not a network namespace", path.display())));
    }
    Ok(namespace)
}

/// Whether two descriptors mean the same namespace.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    let stat = |fd| rustix::fs::fstat(fd).map_err(std::io::Error::from).context("cannot identify a namespace");
    let (one, other) = (stat(one)?, stat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn is_network_namespace(fd: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd as _;
    // SAFETY: NS_GET_NSTYPE takes no argument and returns a number; on other files it fails with ENOTTY.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

fn in_fresh_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)
            .context("cannot start a thread for a network namespace")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
