//! A Gantry daemon for the time of a benchmark: built, started with folders of its own, stopped and cleaned up at the end.

use gantry_testkit::http::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_MAX: Duration = Duration::from_secs(15);
const STOP_MAX: Duration = Duration::from_secs(15);

/// How it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// The daemon; stopped when this is dropped.
pub(crate) struct Own {
    pub(crate) socket: PathBuf,
    pub(crate) client: PathBuf,
    daemon: Child,
    /// On a disk, as a daemon's data is.
    data: tempfile::TempDir,
    /// On tmpfs, as its run-time files are.
    _run: tempfile::TempDir,
}

impl Own {
    pub(crate) fn start(root: &Path, profile: Profile) -> Result<Self, String> {
        let client = executable(root, profile)?;
        let data = folder("/var/tmp")?;
        let run = folder("/run")?;
        let socket = run.path().join("gantry.sock");
        let log = data.path().join("daemon.log");
        let context = |e: std::io::Error| format!("cannot start {}: {e}", client.display());
        let file = File::create(&log).map_err(context)?;
        let daemon = Command::new(&client)
            .arg("daemon")
            .arg("--data-root")
            .arg(data.path().join("data"))
            .arg("--exec-root")
            .arg(run.path().join("run"))
            .arg("--pidfile")
            .arg(run.path().join("gantry.pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(context)?)
            .stderr(file)
            .spawn()
            .map_err(context)?;
        let mut own = Self {
            socket,
            client,
            daemon,
            data,
            _run: run,
        };
        let began = Instant::now();
        while Client::new(&own.socket)
            .request("GET", "/_ping", None)
            .is_err()
        {
            let ended = own.daemon.try_wait().ok().flatten();
            if ended.is_some() || began.elapsed() > START_MAX {
                return Err(format!(
                    "the daemon does not answer; its log:\n{}",
                    own.log()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(own)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        signal(&self.daemon, Signal::TERM);
        let began = Instant::now();
        while self.daemon.try_wait().is_ok_and(|ended| ended.is_none()) {
            if began.elapsed() > STOP_MAX {
                eprintln!("bench: the daemon did not end on SIGTERM");
                drop(self.daemon.kill());
                drop(self.daemon.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Sends a signal to a child that was not waited for, so that its pid is still its own.
pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Err(error) = kill_process(Pid::from_child(child), signal) {
        eprintln!("bench: cannot send a signal: {error}");
    }
}

fn folder(parent: &str) -> Result<tempfile::TempDir, String> {
    tempfile::Builder::new()
        .prefix("gantry-bench.")
        .tempdir_in(parent)
        .map_err(|e| format!("cannot make a folder in {parent}: {e}"))
}

/// Builds both executables and says where `gantry` is; the shim lies beside it.
pub(crate) fn executable(root: &Path, profile: Profile) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--locked",
        "--package=gantry",
        "--package=gantry-shim",
        "--message-format=json-render-diagnostics",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let output = command
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("the build failed: {}", output.status));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["target"]["name"] == "gantry" && message["executable"].is_string())
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built no executable named gantry".to_owned())
}
