//! The messages between the daemon and its shims. Version [`VERSION`]; a published version never changes.
//!
//! Transport: `SOCK_SEQPACKET`, one JSON document a packet, descriptors as `SCM_RIGHTS` of that packet.
//! A packet holds at most [`PACKET_MAX`] bytes and [`FDS_MAX`] descriptors; what may be longer travels in a descriptor.
//!
//! How a shim is born: the daemon makes a socket pair, sends [`ZygoteRequest::Fork`] with one end to the zygote, and the
//! zygote forks a shim that lives on that end. The daemon then sends one or more [`Request::Descriptors`] and one
//! [`Request::Run`]. A later daemon connects to the listening socket that was among the descriptors.
//! On every connection, the first or a later one, the shim sends [`Event::Hello`] first.
//! The shim writes `exit.json` ([`Exit`]) into the run directory *before* it sends [`Event::Exited`], then gives back all that the
//! container held (its cgroups last), and closes the connection: only from then on may the same container be started again.
//! It may live on for a moment, to give slow clients their last output, and ends by itself. A refused [`Request::Run`] ends it too.
//! If no daemon is connected when an exec'd process ends, the shim writes `exec-<id>.json` ([`ExecExit`]) and tells the next daemon
//! after its hello. A packet that cannot be read is answered with [`Reply::Failed`], and the number 0 if it has none.

use serde::{Deserialize, Serialize};

/// The version spoken here; sent in [`Event::Hello`].
pub const VERSION: u32 = 1;
/// Longest packet in bytes.
pub const PACKET_MAX: usize = 64 * 1024;
/// Most descriptors in one packet (the kernel allows 253).
pub const FDS_MAX: usize = 240;

/// Daemon to zygote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZygoteRequest {
    /// Fork a shim; one descriptor: its control socket.
    Fork {
        /// The container, for the process's title.
        id: String,
    },
}

/// Daemon to shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestPacket {
    /// Answered by [`ShimPacket::reply`] with the same number; grows by one.
    pub seq: u64,
    /// What to do.
    pub request: Request,
}

/// What a daemon asks of a shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Descriptors for the coming [`Request::Run`] or [`Request::Exec`], in the order of their roles. Not answered.
    Descriptors {
        /// One role for each descriptor of this packet.
        roles: Vec<FdRole>,
    },
    /// Create and start the container with the descriptors sent before. Answered by [`Reply::Started`] once the payload was executed.
    Run(Run),
    /// Start another process in the container. Its process document is the descriptor with [`FdRole::Process`].
    Exec(Exec),
    /// Send a signal to init, to an exec'd process, or (`all`) to every process of the container's cgroup.
    Signal {
        /// None: the container's init.
        exec: Option<String>,
        /// Signal number.
        signal: i32,
        /// Whether every process of the container gets it.
        all: bool,
    },
    /// Connect a client's stream; one descriptor. See [`Attach`].
    Attach(Attach),
    /// Change the size of a terminal.
    Resize {
        /// None: the container's init.
        exec: Option<String>,
        /// Characters.
        rows: u16,
        /// Characters.
        columns: u16,
    },
    /// Freeze every process of the container.
    Pause,
    /// Thaw them.
    Resume,
    /// Change limits; an OCI `linux.resources` document.
    Update {
        /// An `oci::runtime::Resources` document.
        resources: serde_json::Value,
    },
    /// Ask for [`Reply::State`].
    State,
    /// Ask for [`Reply::Processes`].
    Processes,
    /// Ask for [`Reply::Stats`].
    Stats,
    /// Close and reopen the log file after a change from outside (truncation).
    ReopenLog,
}

/// What a descriptor is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FdRole {
    /// The OCI configuration, a readable file.
    Config,
    /// An OCI `process` document for an exec, a readable file.
    Process,
    /// The root file system: a detached mount (fsmount or open_tree).
    Rootfs,
    /// The source of `mounts[index]` of the configuration: a detached mount (open_tree clone).
    Mount {
        /// Index into `mounts`.
        index: usize,
    },
    /// A namespace to join instead of the path in the configuration.
    Namespace {
        /// As in the configuration: `network`, `pid`, `ipc`, `uts`, `user`, `cgroup`, `time`.
        kind: String,
    },
    /// The compiled seccomp filter: a file of `struct sock_filter`; the configuration then has no `seccomp` member.
    SeccompFilter,
    /// The container's run directory.
    RunDir,
    /// The directory in which the log is written.
    LogDir,
    /// The bound and listening `shim.sock`.
    Listener,
    /// Kept open until the container has ended: a bound host port, so that no other program takes it.
    Held,
    /// A client's stream for the coming Run or Exec: `Attach` number `index` of that request.
    Attach {
        /// Index into `attach` of the request.
        index: usize,
    },
}

