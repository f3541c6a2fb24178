//! Runs the same command lines against both daemons and compares what a user sees.

use crate::normal::normalize;
use gantry_testkit::daemon::Daemon;
use gantry_testkit::tar::Archive;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The image of the comparisons: Debian's static busybox.
pub(crate) const IMAGE: &str = "gantry-conformance:busybox";
const BUSYBOX: &str = "/bin/busybox";
/// No command of a comparison takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Our daemon, and the peer.
pub(crate) struct Both {
    pub(crate) ours: Daemon,
    pub(crate) peer: Option<String>,
    /// Put before every container's name, as the peer may be shared.
    pub(crate) prefix: String,
    docker: PathBuf,
}

/// What one command line gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Both {
    /// Starts our daemon and gives both the image; none where something is missing, which it says.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let Some(docker) = find_docker() else {
            println!("skipped: there is no docker command line");
            return None;
        };
        let Some(image) = rootfs() else {
            println!("skipped: {BUSYBOX} is missing (Debian package busybox-static)");
            return None;
        };
        let mut ours = Daemon::new(&format!("conformance-{name}"));
        assert!(ours.start(""), "{}", ours.log_text());
        let peer = std::env::var("GANTRY_PEER_SOCKET").ok().filter(|socket| !socket.is_empty());
        if peer.is_none() {
            println!("only our own daemon: GANTRY_PEER_SOCKET names no dockerd to compare with");
        }
        let peer = peer.map(|socket| format!("unix://{socket}"));
        let both = Self { ours, peer, prefix: format!("gc{name}{}-", std::process::id()), docker };
        for host in both.hosts() {
            let imported = both.docker(&host, &["import", "-", IMAGE], &image);
            assert_eq!(imported.code, Some(0), "{imported:?}");
        }
        Some(both)
    }

    fn hosts(&self) -> Vec<String> {
        std::iter::once(self.ours.host()).chain(self.peer.clone()).collect()
    }

    /// Runs a command line against both and asserts that they give the same; the answer is ours.
    pub(crate) fn same(&self, line: &str) -> Seen {
        self.same_with(line, b"")
    }

    /// The same with input.
    pub(crate) fn same_with(&self, line: &str, input: &[u8]) -> Seen {
        let arguments = self.split(line);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ours = self.docker(&self.ours.host(), &arguments, input);
        if let Some(peer) = &self.peer {
            let theirs = self.docker(peer, &arguments, input);
            assert_eq!(self.plain(&ours), self.plain(&theirs), "`docker {line}`: left is ours, right is dockerd's");
        }
        ours
    }

    /// Runs a command line against both without comparing.
    pub(crate) fn each(&self, line: &str) {
        let arguments = self.split(line);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for host in self.hosts() {
            self.docker(&host, &arguments, b"");
        }
    }

    /// Runs a command line against ours alone.
    pub(crate) fn ours(&self, line: &str) -> Seen {
        let arguments = self.split(line);
        self.docker(&self.ours.host(), &arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"")
    }

    /// `IMAGE` and names after `@` are filled in; single quotes hold a word together.
    pub(crate) fn split(&self, line: &str) -> Vec<String> {
        let line = line.replace("IMAGE", IMAGE).replace('@', &self.prefix);
        let mut words = Vec::new();
        for (index, part) in line.split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    fn plain(&self, seen: &Seen) -> Seen {
        let text = |text: &str| normalize(&text.replace(&self.prefix, "@"));
        Seen { stdout: text(&seen.stdout), stderr: text(&seen.stderr), code: seen.code }
    }

    /// A command of the docker command line, for those who need more than its output.
    pub(crate) fn command(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.docker);
        command.args(arguments).env("DOCKER_HOST", host).env("DOCKER_CONFIG", self.ours.root()).env_remove("DOCKER_CONTEXT");
        command
    }

    pub(crate) fn docker(&self, host: &str, arguments: &[&str], input: &[u8]) -> Seen {
        let mut child = self
            .command(host, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the docker command line starts");
        let mut stdin = child.stdin.take().expect("was piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = wait(child, &format!("docker {}", arguments.join(" ")));
        writer.join().expect("the writer does not panic");
        Seen {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let Some(peer) = self.peer.clone() else { return };
        let mine = self.docker(&peer, &["ps", "-aq", "--filter", &format!("name={}", self.prefix)], b"");
        for id in mine.stdout.split_whitespace() {
            self.docker(&peer, &["rm", "-f", "-v", id], b"");
        }
    }
}

/// Waits with a bound, so that a hang is a failure with a name.
fn wait(mut child: std::process::Child, what: &str) -> Output {
    let pid = child.id();
    let begin = Instant::now();
    let watch = std::thread::spawn({
        let what = what.to_owned();
        move || {
            while begin.elapsed() < TIMEOUT {
                std::thread::sleep(Duration::from_millis(50));
                if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                    return;
                }
            }
            eprintln!("`{what}` hangs; killing it");
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                // It may end at this very moment.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    });
    child.stdin = None;
    let output = child.wait_with_output().expect("its output can be read");
    drop(watch);
    output
}

fn find_docker() -> Option<PathBuf> {
    let named = std::env::var_os("GANTRY_TEST_DOCKER").map(PathBuf::from);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    named.into_iter().chain(std::env::split_paths(&paths).map(|path| path.join("docker"))).find(|path| path.is_file())
}

/// A tar with busybox, its names, and the few files that programs ask for.
fn rootfs() -> Option<Vec<u8>> {
    let busybox = std::fs::read(BUSYBOX).ok()?;
    let mut archive = Archive::new(Vec::new());
    let mut build = || -> std::io::Result<()> {
        for folder in ["bin", "etc", "tmp", "home", "home/web"] {
            archive.folder(folder, 0o755)?;
        }
        archive.file("bin/busybox", 0o755, &busybox[..], busybox.len() as u64)?;
        for name in ["sh", "ls", "cat", "echo", "true", "false", "sleep", "id", "env", "head", "tail", "dd", "wc", "stty", "kill", "tty", "hostname", "mount", "ps", "md5sum", "awk", "seq", "test", "nproc", "yes", "ip", "pwd", "touch", "grep", "trap", "od"] {
            archive.link(&format!("bin/{name}"), "busybox")?;
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n";
        archive.file("etc/passwd", 0o644, passwd.as_bytes(), passwd.len() as u64)?;
        let group = "root:x:0:\nweb:x:1000:\nvideo:x:44:web\n";
        archive.file("etc/group", 0o644, group.as_bytes(), group.len() as u64)
    };
    build().expect("writing to memory does not fail");
    Some(archive.finish().expect("writing to memory does not fail"))
}
