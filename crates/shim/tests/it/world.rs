//! A zygote and its shims as the daemon sees them.

use gantry_shim_protocol::{
    Attach, Event, Exit, FdRole, Log, PACKET_MAX, Reply, Request, RequestPacket, Run, ShimPacket,
    State, ZygoteRequest,
};
use gantry_sys::mount::{Attributes, Change};
use gantry_sys::{fdpass, memfd, mount, pidfd};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The process that shims are forked from.
pub(crate) struct Zygote {
    child: Child,
    socket: Option<OwnedFd>,
}

impl Zygote {
    pub(crate) fn start() -> Self {
        let file = File::open(env!("CARGO_BIN_EXE_gantry-shim")).expect("was built");
        let sealed = memfd::sealed_executable("gantry-shim", &file).expect("is sealed");
        let (ours, theirs) = fdpass::pair().expect("is made");
        let child = Command::new(memfd::path(&sealed))
            .arg("zygote")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        Self {
            child,
            socket: Some(ours),
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("is there until the end")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn shim(&self) -> Shim {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}{number:04x}{}", std::process::id(), "f".repeat(52));
        let (ours, theirs) = fdpass::pair().expect("is made");
        let request = serde_json::to_vec(&ZygoteRequest::Fork { id: id.clone() }).expect("is JSON");
        fdpass::send(self.socket(), &request, &[theirs.as_fd()]).expect("is sent");
        drop(theirs);
        let folder = tempfile::Builder::new()
            .prefix("gantry-shim-test-")
            .tempdir()
            .expect("is made");
        std::fs::create_dir(folder.path().join("run")).expect("is made");
        std::fs::create_dir(folder.path().join("log")).expect("is made");
        let mut shim = Shim {
            id,
            folder,
            socket: ours,
            seq: 0,
            events: VecDeque::new(),
            pid: 0,
            own_log_dir: None,
        };
        shim.greet();
        shim
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.socket = None;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.child.try_wait().expect("is our child").is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(
            std::thread::panicking(),
            "the zygote did not end with its socket"
        );
    }
}

/// What to run.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) args: Vec<String>,
    pub(crate) terminal: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) log: Log,
    pub(crate) init: bool,
    pub(crate) resources: Value,
    pub(crate) uid: u32,
    pub(crate) own_pids: bool,
    pub(crate) oom_score_adj: i32,
}

impl Spec {
    /// `sh -c script` with a log.
    pub(crate) fn sh(script: &str) -> Self {
        Self::args(&["/bin/sh", "-c", script])
    }
    pub(crate) fn args(args: &[&str]) -> Self {
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            terminal: false,
            open_stdin: false,
            stdin_once: false,
            log: Log::JsonFile {
                file: "json.log".into(),
                max_size: None,
                max_files: 1,
                attributes: Vec::new(),
            },
            init: false,
            resources: json!({}),
            uid: 0,
            own_pids: true,
            oom_score_adj: 0,
        }
    }
    fn process(&self) -> Value {
        process(&self.args, self.terminal, self.uid, self.oom_score_adj)
    }
    fn config(&self, id: &str) -> Value {
        let mut kinds = vec!["mount", "ipc", "uts", "network"];
        if self.own_pids {
            kinds.push("pid");
        }
        let namespaces: Vec<Value> = kinds
            .into_iter()
            .map(|kind| json!({ "type": kind }))
            .collect();
        let nosuid = ["nosuid", "noexec", "nodev"];
        json!({
            "ociVersion": "1.2.0",
            "hostname": "shim-test",
            "process": self.process(),
            "root": { "path": "rootfs", "readonly": false },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc", "options": nosuid },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
                { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"] },
            ],
            "linux": {
                "cgroupsPath": format!("/gantry-shim-test-{id}"),
                "namespaces": namespaces,
                "resources": self.resources,
            },
        })
    }
}

pub(crate) fn process(args: &[String], terminal: bool, uid: u32, oom_score_adj: i32) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_DAC_OVERRIDE",
    ];
    json!({
        "terminal": terminal,
        "user": { "uid": uid, "gid": uid },
        "args": args,
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "oomScoreAdj": oom_score_adj,
        "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
    })
}

/// A client's attach with all streams, framed.
pub(crate) fn framed() -> Attach {
    Attach {
        exec: None,
        stdin: true,
        stdout: true,
        stderr: true,
        framed: true,
        detach_keys: Vec::new(),
        input: Vec::new(),
    }
}

/// A client's attach with all streams, as terminals have it.
pub(crate) fn raw() -> Attach {
    Attach {
        framed: false,
        detach_keys: vec![16, 17],
        ..framed()
    }
}

/// One shim, from the daemon's side.
pub(crate) struct Shim {
    pub(crate) id: String,
    folder: tempfile::TempDir,
    socket: OwnedFd,
    seq: u64,
    events: VecDeque<Event>,
    pub(crate) pid: i32,
    own_log_dir: Option<OwnedFd>,
}

