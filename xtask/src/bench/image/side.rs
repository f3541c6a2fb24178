//! One daemon on a file system of its own, which is made for it and gone with it.

use crate::bench::daemon::Daemon;
use crate::bench::own::signal;
use gantry_testkit::http::Client;
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DISK_BYTES: u64 = 12 << 30;
const START_MAX: Duration = Duration::from_secs(30);
const STOP_MAX: Duration = Duration::from_secs(30);
/// What dockerd uses instead of its own decompressor where it finds it.
const UNPIGZ: &str = "unpigz";

/// Which daemon.
#[derive(Debug)]
pub(super) enum Program {
    /// With the root of unpacked packages.
    Dockerd(PathBuf),
    /// With the executable.
    Gantry(PathBuf),
}

/// A daemon that runs; stopped when dropped.
pub(super) struct Side {
    pub(super) daemon: Daemon,
    process: Child,
    disk: Disk,
    /// On tmpfs, as a daemon's run-time files are.
    _run: tempfile::TempDir,
}

/// A new ext4, mounted; gone when dropped.
struct Disk {
    image: PathBuf,
    mounted: tempfile::TempDir,
}

impl Disk {
    fn create(folder: &Path) -> Result<Self, String> {
        let image = folder.join(format!("gantry-bench-{}.ext4", std::process::id()));
        let context = |e: std::io::Error| format!("cannot make {}: {e}", image.display());
        File::create(&image)
            .and_then(|file| file.set_len(DISK_BYTES))
            .map_err(context)?;
        let mounted = temporary()?;
        let disk = Self { image, mounted };
        let made = [
            "-q",
            "-F",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        ];
        succeed(Command::new("mkfs.ext4").args(made).arg(&disk.image))?;
        // Else a thread of the kernel writes inode tables meanwhile.
        let options = ["-o", "loop,noatime,noinit_itable"];
        succeed(
            Command::new("mount")
                .args(options)
                .arg(&disk.image)
                .arg(disk.mounted.path()),
        )?;
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(succeed(
            Command::new("umount").arg("-l").arg(self.mounted.path()),
        ));
        drop(std::fs::remove_file(&self.image));
    }
}

impl Side {
    pub(super) fn start(program: &Program, disks: &Path) -> Result<Self, String> {
        let disk = Disk::create(disks)?;
        let run = temporary()?;
        let socket = run.path().join("daemon.sock");
        let log = run.path().join("daemon.log");
        let (mut command, label, client) = match program {
            Program::Dockerd(root) => (dockerd(root)?, "dockerd", root.join("usr/bin/docker")),
            Program::Gantry(path) => (gantry(path), "Gantry", path.clone()),
        };
        let context = |e: std::io::Error| format!("cannot start {label}: {e}");
        let output = File::create(&log).map_err(context)?;
        let process = command
            .arg("--data-root")
            .arg(disk.mounted.path().join("data"))
            .arg("--exec-root")
            .arg(run.path().join("run"))
            .arg("--pidfile")
            .arg(run.path().join("daemon.pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .args(["--bridge", "none"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(context)?)
            .stderr(output)
            .spawn()
            .map_err(context)?;
        let mut side = Self {
            daemon: Daemon {
                label: label.into(),
                socket,
                client,
            },
            process,
            disk,
            _run: run,
        };
        let began = Instant::now();
        while Client::new(&side.daemon.socket)
            .request("GET", "/_ping", None)
            .is_err()
        {
            let ended = side.process.try_wait().ok().flatten();
            if ended.is_some() || began.elapsed() > START_MAX {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{label} does not answer; its log:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        side.settle()?;
        Ok(side)
    }

    /// Processor time of the daemon and of the children it has waited for, in milliseconds.
    pub(super) fn processor_ms(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat =
            std::fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
        // The name in brackets may hold anything; the times are the twelfth to fifteenth field behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(4);
        let ticks: u32 = times.filter_map(|time| time.parse::<u32>().ok()).sum();
        Ok(f64::from(ticks) * 10.0)
    }

    /// Waits until nothing is left to be written: neither pays for what was done before.
    pub(super) fn settle(&self) -> Result<(), String> {
        let folder = self.disk.mounted.path();
        File::open(folder)
            .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
            .map_err(|e| format!("cannot sync {}: {e}", folder.display()))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        signal(&self.process, Signal::TERM);
        let began = Instant::now();
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if began.elapsed() > STOP_MAX {
                eprintln!("bench: {} did not end on SIGTERM", self.daemon.label);
                drop(self.process.kill());
                drop(self.process.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn dockerd(root: &Path) -> Result<Command, String> {
    let program = root.join("usr/sbin/dockerd");
    if !program.exists() {
        return Err(format!(
            "{} is not there: run peer.sh get, or give --peer-root",
            program.display()
        ));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let own = format!("{0}/usr/bin:{0}/usr/sbin:{path}", root.display());
    let mut command = Command::new(program);
    command.env("PATH", own);
    command.args([
        "--config-file",
        "/dev/null",
        "--iptables=false",
        "--ip6tables=false",
    ]);
    Ok(command)
}

fn gantry(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.args(["daemon", "--cgroup-parent", "gantry-bench"]);
    command
}

/// For the report: dockerd is much faster at gzip with it.
pub(super) fn decompressor() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&path).any(|folder| folder.join(UNPIGZ).exists());
    let how = if is_found { "with" } else { "without" };
    format!("dockerd {how} {UNPIGZ}")
}

fn temporary() -> Result<tempfile::TempDir, String> {
    tempfile::Builder::new()
        .prefix("gantry-bench.")
        .tempdir_in("/run")
        .map_err(|e| format!("cannot make a folder in /run: {e}"))
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {status}"))
}