/// Create and start a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The container.
    pub id: String,
    /// Whether init gets a pseudo-terminal (as in the configuration's process).
    pub terminal: bool,
    /// Whether stdin stays open for clients (`OpenStdin`); else it is `/dev/null`.
    pub open_stdin: bool,
    /// Whether stdin closes when the first client that gave input leaves (`StdinOnce`).
    pub stdin_once: bool,
    /// How output is logged.
    pub log: Log,
    /// Clients attached before the start, with the descriptors of role [`FdRole::Attach`].
    pub attach: Vec<Attach>,
    /// Run a minimal init as process 1 that reaps zombies and forwards signals (`--init`).
    pub init: bool,
}

/// Start a process in a running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The exec.
    pub id: String,
    /// Whether it gets a pseudo-terminal.
    pub terminal: bool,
    /// Whether stdin is connected; else it is `/dev/null`.
    pub open_stdin: bool,
    /// Clients attached from the start.
    pub attach: Vec<Attach>,
}

/// A client's stream: a connected stream socket that the shim reads input from and writes output to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attach {
    /// None: the container's init.
    pub exec: Option<String>,
    /// Whether bytes read from the socket go to stdin. End of file there closes stdin (see `stdin_once`).
    pub stdin: bool,
    /// Whether stdout is sent.
    pub stdout: bool,
    /// Whether stderr is sent.
    pub stderr: bool,
    /// Whether output is framed with Docker's 8-byte header; raw otherwise (terminals).
    pub framed: bool,
    /// Key sequence that detaches, as bytes (`[16, 17]` for ctrl-p,ctrl-q); empty for none. Only looked for with a terminal.
    pub detach_keys: Vec<u8>,
    /// Input that was read before the socket was handed over.
    pub input: Vec<u8>,
}

/// How a container's output is logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// Not at all.
    None,
    /// Docker's json-file: one JSON object a line in `file`, rotated to `file.1`, `file.2`, ….
    JsonFile {
        /// File name in the log directory.
        file: String,
        /// Bytes after which the file is rotated; none: never.
        max_size: Option<u64>,
        /// How many files are kept, at least 1.
        max_files: u32,
        /// Members of `attrs` in every line.
        attributes: Vec<(String, String)>,
    },
}

/// Shim to daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShimPacket {
    /// The answer to the request with this number.
    #[serde(rename = "reply")]
    Reply {
        /// Of the request.
        seq: u64,
        /// The answer.
        reply: Reply,
    },
    /// Something happened.
    #[serde(rename = "event")]
    Event(Event),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Ok,
    /// Refused or failed.
    Failed(Failure),
    /// The payload (or the exec'd process) runs.
    Started {
        /// Its pid in the daemon's pid namespace.
        pid: i32,
        /// Nanoseconds since the epoch.
        started_at_ns: i64,
    },
    /// See [`State`].
    State(State),
    /// Pids of the container's processes, in the daemon's pid namespace.
    Processes(Vec<i32>),
    /// Raw counters of the container's cgroups: file name to content, as `memory.usage_in_bytes`.
    Stats(Vec<(String, String)>),
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What class of failure.
    pub kind: FailureKind,
    /// In runc's words where runc has words, without a `runc …:` prefix.
    pub message: String,
}

/// Classes that the daemon branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program was not found: exit code 127.
    CommandNotFound,
    /// The program could not be executed: exit code 126.
    CommandNotExecutable,
    /// The request contradicts itself or names what does not exist.
    Invalid,
    /// The named process does not exist or has ended.
    NoSuchProcess,
    /// Something that is not supported.
    Unsupported,
    /// Everything else.
    Internal,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// First on every connection.
    Hello {
        /// [`VERSION`]
        version: u32,
        /// The shim.
        pid: i32,
    },
    /// Init ended; `exit.json` is written, all output is logged and sent. The last event but for the end of the connection.
    Exited(Exit),
    /// An exec'd process ended; all its output is sent.
    ExecExited {
        /// The exec.
        id: String,
        /// 0 to 255; 128 + signal for a death by signal.
        exit_code: i32,
    },
    /// The kernel killed a process of the container for want of memory.
    OutOfMemory,
    /// A client left by the detach keys.
    Detached {
        /// None: the container's init.
        exec: Option<String>,
    },
}

/// How a container ended: `exit.json`, and the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255; 128 + signal for a death by signal.
    pub exit_code: i32,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// Nanoseconds since the epoch.
    pub finished_at_ns: i64,
    /// Log bytes that could not be written, ever (a full disk).
    pub log_bytes_dropped: u64,
}

/// How an exec'd process ended while no daemon was connected: `exec-<id>.json` in the run directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecExit {
    /// 0 to 255; 128 + signal for a death by signal.
    pub exit_code: i32,
    /// Nanoseconds since the epoch.
    pub finished_at_ns: i64,
}

/// What a shim knows of its container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// `created`, `running`, `paused`, `stopped`.
    pub status: String,
    /// Init, while it lives.
    pub pid: Option<i32>,
    /// Nanoseconds since the epoch, once started.
    pub started_at_ns: Option<i64>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Exec'd processes that run: id and pid.
    pub execs: Vec<(String, i32)>,
}
