//! Our daemon under test: own roots, socket, bridge and cgroups, and a look at what is left of it.

use crate::http::Client;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the kernel may take to clean up behind namespaces on a busy machine.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(30);

/// A daemon and its directory. Dropping it kills the daemon, its containers and removes everything.
pub struct Daemon {
    root: PathBuf,
    cgroup: String,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// Where `gantry` and `gantry-shim` are: two folders above a test's executable.
///
/// # Panics
/// When they were not built.
pub fn executable(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its executable");
    let directory = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps");
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is missing: build the workspace first",
        path.display()
    );
    path
}

impl Daemon {
    /// Prepares a daemon with a directory of its own; [`Daemon::start`] starts it.
    ///
    /// # Panics
    /// When the directory cannot be made.
    pub fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("gantry-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("run")).expect("a scratch directory can be made");
        // The run directory is a tmpfs, as on real machines, and private to this world.
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(root.join("run"))
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot mount a tmpfs"
        );
        let cgroup = format!("gantry-test-{}", std::process::id());
        Self {
            root,
            cgroup,
            arguments: Vec::new(),
            child: None,
        }
    }

    /// More arguments for the daemon.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts the daemon, with `failpoints` armed, and waits until it answers. False if it died before.
    ///
    /// # Panics
    /// When it neither answers nor dies in time.
    pub fn start(&mut self, failpoints: &str) -> bool {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file can be made");
        let child = Command::new(executable("gantry"))
            .arg("daemon")
            .arg("--data-root")
            .arg(self.root.join("data"))
            .arg("--exec-root")
            .arg(self.root.join("run"))
            .args(["--pidfile", "", "--cgroup-parent", &self.cgroup])
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(&self.arguments)
            .env("GANTRY_FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        self.child = Some(child);
        let begin = Instant::now();
        while begin.elapsed() < START_TIMEOUT {
            if self.has_died() {
                return false;
            }
            if self.client().request("GET", "/_ping", None).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the daemon does not answer; its log:\n{}", self.log_text());
    }

    /// kill -9, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have died by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the daemon has ended by itself.
    pub fn has_died(&mut self) -> bool {
        let ended = self
            .child
            .as_mut()
            .is_none_or(|child| child.try_wait().ok().flatten().is_some());
        if ended {
            self.child = None;
        }
        ended
    }

    /// Waits a while for the daemon to end by itself.
    pub fn waits_for_death(&mut self, patience: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if self.has_died() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("run/gantry.sock")
    }

    /// `unix://…`
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A new client of the API.
    pub fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    /// The daemon's pid.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything the daemon owns.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// What the daemon logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// What exists of containers that no longer exist: directories, mounts, links, cgroups and processes, as lines of text.
    /// Empty when all containers were removed and everything was cleaned up.
    pub fn leftovers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for directory in ["run/containers", "data/containers", "data/images/snapshots"] {
            let entries = std::fs::read_dir(self.root.join(directory))
                .into_iter()
                .flatten()
                .flatten();
            found.extend(entries.map(|entry| format!("directory {}", entry.path().display())));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let data = self.root.join("data").to_string_lossy().into_owned();
        // A layer that is one file stays mounted as long as its image is there and the daemon runs.
        let layers = self.root.join("run/layers").to_string_lossy().into_owned();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&data) && !line.contains(&layers))
                .map(|line| format!("mount {line}")),
        );
        let links = std::fs::read_dir("/sys/class/net")
            .into_iter()
            .flatten()
            .flatten();
        let links = links.map(|entry| entry.file_name().to_string_lossy().into_owned());
        found.extend(links.filter_map(|name| match name.get(..3)? {
            "vet" => Some(format!("link {name}")),
            // Of a network that a user made.
            "br-" => Some(format!("bridge {name}")),
            _ => None,
        }));
        for cgroup in self.cgroups() {
            let entries = std::fs::read_dir(&cgroup).into_iter().flatten().flatten();
            let children =
                entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            found.extend(children.map(|entry| format!("cgroup {}", entry.path().display())));
        }
        found.extend(
            self.processes()
                .into_iter()
                .map(|pid| format!("process {pid} {}", name_of(pid))),
        );
        found
    }

    /// As [`Daemon::assert_clean`], while one container with this id and init lives on.
    ///
    /// # Panics
    /// When something else is left after half a minute.
    pub fn assert_clean_but(&self, id: &str, pid: i64, when: &str) {
        let begin = Instant::now();
        loop {
            let mut left = self.leftovers();
            left.retain(|line| !line.contains(id) && !line.starts_with(&format!("process {pid} ")));
            // One link and one shim are the survivor's.
            for prefix in ["link ", "process "] {
                let first = left.iter().find(|line| line.starts_with(prefix)).cloned();
                first.map(|line| left.remove(&line));
            }
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < CLEAN_TIMEOUT,
                "left after {when}: {left:#?}\ndaemon's log:\n{}",
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until nothing is left, and panics with what is.
    ///
    /// # Panics
    /// When something is left after half a minute.
    pub fn assert_clean(&self, when: &str) {
        let begin = Instant::now();
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < CLEAN_TIMEOUT,
                "left after {when}: {left:#?}\ndaemon's log:\n{}",
                self.log_text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Shims and payloads: processes of this network namespace or of our cgroups, without daemon, zygote and this test.
    fn processes(&self) -> Vec<i32> {
        let own = std::fs::read_link("/proc/self/ns/net").ok();
        let daemon = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let mine = i32::try_from(std::process::id()).ok();
        let members: BTreeSet<i32> = self
            .cgroups()
            .iter()
            .flat_map(|path| members(path))
            .collect();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let field = |name: &str| {
                status.lines().find_map(|line| {
                    line.strip_prefix(name)?
                        .trim()
                        .split(char::is_whitespace)
                        .next()
                        .map(str::to_owned)
                })
            };
            let parent = field("PPid:").and_then(|text| text.parse::<i32>().ok());
            if field("State:").as_deref() == Some("Z") || Some(pid) == daemon || Some(pid) == mine {
                continue;
            }
            let is_zygote = parent == daemon && parent.is_some();
            let is_ours = std::fs::read_link(entry.path().join("ns/net")).ok() == own
                && name_of(pid).starts_with("gantry-shim");
            if (is_ours && !is_zygote) || members.contains(&pid) {
                found.push(pid);
            }
        }
        found
    }

    /// Our parent cgroup in every hierarchy.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let roots = mountinfo
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        roots
            .map(|root| Path::new(root).join(&self.cgroup))
            .filter(|path| path.is_dir())
            .collect()
    }
}

fn members(cgroup: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(members(&entry.path()));
        }
    }
    pids
}

fn name_of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log_text());
        }
        self.kill();
        for pid in self
            .processes()
            .into_iter()
            .filter_map(rustix::process::Pid::from_raw)
        {
            // It may end by itself meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for cgroup in self.cgroups() {
            for _ in 0..100 {
                let children = std::fs::read_dir(&cgroup).into_iter().flatten().flatten();
                children.for_each(|child| drop(std::fs::remove_dir(child.path())));
                if std::fs::remove_dir(&cgroup).is_ok() || !cgroup.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.root.join("run"))
            .status();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
