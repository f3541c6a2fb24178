//! One container's supervisor: a loop over everything that can happen, in one thread that never blocks for long.
//!
//! `request` does what the daemon asks, `start` creates the container and its further processes, `process` is one of
//! them with its streams, `end` sees to the end: reap, drain, record, report, release. What to wait for is derived from
//! the state before each wait, so that nothing has to be kept in step with it.
//!
//! If this process is killed, init and everything below it go on until the daemon (which sees the connection end, or
//! at its start finds no answering socket and no `exit.json`) kills them by their cgroup. A parent-death signal is not
//! used: a program that changes its user loses it, and a container without a daemon would die with its supervisor.

mod descriptors;
mod end;
mod process;
mod request;
mod start;

use crate::control::{Control, Incoming};
use crate::log::JsonLog;
use crate::stream::{Interest, RELAY_BYTES};
use descriptors::Staged;
use gantry_base::Result;
use gantry_runtime::cgroup::{Cgroup, OomEvents, Roots};
use gantry_shim_protocol::{Event, Exit};
use gantry_sys::supervise::{self, SignalFd};
use process::Process;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After so long without anything to do, memory is given back.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// What a shim has from the zygote.
pub(crate) struct Inherited {
    /// `/dev/null` of the host.
    pub(crate) null: OwnedFd,
    /// `/proc` of the host, as a path.
    pub(crate) proc: OwnedFd,
    /// The host's cgroup hierarchies.
    pub(crate) roots: Arc<Roots>,
}

/// The supervisor of one container.
pub(crate) struct Supervisor {
    inherited: Inherited,
    control: Control,
    signals: SignalFd,
    staged: Staged,
    container: Option<Container>,
    processes: Vec<Process>,
    next_key: u32,
    /// Ends of exec'd processes for the next daemon.
    untold: Vec<Event>,
    /// Empty while no data flows.
    buffer: Vec<u8>,
    /// Whether something happened since memory was given back last.
    is_warm: bool,
    /// Nothing more to supervise: leave once the daemon has what was sent.
    leaves_at: Option<Instant>,
}

/// The container as a whole; its init is among the processes.
struct Container {
    status: Status,
    pidfd: OwnedFd,
    namespaces: u64,
    /// Held until the end was reported: taking the namespace down takes time, and would come before init's end otherwise.
    mount_namespace: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    run_dir: OwnedFd,
    held: Vec<OwnedFd>,
    log: Option<JsonLog>,
    oom: Option<OomEvents>,
    oom_kills: u64,
    shares_pids: bool,
    started_at_ns: i64,
    exit: Option<Exit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Running,
    Paused,
    Stopped,
}

/// Something that may be ready.
#[derive(Debug, Clone, Copy)]
enum Token {
    Control,
    Listener,
    Signals,
    Oom,
    Stream(u32, Interest),
}

impl Supervisor {
    /// Lives on the daemon's socket.
    pub(crate) fn new(socket: OwnedFd, inherited: Inherited) -> Result<Self> {
        supervise::default_signals(&[libc::SIGCHLD]);
        let signals = SignalFd::new(&[libc::SIGCHLD])?;
        // Processes that exec'd ones leave behind come to us if the container has no pid namespace of its own.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(std::io::Error::from)?;
        Ok(Self {
            inherited,
            control: Control::new(socket)?,
            signals,
            staged: Staged::default(),
            container: None,
            processes: Vec::new(),
            next_key: 0,
            untold: Vec::new(),
            buffer: Vec::new(),
            is_warm: false,
            leaves_at: None,
        })
    }

    /// Supervises until the container has ended and everything about it was told.
    pub(crate) fn run(mut self) {
        while self.advance() {
            let now = Instant::now();
            let deadline = self.next_deadline();
            let idle = self.is_warm.then(|| now + IDLE_AFTER);
            let (ready, timed_out) = self.wait(deadline.into_iter().chain(idle).min(), now);
            for (token, flags) in ready {
                self.handle(token, flags);
            }
            let now = Instant::now();
            for process in &mut self.processes {
                process.streams.tick(now);
            }
            if timed_out && idle.is_some_and(|at| now >= at) {
                self.trim();
            }
        }
    }

