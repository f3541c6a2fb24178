//! The process that every shim is a fork of: started once by the daemon, executed from a sealed file in memory.
//!
//! It has one thread, a mount namespace with one small, read-only tmpfs and in it the cgroup hierarchies, the descriptors
//! that shims inherit, and nothing else; so a fork is cheap, a container's mount namespace starts out nearly empty, and
//! of the host's files none but the hierarchies' has a path.
//! It ends with the daemon's socket. Its shims do not depend on it.

use crate::supervisor::{Inherited, Supervisor};
use gantry_base::{Context, Error, Result};
use gantry_runtime::cgroup::Roots;
use gantry_shim_protocol::{PACKET_MAX, ZygoteRequest};
use gantry_sys::mount::{Attributes, Change};
use gantry_sys::namespace::{self, Kind};
use gantry_sys::{fdpass, mount, supervise};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::SocketType;
use rustix::process::DumpableBehavior;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves fork requests on the socket that is standard input, until its other end is closed.
pub(crate) fn main() -> ExitCode {
    match prepare() {
        Ok((control, inherited)) => serve(control, inherited),
        Err(error) => {
            complain(&format!("zygote: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error, which is the daemon's: it may be gone, or stuck, and must not hold us up.
pub(crate) fn complain(message: &str) {
    let stderr = std::io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if rustix::event::poll(&mut polled, Some(&at_once)) == Ok(1) {
        let _ = stderr
            .lock()
            .write_all(format!("gantry-shim: {message}\n").as_bytes());
    }
}

fn prepare() -> Result<(OwnedFd, Inherited)> {
    let stdin = std::io::stdin();
    if rustix::net::sockopt::socket_type(&stdin) != Ok(SocketType::SEQPACKET) {
        return Err(Error::invalid(
            "standard input is not the daemon's socket; this command is not for users",
        ));
    }
    let control = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).map_err(std::io::Error::from)?;
    // Containers without input get this descriptor: for reading only, as from other runtimes.
    let null = open_null(OFlags::RDONLY)?;
    rustix::stdio::dup2_stdin(&null).map_err(std::io::Error::from)?;
    rustix::stdio::dup2_stdout(open_null(OFlags::WRONLY)?).map_err(std::io::Error::from)?;

    harden()?;
    let mut roots = Roots::open().context("cannot open the cgroup hierarchies")?;
    let proc = mount::open_path(Path::new("/proc")).context("cannot open /proc")?;
    isolate(&mut roots).context("cannot make an empty mount namespace")?;
    Ok((
        control,
        Inherited {
            null,
            proc,
            roots: Arc::new(roots),
        },
    ))
}

fn open_null(flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open("/dev/null", flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .context("cannot open /dev/null")
}

/// Settings that forks inherit.
fn harden() -> Result<()> {
    // Nobody but root of the host may look into us or our forks (CVE-2016-9962); the kernel's own checks do the rest.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(std::io::Error::from)?;
    // Not to be chosen when memory is short. A host that forbids this is no reason not to run.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-999");
    // Away from the daemon's terminal: an interrupt typed there must not reach containers. It fails for a leader only.
    let _ = rustix::process::setsid();
    supervise::ignore_signals(&[
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
        // Shims that end while the zygote lives vanish by themselves.
        libc::SIGCHLD,
    ]);
    // So that no container's process has to reset all 64.
    gantry_sys::process::note_ignored_signals();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// Leaves all mounts behind but one empty tmpfs, and in it the cgroup hierarchies, since only what is mounted in the
/// own namespace can be given to a container.
fn isolate(roots: &mut Roots) -> Result<()> {
    use rustix::mount::MountPropagationFlags;
    let hierarchies = roots.hierarchies().iter();
    let copies: std::io::Result<Vec<OwnedFd>> = hierarchies
        .map(|hierarchy| mount::clone_fd(&hierarchy.root, false))
        .collect();
    namespace::unshare(Kind::Mount.flag())?;
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(std::io::Error::from)?;
    let attributes = Attributes::READ_ONLY
        .union(Attributes::NO_SUID)
        .union(Attributes::NO_DEV)
        .union(Attributes::NO_EXEC);
    let options = [("mode", Some("0555")), ("size", Some("4096"))];
    let writable = attributes.without(Attributes::READ_ONLY);
    let root = mount::new_filesystem("tmpfs", Some("gantry-shim"), &options, writable)?;
    mount::attach_at(&root, Path::new("/"))?;
    // Where an init lays devices aside that old kernels copy only from there.
    rustix::fs::mkdirat(&root, "dev", Mode::from_raw_mode(0o555)).map_err(std::io::Error::from)?;
    // Without them a container's view is mounted afresh, which costs more.
    if let Ok(copies) = copies {
        keep_hierarchies(&root, copies, roots)?;
    }
    let read_only = Change {
        set: Attributes::READ_ONLY,
        ..Change::default()
    };
    mount::change(&root, &read_only)?;
    Ok(mount::pivot_root(&root)?)
}

/// Mounts the hierarchies below `root` and makes `roots` speak of these mounts.
fn keep_hierarchies(root: &OwnedFd, copies: Vec<OwnedFd>, roots: &mut Roots) -> Result<()> {
    let mut copies = copies.into_iter().enumerate();
    roots.rehome(|hierarchy| {
        let (number, copy) = copies
            .next()
            .ok_or_else(|| Error::internal("one copy was made of each hierarchy"))?;
        let name = number.to_string();
        rustix::fs::mkdirat(root, &name, Mode::from_raw_mode(0o555))
            .map_err(std::io::Error::from)?;
        mount::attach_in(&copy, root, &name)
            .with_context(|| format!("cannot mount the cgroup hierarchy {}", hierarchy.name))?;
        Ok(copy)
    })
}

fn serve(control: OwnedFd, inherited: Inherited) -> ExitCode {
    loop {
        let packet = match fdpass::receive(&control, PACKET_MAX) {
            Ok(None) => return ExitCode::SUCCESS,
            Ok(Some(packet)) => packet,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                complain(&format!("zygote: {error}"));
                continue;
            }
            Err(error) => {
                complain(&format!("zygote: cannot read requests: {error}"));
                return ExitCode::FAILURE;
            }
        };
        let id = match serde_json::from_slice(&packet.bytes) {
            Ok(ZygoteRequest::Fork { id }) => id,
            Err(error) => {
                complain(&format!("zygote: cannot read a request: {error}"));
                continue;
            }
        };
        let Ok([socket]) = <[OwnedFd; 1]>::try_from(packet.fds) else {
            complain("zygote: a fork request needs exactly one descriptor");
            continue;
        };
        match fork() {
            Ok(Fork::Parent) => {}
            Ok(Fork::Child) => {
                // With a copy in each shim, the daemon could not see that the zygote has died.
                drop(control);
                return become_shim(&id, socket, inherited);
            }
            Err(error) => complain(&format!("zygote: cannot fork a shim: {error}")),
        }
    }
}

enum Fork {
    Parent,
    Child,
}

#[expect(unsafe_code, reason = "fork has a condition, which holds here")]
fn fork() -> std::io::Result<Fork> {
    // SAFETY: this process never starts a thread.
    let child = unsafe { supervise::fork()? };
    Ok(if child.is_some() {
        Fork::Parent
    } else {
        Fork::Child
    })
}

fn become_shim(id: &str, socket: OwnedFd, inherited: Inherited) -> ExitCode {
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"gantry-shim");
    let short: String = id.chars().take(12).collect();
    let _ = supervise::set_command_line(&format!("gantry-shim: {short}"));
    match Supervisor::new(socket, inherited) {
        Ok(supervisor) => {
            supervisor.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("{short}: {error}"));
            ExitCode::FAILURE
        }
    }
}
