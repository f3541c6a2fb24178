//! What a container was asked to be → the OCI runtime configuration: pure.
//!
//! The defaults are Docker's (moby `daemon/pkg/oci/defaults.go`); `security.md` section 3 lists them with their sources.
//! Mounts and limits have files of their own. The seccomp filter is not in the document: it is compiled apart and handed over as bytes.

mod mounts;
mod resources;

pub(crate) use resources::resources;

use super::config::{Config, MountSource};
use crate::host::Host;
use gantry_base::Result;
use gantry_oci::capability;
use gantry_oci::runtime::{
    Capabilities, Device, IdMapping, Linux, Namespace, OCI_VERSION, Process, Rlimit, Root, Spec,
    User,
};

const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Who the process runs as, looked up in the container's own files.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ResolvedUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    /// Home directory, for `HOME`.
    pub(crate) home: String,
}

/// A device node of the host, looked up by the caller.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResolvedDevice {
    pub(crate) device: Device,
    pub(crate) access: String,
}

/// What the pure function needs besides the configuration.
pub(crate) struct SpecInput<'a> {
    pub(crate) config: &'a Config,
    pub(crate) host: &'a Host,
    pub(crate) args: Vec<String>,
    pub(crate) user: ResolvedUser,
    pub(crate) hostname: String,
    pub(crate) cgroup_path: String,
    pub(crate) cgroupns_private: bool,
    pub(crate) no_new_privileges: bool,
    /// Namespaces that are joined by descriptor, or not made at all (`host`).
    pub(crate) shared: SharedNamespaces,
    /// `/etc/hosts` and its like: targets bound read-write in front of the user's mounts.
    pub(crate) generated_files: &'a [&'a str],
    pub(crate) devices: Vec<ResolvedDevice>,
    /// Block device numbers of the paths that limits name.
    pub(crate) block_devices: &'a dyn Fn(&str) -> Result<(i64, i64)>,
}

/// For each namespace: none is a new one, `host` is no entry, else it is joined by descriptor.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedNamespaces {
    pub(crate) network: Sharing,
    pub(crate) pid: Sharing,
    pub(crate) ipc: Sharing,
    pub(crate) uts: Sharing,
}

/// How a namespace comes to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// A new one.
    #[default]
    New,
    /// The host's.
    Host,
    /// One that exists, by descriptor.
    Joined,
}

/// The document, and which of its mounts have their source as a descriptor: index in `mounts`, host path index of the caller.
pub(crate) struct BuiltSpec {
    pub(crate) spec: Spec,
    /// For each bind: index in `spec.mounts`, and where it comes from.
    pub(crate) binds: Vec<(usize, BindSource)>,
}

/// Where the source of a bind mount comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BindSource {
    /// One of `generated_files`, by index.
    Generated(usize),
    /// `config.mounts[index]`
    Configured(usize),
}

pub(crate) fn build(input: SpecInput<'_>) -> Result<BuiltSpec> {
    let config = input.config;
    let privileged = config.security.privileged;
    let capabilities = effective_capabilities(config, input.host)?;
    let (mounts, binds) = mounts::mounts(&input);
    let mut resources = resources(&config.resources, input.block_devices)?;
    resources.devices = resources::device_rules(config, &input.devices)?;
    let paths = |chosen: &Option<Vec<String>>, defaults: &[&str]| match chosen {
        Some(paths) => paths.clone(),
        None if privileged => Vec::new(),
        None => defaults.iter().map(|&path| path.to_owned()).collect(),
    };
    let mut masked_paths = paths(&config.security.masked_paths, &MASKED_PATHS);
    if config.security.masked_paths.is_none() && !privileged {
        masked_paths.extend(
            (0..input.host.processors)
                .map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle")),
        );
    }
    let process = process(&input, capabilities);
    let linux = Linux {
        sysctl: sysctls(&input),
        resources: Some(resources),
        cgroups_path: input.cgroup_path.clone(),
        namespaces: namespaces(&input),
        devices: input
            .devices
            .iter()
            .map(|resolved| resolved.device.clone())
            .collect(),
        masked_paths,
        readonly_paths: paths(&config.security.readonly_paths, &READONLY_PATHS),
        rootfs_propagation: rootfs_propagation(config),
        uid_mappings: Vec::<IdMapping>::new(),
        ..Linux::default()
    };
    let spec = Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(process),
        root: Some(Root {
            path: "rootfs".into(),
            readonly: config.readonly_rootfs,
        }),
        hostname: if input.shared.uts == Sharing::New {
            input.hostname.clone()
        } else {
            String::new()
        },
        domainname: if input.shared.uts == Sharing::New {
            config.domainname.clone()
        } else {
            String::new()
        },
        mounts,
        annotations: config.annotations.clone(),
        linux: Some(linux),
        ..Spec::default()
    };
    Ok(BuiltSpec { spec, binds })
}