impl Shim {
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }
    pub(crate) fn log_path(&self) -> PathBuf {
        self.log_dir().join("json.log")
    }

    /// Logs into a directory that has no path.
    pub(crate) fn use_log_dir(&mut self, directory: OwnedFd) {
        self.own_log_dir = Some(directory);
    }
    pub(crate) fn log_dir_content(&self, name: &str) -> String {
        let mut text = String::new();
        File::from(self.open_log(name, OFlags::RDONLY))
            .read_to_string(&mut text)
            .expect("is read");
        text
    }
    pub(crate) fn truncate_log(&self, name: &str) {
        self.open_log(name, OFlags::WRONLY | OFlags::TRUNC);
    }
    fn open_log(&self, name: &str, flags: OFlags) -> OwnedFd {
        let directory = self.own_log_dir.as_ref().expect("was given");
        rustix::fs::openat(directory, name, flags | OFlags::CLOEXEC, Mode::empty()).expect("opens")
    }

    fn greet(&mut self) {
        let patience = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&self.socket, patience, Some(PATIENCE))
            .expect("is set");
        match self.receive().expect("is a packet") {
            ShimPacket::Event(Event::Hello { version: 1, pid }) => self.pid = pid,
            other => panic!("no hello but {other:?}"),
        }
    }

    /// None: the connection has ended.
    pub(crate) fn receive(&self) -> Option<ShimPacket> {
        let packet = fdpass::receive(&self.socket, PACKET_MAX).expect("arrives in time")?;
        Some(serde_json::from_slice(&packet.bytes).expect("is of the protocol"))
    }

    /// Whether an event has come.
    pub(crate) fn has_news(&self) -> bool {
        !self.events.is_empty() || self.receives_within_ms(0)
    }

    /// Whether something comes within that time.
    pub(crate) fn receives_within_ms(&self, timeout_ms: u64) -> bool {
        // A pidfd and a socket are polled alike.
        pidfd::wait_for_end(&self.socket, Some(timeout_ms)).expect("is polled")
    }

    pub(crate) fn send(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> u64 {
        self.seq += 1;
        let packet = RequestPacket {
            seq: self.seq,
            request,
        };
        fdpass::send(
            &self.socket,
            &serde_json::to_vec(&packet).expect("is JSON"),
            fds,
        )
        .expect("is sent");
        self.seq
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        fdpass::send(&self.socket, bytes, &[]).expect("is sent");
    }

    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        self.ask_with(request, &[])
    }

    pub(crate) fn ask_with(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Reply {
        let seq = self.send(request, fds);
        self.answer(seq)
    }

    pub(crate) fn answer(&mut self, wanted: u64) -> Reply {
        loop {
            match self.receive().expect("the shim answers before it ends") {
                ShimPacket::Reply { seq, reply } if seq == wanted => return reply,
                ShimPacket::Reply { seq, reply } => panic!("an answer to {seq}: {reply:?}"),
                ShimPacket::Event(event) => self.events.push_back(event),
            }
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        match self.receive().expect("the shim tells before it ends") {
            ShimPacket::Event(event) => event,
            ShimPacket::Reply { seq, reply } => panic!("an answer to {seq}: {reply:?}"),
        }
    }

    pub(crate) fn exited(&mut self) -> Exit {
        loop {
            match self.event() {
                Event::Exited(exit) => return exit,
                Event::OutOfMemory | Event::Detached { .. } | Event::ExecExited { .. } => {}
                other @ Event::Hello { .. } => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The connection ends, and the process with it.
    pub(crate) fn ends(&mut self) {
        assert_eq!(self.receive(), None);
        self.is_gone();
    }

    /// The process ends.
    pub(crate) fn is_gone(&self) {
        let end = Instant::now() + PATIENCE;
        while Path::new(&format!("/proc/{}", self.pid)).exists() {
            assert!(Instant::now() < end, "the shim is still there");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn state(&mut self) -> State {
        match self.ask(Request::State) {
            Reply::State(state) => state,
            other => panic!("no state but {other:?}"),
        }
    }

    /// Sends everything for a run; clients with their sockets.
    pub(crate) fn run(&mut self, spec: &Spec, clients: Vec<(Attach, UnixStream)>) -> Reply {
        let config = memfd::sealed_bytes(
            "config",
            &serde_json::to_vec(&spec.config(&self.id)).expect("is JSON"),
        );
        let config = config.expect("is made");
        let rootfs = host_root();
        let run_dir = File::open(self.run_dir()).expect("opens");
        let log_dir = match &self.own_log_dir {
            Some(directory) => directory.try_clone().expect("is cloned"),
            None => File::open(self.log_dir()).expect("opens").into(),
        };
        let socket_path = self.run_dir().join("shim.sock");
        let _ = std::fs::remove_file(&socket_path);
        let listener = fdpass::listen(&socket_path).expect("listens");
        let mut roles = vec![
            FdRole::Config,
            FdRole::Rootfs,
            FdRole::RunDir,
            FdRole::LogDir,
            FdRole::Listener,
        ];
        let mut fds = vec![
            config.as_fd(),
            rootfs.as_fd(),
            run_dir.as_fd(),
            log_dir.as_fd(),
            listener.as_fd(),
        ];
        for (index, (_, socket)) in clients.iter().enumerate() {
            roles.push(FdRole::Attach { index });
            fds.push(socket.as_fd());
        }
        self.send(Request::Descriptors { roles }, &fds);
        self.ask(Request::Run(Run {
            id: self.id.clone(),
            terminal: spec.terminal,
            open_stdin: spec.open_stdin,
            stdin_once: spec.stdin_once,
            log: spec.log.clone(),
            attach: clients.iter().map(|(attach, _)| attach.clone()).collect(),
            init: spec.init,
        }))
    }

    /// Runs `spec`, which must start, with one client.
    pub(crate) fn start(&mut self, spec: &Spec, attach: Attach) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("is made");
        match self.run(spec, vec![(attach, theirs)]) {
            Reply::Started { .. } => Client(ours),
            other => panic!("not started: {other:?}"),
        }
    }

    /// Attaches another client.
    pub(crate) fn attach(&mut self, attach: Attach) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("is made");
        assert_eq!(
            self.ask_with(Request::Attach(attach), &[theirs.as_fd()]),
            Reply::Ok
        );
        Client(ours)
    }

    /// Drops the connection; the shim goes on.
    pub(crate) fn lose_daemon(&mut self) {
        let (ours, _) = fdpass::pair().expect("is made");
        self.socket = ours;
        self.events.clear();
    }

    /// Connects as a later daemon does.
    pub(crate) fn reconnect(&mut self) {
        self.socket = fdpass::connect(&self.run_dir().join("shim.sock")).expect("answers");
        self.greet();
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // Whatever the test did: nothing of its container may stay.
        let Ok(shim) = pidfd::open(self.pid) else {
            return;
        };
        if let Ok(children) =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid))
        {
            for child in children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
            {
                let _ = pidfd::open(child).and_then(|child| pidfd::send_signal(child, 9));
            }
        }
        self.lose_daemon();
        if !pidfd::wait_for_end(&shim, Some(10_000)).unwrap_or(true) {
            let _ = pidfd::send_signal(&shim, 9);
            assert!(
                std::thread::panicking(),
                "the shim did not end after its container"
            );
        }
    }
}

/// A client's side of an attached stream.
pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    /// Everything until the connection ends.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        self.0.set_read_timeout(Some(PATIENCE)).expect("is set");
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("ends in time");
        bytes
    }

    /// Standard output and standard error until the connection ends.
    pub(crate) fn streams(self) -> (String, String) {
        let (stdout, stderr) = demultiplex(&self.rest());
        let text = |bytes| String::from_utf8(bytes).expect("is text");
        (text(stdout), text(stderr))
    }

    /// Reads until `wanted` has come; returns all that came.
    pub(crate) fn expect(&mut self, wanted: &str) -> String {
        self.0.set_read_timeout(Some(PATIENCE)).expect("is set");
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(wanted.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                other => panic!(
                    "waited for {wanted:?}, got {other:?} after {:?}",
                    String::from_utf8_lossy(&seen)
                ),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// Takes Docker's frames apart.
pub(crate) fn demultiplex(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[4..8].try_into().expect("has four bytes")) as usize;
        assert_eq!(bytes[1..4], [0; 3]);
        let target = match bytes[0] {
            1 => &mut stdout,
            2 => &mut stderr,
            other => panic!("stream {other}"),
        };
        target.extend_from_slice(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    (stdout, stderr)
}

/// This machine's root as a detached, read-only mount without anything that is mounted below it.
fn host_root() -> OwnedFd {
    let root = mount::clone_path(Path::new("/"), false).expect("is cloned");
    let change = Change {
        set: Attributes::READ_ONLY,
        ..Change::default()
    };
    mount::change(&root, &change).expect("is made read-only");
    root
}

/// Runs a script to its end: exit code, standard output, standard error.
pub(crate) fn outcome(zygote: &Zygote, spec: &Spec) -> (i32, String, String) {
    let mut shim = zygote.shim();
    let client = shim.start(spec, framed());
    let exit = shim.exited();
    let (stdout, stderr) = client.streams();
    shim.ends();
    let recorded: Exit = serde_json::from_slice(
        &std::fs::read(shim.run_dir().join("exit.json")).expect("was written"),
    )
    .expect("is JSON");
    assert_eq!(recorded, exit);
    (exit.exit_code, stdout, stderr)
}

/// The log as (text, stream) records.
pub(crate) fn log_records(path: &Path) -> Vec<(String, String)> {
    let content = std::fs::read_to_string(path).expect("is read");
    let record = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("is JSON");
        let text = |key: &str| value[key].as_str().expect("is a string").to_owned();
        (text("log"), text("stream"))
    };
    content.lines().map(record).collect()
}
