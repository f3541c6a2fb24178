//! What a container was asked to be → the OCI runtime configuration: pure.
//!
//! The defaults are Docker's (moby `daemon/pkg/oci/defaults.go`); `security.md` section 3 lists them with their sources.
//! The seccomp filter is not in the document: it is compiled apart and handed over as bytes.

use super::config::{Config, MountSource, Resources};
use crate::host::Host;
use gantry_base::{Error, Result};
use gantry_oci::capability;
use gantry_oci::runtime::{
    BlockIo, Capabilities, Cpu, Device, DeviceRule, IdMapping, Linux, Memory, Mount, Namespace,
    OCI_VERSION, Pids, Process, Rlimit, Root, Spec, ThrottleDevice, User, WeightDevice,
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
    let (mounts, binds) = mounts(&input);
    let mut resources = resources(&config.resources, input.block_devices)?;
    resources.devices = device_rules(config, &input.devices)?;
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
        console_size: (config.process.tty && config.console_size != (0, 0)).then(|| {
            gantry_oci::runtime::ConsoleSize {
                height: config.console_size.0,
                width: config.console_size.1,
            }
        }),
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
        rlimits: config.resources.ulimits.iter().map(rlimit).collect(),
        no_new_privileges: input.no_new_privileges,
        apparmor_profile: apparmor_profile(input),
        oom_score_adj: (config.resources.oom_score_adj != 0)
            .then_some(config.resources.oom_score_adj),
        ..Process::default()
    }
}

fn apparmor_profile(input: &SpecInput<'_>) -> String {
    match input.config.security.apparmor.as_str() {
        "unconfined" => String::new(),
        named => named.to_owned(),
    }
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
    if input.shared.network == Sharing::New || input.config.network.mode == "bridge" {
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

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}

/// Docker's default mounts, then the generated files and the user's mounts, parents before children.
fn mounts(input: &SpecInput<'_>) -> (Vec<Mount>, Vec<(usize, BindSource)>) {
    let config = input.config;
    let privileged = config.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let shm_size = format!("size={}", config.shm_size_bytes);
    let mut defaults = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", access],
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &[access, "nosuid", "noexec", "nodev"],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
    ];
    if config.namespaces.ipc != "none" {
        defaults.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        ));
    }
    // A mount of the user's at the same place replaces the default.
    defaults.retain(|default| {
        config
            .mounts
            .iter()
            .all(|mount| mount.target != default.destination)
    });
    let mut user: Vec<(Mount, Option<BindSource>)> = Vec::new();
    for (index, &target) in input.generated_files.iter().enumerate() {
        if config.mounts.iter().all(|mount| mount.target != target) {
            let options: &[&str] = if config.readonly_rootfs {
                &["rbind", "rprivate", "ro"]
            } else {
                &["rbind", "rprivate"]
            };
            user.push((
                mount(target, "bind", "", options),
                Some(BindSource::Generated(index)),
            ));
        }
    }
    for (index, configured) in config.mounts.iter().enumerate() {
        user.push(configured_mount(configured, index));
    }
    user.sort_by_key(|(mount, _)| {
        mount
            .destination
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    let mut binds = Vec::new();
    let mut mounts = defaults;
    for (mount, source) in user {
        if let Some(source) = source {
            binds.push((mounts.len(), source));
        }
        mounts.push(mount);
    }
    (mounts, binds)
}

fn configured_mount(
    configured: &super::config::MountConfig,
    index: usize,
) -> (Mount, Option<BindSource>) {
    let access = if configured.readonly { "ro" } else { "rw" };
    match &configured.source {
        MountSource::Bind {
            propagation,
            non_recursive,
            ..
        } => {
            let propagation = if propagation.is_empty() {
                "rprivate"
            } else {
                propagation
            };
            let bind = if *non_recursive { "bind" } else { "rbind" };
            let options = if configured.readonly && !*non_recursive {
                vec![bind, propagation, "ro", "rro"]
            } else {
                vec![bind, propagation, access]
            };
            (
                mount(&configured.target, "bind", "", &options),
                Some(BindSource::Configured(index)),
            )
        }
        MountSource::Volume { .. } => {
            let options = ["rbind", "rprivate", access];
            (
                mount(&configured.target, "bind", "", &options),
                Some(BindSource::Configured(index)),
            )
        }
        MountSource::Tmpfs {
            size_bytes,
            mode,
            options,
        } => {
            let mut list: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
            for option in options {
                // `exec`, `suid` and `dev` take back a default.
                list.retain(|old| old != &format!("no{option}"));
                list.push(option.clone());
            }
            list.push(access.to_owned());
            list.extend(size_bytes.map(|size| format!("size={size}")));
            list.extend(mode.map(|mode| format!("mode={mode:o}")));
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            (mount(&configured.target, "tmpfs", "tmpfs", &list), None)
        }
    }
}

fn rule(
    allow: bool,
    kind: &str,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> DeviceRule {
    DeviceRule {
        allow,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    }
}

fn device_rules(config: &Config, devices: &[ResolvedDevice]) -> Result<Vec<DeviceRule>> {
    if config.security.privileged {
        return Ok(vec![rule(true, "", None, None, "rwm")]);
    }
    let mut rules = vec![rule(false, "", None, None, "rwm")];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(false, "c", Some(10), Some(229), "rwm"));
    for resolved in devices {
        let device = &resolved.device;
        rules.push(rule(
            true,
            &device.kind,
            Some(device.major),
            Some(device.minor),
            &resolved.access,
        ));
    }
    for text in &config.resources.device_cgroup_rules {
        rules.push(parse_device_rule(text)?);
    }
    Ok(rules)
}

/// `c 1:3 rwm` or `a *:* rwm`.
fn parse_device_rule(text: &str) -> Result<DeviceRule> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut parts = text.split_whitespace();
    let (kind, numbers, access) = (parts.next(), parts.next(), parts.next());
    let (Some(kind @ ("a" | "b" | "c")), Some(numbers), Some(access), None) =
        (kind, numbers, access, parts.next())
    else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| invalid()),
    };
    if access.is_empty() || !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(invalid());
    }
    Ok(rule(true, kind, number(major)?, number(minor)?, access))
}