/// The capabilities after `--privileged`, `--cap-add` and `--cap-drop`.
pub(crate) fn effective_capabilities(config: &Config, host: &Host) -> Result<Vec<String>> {
    capability::tweak(
        &host.capabilities,
        &capability::DOCKER_DEFAULT,
        &config.security.cap_add,
        &config.security.cap_drop,
        config.security.privileged,
    )
}

fn process(input: &SpecInput<'_>, capabilities: Vec<String>) -> Process {
    let config = input.config;
    // A user other than root keeps the bounding set only, as execve would have it.
    let held = if input.user.uid == 0 {
        capabilities.clone()
    } else {
        Vec::new()
    };
    Process {
        terminal: config.process.tty,
        console_size: (config.process.tty && config.console_size != (0, 0)).then_some(
            gantry_oci::runtime::ConsoleSize {
                height: config.console_size.0,
                width: config.console_size.1,
            },
        ),
        user: User {
            uid: input.user.uid,
            gid: input.user.gid,
            additional_gids: input.user.additional_gids.clone(),
            ..User::default()
        },
        args: input.args.clone(),
        env: environment(input),
        cwd: if config.process.working_dir.is_empty() {
            "/".into()
        } else {
            config.process.working_dir.clone()
        },
        capabilities: Some(Capabilities {
            bounding: capabilities,
            effective: held.clone(),
            permitted: held,
            inheritable: Vec::new(),
            ambient: Vec::new(),
        }),
        rlimits: rlimits(config),
        no_new_privileges: input.no_new_privileges,
        apparmor_profile: apparmor_profile(input),
        // Also 0, since the zygote's own is low.
        oom_score_adj: Some(config.resources.oom_score_adj),
        ..Process::default()
    }
}

fn apparmor_profile(input: &SpecInput<'_>) -> String {
    match input.config.security.apparmor.as_str() {
        "unconfined" => String::new(),
        named => named.to_owned(),
    }
}

/// What every process of the container gets, also one that joins later.
pub(crate) fn rlimits(config: &Config) -> Vec<Rlimit> {
    config.resources.ulimits.iter().map(rlimit).collect()
}

fn rlimit(ulimit: &super::config::Ulimit) -> Rlimit {
    // -1 and every other negative number is "unlimited", as RLIM_INFINITY is all ones.
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    Rlimit {
        kind: format!("RLIMIT_{}", ulimit.name.to_uppercase()),
        hard: value(ulimit.hard),
        soft: value(ulimit.soft),
    }
}

/// The container's own, and HOME where none is given.
fn environment(input: &SpecInput<'_>) -> Vec<String> {
    let mut env = base_environment(input.config, &input.hostname);
    if env.iter().all(|item| !item.starts_with("HOME=")) {
        let home = if input.user.home.is_empty() {
            "/"
        } else {
            &input.user.home
        };
        env.push(format!("HOME={home}"));
    }
    env
}

