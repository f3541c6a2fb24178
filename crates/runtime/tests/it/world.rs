//! The place in which a case runs, and the loop over all cases.

use gantry_oci::runtime::{Capabilities, Linux, Mount, Namespace, Process, Root, Spec};
use gantry_runtime::cgroup::Roots;
use gantry_runtime::{Document, ExecPlan, Init, Plan, Stdio, Target, Tolerate};
use gantry_sys::{mount, namespace, pidfd};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Set in the environment in a virtual machine.
pub(crate) const IN_MACHINE: &str = "GANTRY_IT_MACHINE";

/// A case's name and function.
pub(crate) type Case = (&'static str, fn(&World));

/// Runs every case whose name contains one of the filters, two at a time, each in its own process.
pub(crate) fn run_all(arguments: &[String], cases: &[Case]) {
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted: Vec<&Case> = cases
        .iter()
        .filter(|(name, _)| {
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
        })
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in wanted {
            println!("{name}: test");
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: containers need root");
        return;
    }
    println!("\nrunning {} tests", wanted.len());
    let mut failed = Vec::new();
    for (name, _) in &wanted {
        let program = std::env::current_exe().expect("is known");
        let output = Command::new(program)
            .args(["--case", name])
            .output()
            .expect("starts");
        if output.status.success() {
            println!("test {name} ... ok");
            print!("{}", String::from_utf8_lossy(&output.stdout));
        } else {
            println!("test {name} ... FAILED ({})", output.status);
            println!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            failed.push(*name);
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed",
        if failed.is_empty() { "ok" } else { "FAILED" },
        wanted.len() - failed.len(),
        failed.len()
    );
    if !failed.is_empty() {
        println!("failures: {failed:?}");
        std::process::exit(1);
    }
}

/// Runs one case in this process.
pub(crate) fn run_case(name: &str, cases: &[Case]) {
    let (_, case) = cases
        .iter()
        .find(|(other, _)| *other == name)
        .expect("the case exists");
    let world = World::new(name);
    case(&world);
}

/// A mount namespace of its own, with a tmpfs for bundles, and a name for cgroups.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) cgroups: Arc<Roots>,
    name: String,
}

impl World {
    fn new(name: &str) -> Self {
        let cgroups = Arc::new(Roots::open().unwrap_or_else(|error| {
            println!("note: no cgroups: {error}");
            Roots::absent()
        }));
        namespace::unshare(namespace::Kind::Mount.flag()).expect("a mount namespace is made");
        let private = mount::Change {
            propagation: Some(mount::Propagation::Private),
            recursive: true,
            ..Default::default()
        };
        mount::change_at(Path::new("/"), &private).expect("is changed");
        let folder = PathBuf::from("/mnt");
        let tmpfs = mount::new_filesystem("tmpfs", Some("it"), &[], mount::Attributes::NONE)
            .expect("is made");
        mount::attach_at(&tmpfs, &folder).expect("is attached");
        let name = format!("gantry-it-{}-{name}", std::process::id());
        Self {
            folder,
            cgroups,
            name,
        }
    }

    /// Unique among what runs at the same time.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A root file system with the probe in it.
    pub(crate) fn rootfs(&self, name: &str) -> PathBuf {
        let root = self.folder.join(name).join("rootfs");
        for folder in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
            std::fs::create_dir_all(root.join(folder)).expect("is made");
        }
        std::fs::copy("/proc/self/exe", root.join("bin/probe")).expect("is copied");
        root
    }

    /// A bundle for the probe with these arguments, Docker-like.
    pub(crate) fn spec(&self, arguments: &[&str]) -> Spec {
        let mount = |destination: &str, kind: &str, options: &str| Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: kind.into(),
            options: options.split(',').map(str::to_owned).collect(),
            ..Mount::default()
        };
        let namespaces =
            ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| Namespace {
                kind: kind.into(),
                path: String::new(),
            });
        Spec {
            oci_version: "1.0.2".into(),
            process: Some(Process {
                args: std::iter::once("probe")
                    .chain(arguments.iter().copied())
                    .map(str::to_owned)
                    .collect(),
                env: vec!["PATH=/bin".into()],
                cwd: "/".into(),
                ..Process::default()
            }),
            root: Some(Root {
                path: "rootfs".into(),
                readonly: false,
            }),
            mounts: vec![
                mount("/proc", "proc", "nosuid,noexec,nodev"),
                mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
                mount(
                    "/dev/pts",
                    "devpts",
                    "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
                ),
                mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
                mount("/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
                mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
                mount(
                    "/dev/shm",
                    "tmpfs",
                    "nosuid,noexec,nodev,mode=1777,size=65536k",
                ),
            ],
            linux: Some(Linux {
                namespaces: namespaces.to_vec(),
                cgroups_path: format!("/{}", self.name),
                masked_paths: [
                    "/proc/kcore",
                    "/proc/keys",
                    "/proc/acpi",
                    "/proc/scsi",
                    "/sys/firmware",
                    "/proc/nosuch",
                ]
                .map(str::to_owned)
                .to_vec(),
                readonly_paths: [
                    "/proc/bus",
                    "/proc/fs",
                    "/proc/irq",
                    "/proc/sys",
                    "/proc/sysrq-trigger",
                ]
                .map(str::to_owned)
                .to_vec(),
                ..Linux::default()
            }),
            ..Spec::default()
        }
    }

    /// A plan for a bundle named `name` in which `rootfs` was called.
    pub(crate) fn plan(&self, name: &str, spec: &Spec) -> gantry_runtime::Result<Plan> {
        let bundle = self.folder.join(name);
        gantry_runtime::bundle::plan(name, &bundle, spec.clone(), Arc::clone(&self.cgroups))
    }

    /// Runs a container to its end; output and exit code.
    pub(crate) fn run(&self, name: &str, spec: &Spec) -> gantry_runtime::Result<(String, i32)> {
        Self::run_plan(self.plan(name, spec)?)
    }

    /// Runs what is planned to its end; output and exit code.
    pub(crate) fn run_plan(mut plan: Plan) -> gantry_runtime::Result<(String, i32)> {
        let (mut reader, stdio) = output();
        plan.stdio = stdio;
        let init = gantry_runtime::run(plan)?;
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("is read");
        let exit = pidfd::wait(&init.pidfd).expect("is reaped");
        end(init);
        Ok((text, exit.code()))
    }

    /// Runs the probe with arguments in a fresh Docker-like container that `change` has altered.
    pub(crate) fn probe(
        &self,
        arguments: &[&str],
        change: impl FnOnce(&mut Spec),
    ) -> gantry_runtime::Result<(String, i32)> {
        let mut spec = self.spec(arguments);
        self.rootfs("probe");
        change(&mut spec);
        self.run("probe", &spec)
    }
}

