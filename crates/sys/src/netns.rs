//! Network namespaces: making one, and running a closure inside one.
//!
//! [`create_with`] and [`run_in`] enter it with a fresh OS thread that ends right after, so whatever the closure does, no
//! thread of a pool is left in a foreign namespace. On the path of a start, a thread costs half as much again as all the
//! rest: [`create_here`] and [`run_here`] use the calling thread for a short synchronous closure, and end the process if it
//! cannot be brought back. Sockets that a closure opens stay bound to the namespace and may be used from any thread.
//! Names in the file system (`/run/netns`) are not used.

use gantry_base::{Context as _, Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::cell::OnceCell;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

/// The ioctl that answers with a descriptor of a socket's network namespace (`linux/sockios.h`).
const SIOCGSKNS: libc::c_ulong = 0x894C;

thread_local! {
    /// The namespace that this thread belongs to and comes back to.
    static HOME: OnceCell<OwnedFd> = const { OnceCell::new() };
    /// Whether this thread is away from it.
    static IS_AWAY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

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

/// Runs `inside` on this very thread in a new network namespace, and comes back. It must not wait, and not enter namespaces.
pub fn create_here<T>(inside: impl FnOnce() -> T) -> Result<T> {
    away(inside, || {
        // SAFETY: as in `create_with`.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(std::io::Error::from)
            .context("cannot create a network namespace")
    })
}

/// Runs `inside` on this very thread in `namespace`, and comes back. It must not wait, and not enter namespaces.
pub fn run_here<T>(namespace: BorrowedFd<'_>, inside: impl FnOnce() -> T) -> Result<T> {
    away(inside, || {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(std::io::Error::from)
            .context("cannot enter the network namespace")
    })
}

/// The network namespace in which `socket` was opened.
pub fn of_socket(socket: impl AsFd) -> Result<OwnedFd> {
    // SAFETY: the request takes no argument; it returns a new descriptor that nobody else owns, or -1.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    if result < 0 {
        return Err(std::io::Error::last_os_error())
            .context("cannot get the network namespace of a socket");
    }
    // SAFETY: see above; the kernel opens it close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
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
        return Err(Error::invalid(format!(
            "{} is not a network namespace",
            path.display()
        )));
    }
    Ok(namespace)
}

/// Whether two descriptors mean the same namespace.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool> {
    let stat = |fd| {
        rustix::fs::fstat(fd)
            .map_err(std::io::Error::from)
            .context("cannot identify a namespace")
    };
    let (one, other) = (stat(one)?, stat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn is_network_namespace(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: NS_GET_NSTYPE takes no argument and returns a number; on other files it fails with ENOTTY.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

/// Brings the thread home when dropped, also by a panic.
struct WayHome;

impl Drop for WayHome {
    fn drop(&mut self) {
        let is_home = HOME.with(|home| {
            home.get().is_some_and(|home| {
                rustix::thread::move_into_link_name_space(
                    home.as_fd(),
                    Some(LinkNameSpaceType::Network),
                )
                .is_ok()
            })
        });
        IS_AWAY.set(false);
        if !is_home {
            // Everything this thread did from now on would happen in a container's network.
            eprintln!("cannot return to the daemon's network namespace");
            std::process::abort();
        }
    }
}

fn away<T>(inside: impl FnOnce() -> T, leave: impl FnOnce() -> Result<()>) -> Result<T> {
    if IS_AWAY.get() {
        return Err(Error::internal(
            "this thread is in another network namespace already",
        ));
    }
    HOME.with(|home| {
        if home.get().is_none() {
            let namespace = current()?;
            home.get_or_init(|| namespace);
        }
        Ok::<_, Error>(())
    })?;
    leave()?;
    IS_AWAY.set(true);
    let _way_home = WayHome;
    Ok(inside())
}

fn in_fresh_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)
            .context("cannot start a thread for a network namespace")?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