/// Docker's order: PATH, HOSTNAME, TERM, and the container's own.
pub(crate) fn base_environment(config: &Config, hostname: &str) -> Vec<String> {
    let mut env =
        vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    env.push(format!("HOSTNAME={hostname}"));
    if config.process.tty {
        env.push("TERM=xterm".into());
    }
    for item in &config.process.env {
        set_variable(&mut env, item);
    }
    env
}

/// `NAME=value` replaces or appends; a name alone removes.
pub(crate) fn set_variable(env: &mut Vec<String>, item: &str) {
    let name = item.split('=').next().unwrap_or_default();
    let position = env
        .iter()
        .position(|old| old.split('=').next() == Some(name));
    match (position, item.contains('=')) {
        (Some(at), true) => item.clone_into(&mut env[at]),
        (Some(at), false) => drop(env.remove(at)),
        (None, true) => env.push(item.to_owned()),
        (None, false) => {}
    }
}

fn sysctls(input: &SpecInput<'_>) -> indexmap::IndexMap<String, String> {
    let mut sysctls = input.config.security.sysctls.clone();
    if input.shared.network == Sharing::New || input.config.network.is_own() {
        let mut default = |name: &str, value: &str| {
            sysctls
                .entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        };
        default("net.ipv4.ip_unprivileged_port_start", "0");
        default("net.ipv4.ping_group_range", "0 2147483647");
    }
    sysctls
}

fn namespaces(input: &SpecInput<'_>) -> Vec<Namespace> {
    let shared = &input.shared;
    let mut kinds = vec!["mount"];
    for (kind, sharing) in [
        ("network", shared.network),
        ("uts", shared.uts),
        ("pid", shared.pid),
        ("ipc", shared.ipc),
    ] {
        if sharing != Sharing::Host {
            kinds.push(kind);
        }
    }
    if input.cgroupns_private {
        kinds.push("cgroup");
    }
    if input.host.time_namespaces && !input.config.security.privileged && shared.pid == Sharing::New
    {
        kinds.push("time");
    }
    kinds
        .into_iter()
        .map(|kind| Namespace {
            kind: kind.into(),
            path: String::new(),
        })
        .collect()
}