/// Standard streams that all lead to one pipe.
pub(crate) fn output() -> (std::io::PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().expect("is made");
    let null = std::fs::File::open("/dev/null").expect("opens");
    let other = writer.try_clone().expect("is cloned");
    (
        reader,
        Stdio::Fds([
            OwnedFd::from(null),
            OwnedFd::from(writer),
            OwnedFd::from(other),
        ]),
    )
}

/// Removes what is left of a container that has ended.
pub(crate) fn end(init: Init) {
    init.cgroup.remove().expect("the cgroups are removed");
}

/// How often a race is tried: less often in a virtual machine, which is slow.
pub(crate) fn rounds(wanted: usize) -> usize {
    if std::env::var_os(IN_MACHINE).is_some() {
        wanted / 5
    } else {
        wanted
    }
}

/// The kernel's version, for what old ones cannot do.
pub(crate) fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let mut numbers = name
        .release()
        .to_str()
        .expect("is text")
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().expect("is a number"));
    let mut next = || numbers.next().expect("has two numbers");
    (next(), next())
}

/// A running container and its output.
pub(crate) struct Running {
    pub(crate) init: Init,
    pub(crate) reader: std::io::PipeReader,
}

impl World {
    /// Starts a container and lets it run.
    pub(crate) fn start(&self, name: &str, spec: &Spec) -> Running {
        let mut plan = self.plan(name, spec).expect("is planned");
        let (reader, stdio) = output();
        plan.stdio = stdio;
        let init = gantry_runtime::run(plan).expect("runs");
        Running { init, reader }
    }
}

impl Running {
    /// Runs a process in the container; output and exit code.
    pub(crate) fn exec(&self, process: Process) -> gantry_runtime::Result<(String, i32)> {
        let (mut reader, stdio) = output();
        let plan = ExecPlan {
            process: Document::Parsed(Box::new(process)),
            stdio,
            seccomp_filter: None,
            tolerate: Tolerate::default(),
            preserve_fds: 0,
        };
        let child = gantry_runtime::exec(&self.target(), plan)?;
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("is read");
        Ok((text, pidfd::wait(&child.pidfd).expect("is reaped").code()))
    }

    /// For `exec`.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            pidfd: self.init.pidfd.as_fd(),
            cgroup: &self.init.cgroup,
            namespaces: self.init.namespaces,
        }
    }

    /// Ends the container.
    pub(crate) fn stop(self) {
        pidfd::send_signal(&self.init.pidfd, libc::SIGKILL).expect("is sent");
        pidfd::wait(&self.init.pidfd).expect("is reaped");
        end(self.init);
    }
}

/// A process that runs the probe.
pub(crate) fn process(arguments: &[&str]) -> Process {
    Process {
        args: std::iter::once("probe")
            .chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect(),
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        ..Process::default()
    }
}

/// Docker's default capabilities, in three sets.
pub(crate) fn docker_capabilities() -> Capabilities {
    let names: Vec<String> = gantry_oci::capability::DOCKER_DEFAULT
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}

/// The value of a line such as `CapEff:\t00`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
}
