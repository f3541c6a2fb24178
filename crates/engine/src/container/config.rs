//! What a container was asked to be: typed, immutable after create, and the stored shape of the `config` column.
//!
//! Texts of the API are parsed at the door (the server) into these types; nothing here is parsed again.
//! The serde form is the on-disk format: fields may be added with a default, never renamed.

use gantry_oci::image::Healthcheck;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything a create request says, the image's defaults merged in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The image as the client named it.
    pub image_reference: String,
    /// Host name; empty: the short id (or the host's with `uts_mode` host).
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// Labels, the image's included.
    pub labels: IndexMap<String, String>,
    /// OCI annotations.
    pub annotations: IndexMap<String, String>,
    /// The process.
    pub process: ProcessConfig,
    /// Ports that the container says it serves, such as 80/tcp.
    pub exposed_ports: Vec<PortSpec>,
    /// Paths that are volumes (from image and request).
    pub volumes: Vec<String>,
    /// Health check.
    pub healthcheck: Option<Healthcheck>,
    /// Limits.
    pub resources: Resources,
    /// Isolation.
    pub security: Security,
    /// Namespaces shared with others.
    pub namespaces: Namespaces,
    /// Network.
    pub network: NetworkConfig,
    /// Mounts.
    pub mounts: Vec<MountConfig>,
    /// `HostConfig.Binds` as given, for inspect.
    pub binds: Vec<String>,
    /// `HostConfig.Tmpfs` as given: path to options.
    pub tmpfs: IndexMap<String, String>,
    /// Bytes of /dev/shm.
    pub shm_size_bytes: u64,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// What happens after the exit.
    pub restart: RestartPolicy,
    /// Whether the container is removed after its exit.
    pub auto_remove: bool,
    /// Logging.
    pub log: LogConfig,
    /// Whether a minimal init is process 1; none: the daemon's default.
    pub init: Option<bool>,
    /// Name of the OCI runtime; empty: the default.
    pub runtime: String,
    /// `HostConfig.ContainerIDFile`, for inspect.
    pub container_id_file: String,
    /// `HostConfig.ConsoleSize`: rows, columns.
    pub console_size: (u16, u16),
    /// `HostConfig.VolumeDriver`, for inspect.
    pub volume_driver: String,
}

/// The process a container runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// Program before `cmd`; none and empty differ for inspect.
    pub entrypoint: Option<Vec<String>>,
    /// Program or arguments.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`; a name alone removes it.
    pub env: Vec<String>,
    /// Directory to start in.
    pub working_dir: String,
    /// `user[:group]`, resolved in the container's files at start.
    pub user: String,
    /// Groups besides the user's.
    pub group_add: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether stdin stays open.
    pub open_stdin: bool,
    /// Whether stdin closes after the first client.
    pub stdin_once: bool,
    /// For inspect.
    pub attach_stdin: bool,
    /// For inspect.
    pub attach_stdout: bool,
    /// For inspect.
    pub attach_stderr: bool,
    /// Name or number; empty: SIGTERM.
    pub stop_signal: String,
    /// Seconds; none: 10; -1: for ever.
    pub stop_timeout_s: Option<i64>,
    /// The image's SHELL, for inspect.
    pub shell: Option<Vec<String>>,
    /// The image's ONBUILD, for inspect.
    pub on_build: Option<Vec<String>>,
    /// For inspect (Windows).
    pub args_escaped: bool,
}

/// A port of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    /// 1 to 65535.
    pub port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// Transport protocols that can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// `tcp`, `udp`, `sctp`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
    /// Reads the lower-case name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl std::fmt::Display for PortSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.as_str())
    }
}

/// One `HostConfig.PortBindings` item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortBinding {
    /// The container's port.
    pub container: PortSpec,
    /// Address on the host; none: every address.
    pub host_ip: Option<IpAddr>,
    /// First and last host port asked for; none: a free one.
    pub host_ports: Option<(u16, u16)>,
}

/// Limits; absent and zero are unlimited, as in Docker's API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight.
    pub cpu_shares: i64,
    /// Billionths of a processor.
    pub nano_cpus: i64,
    /// Microseconds.
    pub cpu_period_us: i64,
    /// Microseconds per period.
    pub cpu_quota_us: i64,
    /// Microseconds.
    pub cpu_realtime_period_us: i64,
    /// Microseconds.
    pub cpu_realtime_runtime_us: i64,
    /// List of processors.
    pub cpuset_cpus: String,
    /// List of memory nodes.
    pub cpuset_mems: String,
    /// Bytes.
    pub memory_bytes: i64,
    /// Bytes.
    pub memory_reservation_bytes: i64,
    /// Bytes of memory and swap; -1 unlimited.
    pub memory_swap_bytes: i64,
    /// 0 to 100; none or -1: the host's.
    pub memory_swappiness: Option<i64>,
    /// Whether the OOM killer is off.
    pub oom_kill_disable: Option<bool>,
    /// Tasks; none, 0 or -1: unlimited.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: u16,
    /// Weight by device path.
    pub blkio_weight_device: Vec<(String, u16)>,
    /// Bytes per second by device path.
    pub blkio_device_read_bps: Vec<(String, u64)>,
    /// Bytes per second by device path.
    pub blkio_device_write_bps: Vec<(String, u64)>,
    /// Operations per second by device path.
    pub blkio_device_read_iops: Vec<(String, u64)>,
    /// Operations per second by device path.
    pub blkio_device_write_iops: Vec<(String, u64)>,
    /// Parent cgroup; empty: the daemon's.
    pub cgroup_parent: String,
    /// Devices passed in.
    pub devices: Vec<DeviceMapping>,
    /// Rules as `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// Limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
}