fn positive<T: TryFrom<i64>>(value: i64) -> Option<T> {
    (value > 0).then(|| T::try_from(value).ok()).flatten()
}

/// Limits of a container (or of an update) as the specification has them.
pub(crate) fn resources(
    asked: &Resources,
    block_device: &dyn Fn(&str) -> Result<(i64, i64)>,
) -> Result<gantry_oci::runtime::Resources> {
    let set = |value: i64| (value != 0).then_some(value);
    let memory = Memory {
        limit: set(asked.memory_bytes),
        reservation: set(asked.memory_reservation_bytes),
        swap: set(asked.memory_swap_bytes),
        swappiness: asked
            .memory_swappiness
            .and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|&disable| disable),
        ..Memory::default()
    };
    let (mut period, mut quota) = (
        positive::<u64>(asked.cpu_period_us),
        set(asked.cpu_quota_us),
    );
    if asked.nano_cpus > 0 {
        period = Some(100_000);
        quota = Some(asked.nano_cpus / 10_000);
    }
    let cpu = Cpu {
        shares: positive(asked.cpu_shares),
        quota,
        period,
        realtime_runtime: set(asked.cpu_realtime_runtime_us),
        realtime_period: positive(asked.cpu_realtime_period_us),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    };
    let throttle = |list: &[(String, u64)]| -> Result<Vec<ThrottleDevice>> {
        list.iter()
            .map(|(path, rate)| {
                block_device(path).map(|(major, minor)| ThrottleDevice {
                    major,
                    minor,
                    rate: *rate,
                })
            })
            .collect()
    };
    let block_io = BlockIo {
        weight: (asked.blkio_weight != 0).then_some(asked.blkio_weight),
        weight_device: asked
            .blkio_weight_device
            .iter()
            .map(|(path, weight)| {
                let (major, minor) = block_device(path)?;
                Ok(WeightDevice {
                    major,
                    minor,
                    weight: Some(*weight),
                    leaf_weight: None,
                })
            })
            .collect::<Result<_>>()?,
        throttle_read_bps_device: throttle(&asked.blkio_device_read_bps)?,
        throttle_write_bps_device: throttle(&asked.blkio_device_write_bps)?,
        throttle_read_iops_device: throttle(&asked.blkio_device_read_iops)?,
        throttle_write_iops_device: throttle(&asked.blkio_device_write_iops)?,
        ..BlockIo::default()
    };
    Ok(gantry_oci::runtime::Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: asked
            .pids_limit
            .filter(|&limit| limit != 0)
            .map(|limit| Pids { limit }),
        block_io: (block_io != BlockIo::default()).then_some(block_io),
        ..gantry_oci::runtime::Resources::default()
    })
}