fn rootfs_propagation(config: &Config) -> String {
    let asked = |wanted: &[&str]| {
        config.mounts.iter().any(|mount| match &mount.source {
            MountSource::Bind { propagation, .. } => wanted.contains(&propagation.as_str()),
            MountSource::Tmpfs { .. } | MountSource::Volume { .. } => false,
        })
    };
    if asked(&["shared", "rshared"]) {
        "shared".into()
    } else if asked(&["slave", "rslave"]) {
        "rslave".into()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::config::MountConfig;
    use gantry_base::Error;

    fn host() -> Host {
        Host {
            name: "host".into(),
            kernel: "6.1.0".into(),
            kernel_version: (6, 1),
            operating_system: "Linux".into(),
            os_version: String::new(),
            machine: "x86_64".into(),
            processors: 2,
            memory_bytes: 1 << 30,
            cgroup_version: 2,
            cgroup_controllers: Vec::new(),
            swap_limit: true,
            block_io_weight: true,
            apparmor: false,
            capabilities: capability::DOCKER_DEFAULT.to_vec(),
            time_namespaces: false,
            boot_id: String::new(),
        }
    }

    fn built(config: &Config, shared: SharedNamespaces) -> BuiltSpec {
        build(SpecInput {
            config,
            host: &host(),
            args: vec!["sh".into()],
            user: ResolvedUser::default(),
            hostname: "box".into(),
            cgroup_path: "/gantry/box".into(),
            cgroupns_private: true,
            no_new_privileges: false,
            shared,
            generated_files: &["/etc/hostname", "/etc/hosts"],
            devices: Vec::new(),
            block_devices: &|path| Err(Error::invalid(path.to_owned())),
        })
        .expect("the configuration is valid")
    }

    fn destinations(built: &BuiltSpec) -> Vec<&str> {
        let mounts = built.spec.mounts.iter();
        mounts.map(|mount| mount.destination.as_str()).collect()
    }

    fn bind_mount(target: &str) -> MountConfig {
        MountConfig {
            target: target.into(),
            source: MountSource::Bind {
                path: "/srv".into(),
                propagation: String::new(),
                create_host_path: true,
                non_recursive: false,
                mode: String::new(),
            },
            readonly: false,
            from_mounts: false,
        }
    }

    #[test]
    fn default_mounts_come_first_and_parents_before_children() {
        let config = Config {
            mounts: vec![bind_mount("/data/a/b"), bind_mount("/data")],
            ..Config::default()
        };
        let built = built(&config, SharedNamespaces::default());
        assert_eq!(
            destinations(&built),
            [
                "/proc",
                "/dev",
                "/dev/pts",
                "/sys",
                "/sys/fs/cgroup",
                "/dev/mqueue",
                "/dev/shm",
                "/data",
                "/etc/hostname",
                "/etc/hosts",
                "/data/a/b",
            ]
        );
        assert_eq!(
            built.binds,
            [
                (7, BindSource::Configured(1)),
                (8, BindSource::Generated(0)),
                (9, BindSource::Generated(1)),
                (10, BindSource::Configured(0)),
            ]
        );
    }

    #[test]
    fn a_users_mount_replaces_the_default_and_the_generated_file() {
        let config = Config {
            mounts: vec![bind_mount("/dev/shm"), bind_mount("/etc/hosts")],
            ..Config::default()
        };
        let built = built(&config, SharedNamespaces::default());
        let shm: Vec<_> = (built.spec.mounts.iter())
            .filter(|mount| mount.destination == "/dev/shm")
            .collect();
        assert_eq!(shm.len(), 1);
        assert_eq!(shm[0].kind, "bind");
        assert!(
            !built
                .binds
                .iter()
                .any(|(_, source)| *source == BindSource::Generated(1))
        );
    }

    #[test]
    fn network_sysctls_are_set_only_in_a_network_namespace_of_its_own() {
        let mut config = Config::default();
        let sysctl = |config: &Config, network| {
            let shared = SharedNamespaces {
                network,
                ..SharedNamespaces::default()
            };
            built(config, shared).spec.linux.expect("always set").sysctl
        };
        let low_ports = "net.ipv4.ip_unprivileged_port_start";
        assert_eq!(sysctl(&config, Sharing::New)[low_ports], "0");
        for (mode, network) in [("host", Sharing::Host), ("container:x", Sharing::Joined)] {
            config.network.mode = mode.into();
            assert!(sysctl(&config, network).is_empty(), "{mode}");
        }
        config
            .security
            .sysctls
            .insert(low_ports.into(), "80".into());
        assert_eq!(sysctl(&config, Sharing::New)[low_ports], "80");
    }

    #[test]
    fn a_privileged_container_has_no_masked_paths_and_writable_sys() {
        let mut config = Config::default();
        let linux = |config: &Config| {
            let built = built(config, SharedNamespaces::default());
            let writable = (built.spec.mounts.iter())
                .any(|mount| mount.kind == "sysfs" && mount.options.contains(&"rw".to_owned()));
            (built.spec.linux.expect("always set"), writable)
        };
        let (confined, writable) = linux(&config);
        assert!(confined.masked_paths.contains(&"/proc/kcore".to_owned()));
        assert!(!confined.readonly_paths.is_empty() && !writable);
        config.security.privileged = true;
        let (privileged, writable) = linux(&config);
        assert!(privileged.masked_paths.is_empty() && privileged.readonly_paths.is_empty());
        assert!(writable);
    }

    #[test]
    fn a_variable_is_replaced_appended_or_removed() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        for item in ["A=3", "C=4", "B", "D"] {
            set_variable(&mut env, item);
        }
        assert_eq!(env, ["A=3", "C=4"]);
    }
}