/// A device of the host in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// Path on the host.
    pub path_on_host: String,
    /// Path in the container.
    pub path_in_container: String,
    /// Some of `rwm`.
    pub cgroup_permissions: String,
}

/// One `--ulimit`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    /// -1 is unlimited.
    pub hard: i64,
}

/// Isolation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// All devices, capabilities and paths.
    pub privileged: bool,
    /// Names as given.
    pub cap_add: Vec<String>,
    /// Names as given.
    pub cap_drop: Vec<String>,
    /// `HostConfig.SecurityOpt` as given, for inspect.
    pub security_opt: Vec<String>,
    /// From `no-new-privileges`; none: the daemon's default.
    pub no_new_privileges: Option<bool>,
    /// From `seccomp=`.
    pub seccomp: SeccompChoice,
    /// From `apparmor=`; empty: the default profile where the host has AppArmor.
    pub apparmor: String,
    /// From `label=`.
    pub selinux_label: Vec<String>,
    /// From `systempaths=unconfined`: the next two are empty lists. None: the defaults.
    pub masked_paths: Option<Vec<String>>,
    /// None: the defaults.
    pub readonly_paths: Option<Vec<String>>,
    /// Kernel parameters.
    pub sysctls: IndexMap<String, String>,
}

/// Which system call filter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompChoice {
    /// The daemon's default profile (none for privileged containers).
    #[default]
    Default,
    /// `builtin`: the default profile even for privileged containers.
    Builtin,
    /// `unconfined`
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(String),
}

/// Namespaces shared with the host or other containers; each empty or Docker's text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// `""`, `host`, `container:<id>`
    pub pid: String,
    /// `""`, `none`, `private`, `shareable`, `host`, `container:<id>`
    pub ipc: String,
    /// `""`, `host`
    pub uts: String,
    /// `""`, `host`
    pub user: String,
    /// `""`, `private`, `host`
    pub cgroup: String,
}

/// Network of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkConfig {
    /// `bridge` (also from `default`), `host`, `none`, `container:<id>`, or the name or id of a network.
    pub mode: String,
    /// `HostConfig.NetworkMode` as given, for inspect.
    pub mode_as_given: String,
    /// Published ports.
    pub port_bindings: Vec<PortBinding>,
    /// `HostConfig.PortBindings` keys with an empty list, for inspect, are kept here too with no address and port.
    pub publish_all: bool,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// `host:ip` lines for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// The networks it is in, as asked for; changed by connect and disconnect. Empty for host, none and those of others.
    pub attachments: Vec<Attachment>,
}

impl NetworkConfig {
    /// Whether the container has a network namespace that the network thread makes.
    pub fn is_own(&self) -> bool {
        !matches!(self.mode.as_str(), "host" | "none") && !self.mode.starts_with("container:")
    }
}

/// One network that a container is in, as it was asked for: inspect tells what was given from what was not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// Name of the network.
    pub network: String,
    /// Addresses asked for.
    pub addresses: Option<AskedAddresses>,
    /// Further names.
    pub aliases: Option<Vec<String>>,
    /// `container:alias`
    pub links: Option<Vec<String>>,
    /// Ethernet address asked for.
    pub mac_address: Option<String>,
    /// Options of the driver.
    pub driver_options: Option<IndexMap<String, String>>,
    /// The highest has the default route.
    pub gateway_priority: i64,
}

/// Addresses asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AskedAddresses {
    /// IPv4
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6
    pub ipv6: Option<Ipv6Addr>,
    /// Further ones, that are good on the link only.
    pub link_local: Vec<IpAddr>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountConfig {
    /// Absolute, cleaned path in the container.
    pub target: String,
    /// Where it comes from.
    pub source: MountSource,
    /// Read-only.
    pub readonly: bool,
    /// Whether it came from `Mounts` (else from `Binds`, `Tmpfs` or the image).
    pub from_mounts: bool,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the host.
    Bind {
        /// Absolute path on the host.
        path: String,
        /// `rprivate private rshared shared rslave slave`; empty: rprivate.
        propagation: String,
        /// Whether a missing source is created as a directory (`-v`), or refused (`--mount`).
        create_host_path: bool,
        /// Whether submounts stay out.
        non_recursive: bool,
        /// Mode text of the bind, such as `z` or `ro`, for inspect.
        mode: String,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Bytes; none: half of the memory.
        size_bytes: Option<u64>,
        /// Permission bits.
        mode: Option<u32>,
        /// Further options as of `--tmpfs`.
        options: Vec<String>,
    },
    /// A volume of the local driver.
    Volume {
        /// Its name; empty: a new anonymous one.
        name: String,
        /// Whether the image's content is not copied into an empty volume.
        no_copy: bool,
        /// Mode text of the bind, for inspect.
        mode: String,
    },
}

/// What happens after the exit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// When.
    pub name: RestartCondition,
    /// For `on-failure`; 0: without limit.
    pub maximum_retry_count: u32,
}

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// Never.
    #[default]
    No,
    /// Also after a restart of the daemon.
    Always,
    /// After a code other than 0.
    OnFailure,
    /// Like always, but not when stopped by hand before a restart of the daemon.
    UnlessStopped,
}

impl RestartCondition {
    /// Docker's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// Logging.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json-file`, `none`; empty: the daemon's default.
    pub driver: String,
    /// Options of the driver.
    pub options: IndexMap<String, String>,
}
