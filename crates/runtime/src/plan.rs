//! What a caller hands over to create a container or to start a process in one.
//!
//! Everything is a descriptor or plain data: nothing here makes the runtime resolve a path of the host.
//! [`crate::bundle`] fills a plan from paths for the command line.

use gantry_oci::runtime::{Process, Spec};
use gantry_sys::namespace::Kind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::cgroup::{Cgroup, Roots};

/// A document that is read where it is needed, or was read before.
#[derive(Debug)]
pub enum Document<T> {
    /// A regular file (a sealed memfd, say), parsed in the container's init so that the caller's memory stays small.
    File(OwnedFd),
    /// Read before.
    Parsed(Box<T>),
}

/// The three standard streams of a new process.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own.
    Inherit,
    /// These, in the order stdin, stdout, stderr.
    Fds([OwnedFd; 3]),
    /// A new pseudo-terminal of the container; its master comes back.
    Terminal,
}

/// When a container's program is executed.
#[derive(Debug)]
pub enum Start {
    /// As soon as everything is ready.
    AtOnce,
    /// When the creator calls [`crate::Init::start`].
    OnMessage,
    /// When somebody connects to this listening `SOCK_SEQPACKET` socket; the connection gets the outcome.
    OnConnect(OwnedFd),
}

/// What may be approximated with a warning if the host refuses it, since the user did not ask for it by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tolerate {
    /// Resource limits: the nearest possible value.
    pub rlimits: bool,
    /// An `oom_score_adj` of 0: stays as it is.
    pub oom_score_adj: bool,
    /// cgroups and their limits: none.
    pub cgroup: bool,
}

/// A container to create.
#[derive(Debug)]
pub struct Plan {
    /// The container.
    pub id: String,
    /// The OCI configuration.
    pub config: Document<Spec>,
    /// The bundle's path, for the state that hooks get; may be empty.
    pub bundle: PathBuf,
    /// Detached mount of the root file system.
    pub rootfs: OwnedFd,
    /// Detached sources of `mounts[index]`.
    pub mounts: Vec<(usize, OwnedFd)>,
    /// Namespaces to join; they count more than a path or its absence in the configuration.
    pub namespaces: Vec<(Kind, OwnedFd)>,
    /// Compiled system call filter: a file of `struct sock_filter`. The configuration's own `seccomp` is ignored then.
    pub seccomp_filter: Option<OwnedFd>,
    /// Standard streams.
    pub stdio: Stdio,
    /// The host's cgroup hierarchies.
    pub cgroups: Arc<Roots>,
    /// Run a minimal init as the first process, which starts the program, forwards signals and reaps.
    pub init: bool,
    /// What may be approximated.
    pub tolerate: Tolerate,
    /// When the program is executed.
    pub start: Start,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// Leave the old root in place and only change the root directory (`--no-pivot`), for roots that cannot be pivoted.
    pub no_pivot: bool,
    /// Bind mounts get their ids, and so their places in `mountinfo`, in the order of the configuration, which costs calls.
    /// Otherwise they come first, since they were made before.
    pub mounts_in_order: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// The host's procfs, where the caller's mount namespace has none and a new one cannot be mounted (rootless).
    pub host_proc: Option<OwnedFd>,
    /// A detached mount with the host's device nodes, for containers in which they cannot be made.
    pub host_dev: Option<OwnedFd>,
}

impl Plan {
    /// A plan with the least: everything optional is absent, and the program is executed at once.
    pub fn new(
        id: impl Into<String>,
        config: Document<Spec>,
        rootfs: OwnedFd,
        cgroups: Arc<Roots>,
    ) -> Self {
        Self {
            id: id.into(),
            config,
            bundle: PathBuf::new(),
            rootfs,
            mounts: Vec::new(),
            namespaces: Vec::new(),
            seccomp_filter: None,
            stdio: Stdio::Inherit,
            cgroups,
            init: false,
            tolerate: Tolerate::default(),
            start: Start::AtOnce,
            preserve_fds: 0,
            no_pivot: false,
            mounts_in_order: false,
            no_new_keyring: false,
            host_proc: None,
            host_dev: None,
        }
    }

    /// Every descriptor that the container's init needs.
    pub(crate) fn fds(&self) -> Vec<RawFd> {
        let mut fds = vec![self.rootfs.as_raw_fd()];
        fds.extend(self.mounts.iter().map(|(_, fd)| fd.as_raw_fd()));
        fds.extend(self.namespaces.iter().map(|(_, fd)| fd.as_raw_fd()));
        fds.extend(
            [&self.seccomp_filter, &self.host_proc, &self.host_dev]
                .into_iter()
                .flatten()
                .map(AsRawFd::as_raw_fd),
        );
        fds.extend(
            self.cgroups
                .hierarchies()
                .iter()
                .map(|hierarchy| hierarchy.root.as_raw_fd()),
        );
        if let Start::OnConnect(listener) = &self.start {
            fds.push(listener.as_raw_fd());
        }
        push_document(&mut fds, &self.config);
        push_stdio(&mut fds, &self.stdio);
        push_preserved(&mut fds, self.preserve_fds);
        fds
    }
}

/// A process to start in a running container.
#[derive(Debug)]
pub struct ExecPlan {
    /// The OCI process.
    pub process: Document<Process>,
    /// Standard streams.
    pub stdio: Stdio,
    /// Compiled system call filter.
    pub seccomp_filter: Option<OwnedFd>,
    /// What may be approximated.
    pub tolerate: Tolerate,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
}

impl ExecPlan {
    pub(crate) fn fds(&self) -> Vec<RawFd> {
        let mut fds: Vec<RawFd> = self.seccomp_filter.iter().map(AsRawFd::as_raw_fd).collect();
        push_document(&mut fds, &self.process);
        push_stdio(&mut fds, &self.stdio);
        push_preserved(&mut fds, self.preserve_fds);
        fds
    }
}

/// A running container, as [`crate::exec`] needs it.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its init.
    pub pidfd: std::os::fd::BorrowedFd<'a>,
    /// Its cgroups.
    pub cgroup: &'a Cgroup,
    /// Its namespaces (`CLONE_NEW…` bits) that are not the runtime's own: [`crate::Init::namespaces`].
    pub namespaces: u64,
}

fn push_document<T>(fds: &mut Vec<RawFd>, document: &Document<T>) {
    if let Document::File(file) = document {
        fds.push(file.as_raw_fd());
    }
}

fn push_stdio(fds: &mut Vec<RawFd>, stdio: &Stdio) {
    if let Stdio::Fds(streams) = stdio {
        fds.extend(streams.iter().map(|fd| fd.as_fd().as_raw_fd()));
    }
}

fn push_preserved(fds: &mut Vec<RawFd>, preserve: u32) {
    let preserve = RawFd::try_from(preserve).unwrap_or(0);
    fds.extend(3..3_i32.saturating_add(preserve));
}