    fn wait(&self, until: Option<Instant>, now: Instant) -> (Vec<(Token, PollFlags)>, bool) {
        let mut tokens = Vec::with_capacity(8);
        let mut polled = Vec::with_capacity(8);
        {
            let mut add = |token, fd, reads: bool, writes: bool| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, reads);
                flags.set(PollFlags::OUT, writes);
                tokens.push(token);
                polled.push(PollFd::from_borrowed_fd(fd, flags));
            };
            add(Token::Signals, self.signals.as_fd(), true, false);
            if let Some((fd, writes)) = self.control.waits_for() {
                add(Token::Control, fd, true, writes);
            }
            if let Some(fd) = self.control.listener() {
                add(Token::Listener, fd, true, false);
            }
            if let Some(oom) = self
                .container
                .as_ref()
                .and_then(|container| container.oom.as_ref())
            {
                add(Token::Oom, oom.fd(), true, false);
            }
            for process in &self.processes {
                let key = process.key;
                process.streams.interests(|interest, fd, reads, writes| {
                    add(Token::Stream(key, interest), fd, reads, writes);
                });
            }
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(now) + Duration::from_micros(999);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let count = rustix::event::poll(&mut polled, timeout.as_ref()).unwrap_or(0);
        let ready = tokens.into_iter().zip(polled.iter().map(PollFd::revents));
        (
            ready.filter(|(_, flags)| !flags.is_empty()).collect(),
            count == 0,
        )
    }

    fn handle(&mut self, token: Token, flags: PollFlags) {
        self.is_warm = true;
        let hung_up = flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        match token {
            Token::Signals => {
                self.signals.drain();
                self.reap();
            }
            Token::Control => {
                self.control.write();
                if flags.contains(PollFlags::IN) || hung_up {
                    match self.control.receive() {
                        Incoming::Request(packet, fds) => self.request(packet, fds),
                        Incoming::Gone => self.staged = Staged::default(),
                        Incoming::Nothing => {}
                    }
                }
            }
            Token::Listener => {
                if self.control.accept() {
                    self.staged = Staged::default();
                    for event in std::mem::take(&mut self.untold) {
                        self.control.event(event);
                    }
                }
            }
            Token::Oom => self.count_oom_kills(),
            Token::Stream(key, interest) => {
                self.relay(key, interest, flags.contains(PollFlags::IN), hung_up);
            }
        }
    }

    fn relay(&mut self, key: u32, interest: Interest, readable: bool, hung_up: bool) {
        let Some(process) = self.processes.iter_mut().find(|process| process.key == key) else {
            return;
        };
        // The buffer is zeroed once and then kept while data flows; an idle shim has none.
        if self.buffer.is_empty() {
            self.buffer = vec![0; RELAY_BYTES];
        }
        match interest {
            Interest::Stdin => process.streams.stdin_ready(),
            Interest::Output(stream) => {
                let log = self
                    .container
                    .as_mut()
                    .filter(|_| process.exec.is_none())
                    .and_then(|c| c.log.as_mut());
                process.streams.output_ready(stream, &mut self.buffer, log);
            }
            Interest::Client(client) => {
                if process
                    .streams
                    .client_ready(client, readable, hung_up, &mut self.buffer)
                {
                    let exec = process.exec.clone();
                    self.control.event(Event::Detached { exec });
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let streams = self.processes.iter().filter_map(Process::next_deadline);
        streams.chain(self.leaves_at).min()
    }

    /// Gives memory back that is only needed while data flows.
    fn trim(&mut self) {
        self.is_warm = false;
        self.buffer = Vec::new();
        for process in &mut self.processes {
            process.streams.trim();
        }
        if let Some(log) = self
            .container
            .as_mut()
            .and_then(|container| container.log.as_mut())
        {
            log.trim();
        }
        supervise::trim_heap();
    }
}
