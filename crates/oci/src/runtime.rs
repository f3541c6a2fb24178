//! The runtime specification's `config.json` and `state.json`.
//!
//! Source: opencontainers/runtime-spec `config.md`, `config-linux.md`, `runtime.md`.
//! Absent and empty are the same here: writers leave empty fields out, readers take defaults.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The version that we write.
pub const OCI_VERSION: &str = "1.2.0";

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! document {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$fmeta])*
                #[serde(skip_serializing_if = "is_default")]
                pub $field: $type,
            )*
        }
    };
}

/// `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Version of the specification that the document follows.
    pub oci_version: String,
    /// The process to run; absent only in documents that are never started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name in the container's UTS namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS domain name in the container's UTS namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Mounts, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Programs run at points of the life cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free key-value pairs.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub annotations: IndexMap<String, String>,
    /// The Linux part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

document! {
    /// The container's root file system.
    Root {
        /// Absolute, or relative to the bundle.
        path: String,
        /// Whether the root is mounted read-only.
        readonly: bool,
    }
}

document! {
    /// A mount; `kind` is `type` in the document.
    Mount {
        /// Absolute path in the container.
        destination: String,
        /// File system type, `bind`, or empty.
        #[serde(rename = "type")]
        kind: String,
        /// Device, path or dummy name.
        source: String,
        /// Options of mount(8) and the specification.
        options: Vec<String>,
        /// Mappings for an id-mapped mount.
        uid_mappings: Vec<IdMapping>,
        /// Mappings for an id-mapped mount.
        gid_mappings: Vec<IdMapping>,
    }
}

document! {
    /// A process to run.
    Process {
        /// Whether it gets a pseudo-terminal.
        terminal: bool,
        /// Initial size of that terminal.
        console_size: Option<ConsoleSize>,
        /// Who it runs as.
        user: User,
        /// Program and arguments.
        args: Vec<String>,
        /// `NAME=value` items.
        env: Vec<String>,
        /// Absolute working directory.
        cwd: String,
        /// The five capability sets.
        capabilities: Option<Capabilities>,
        /// Resource limits.
        rlimits: Vec<Rlimit>,
        /// Whether no_new_privs is set.
        no_new_privileges: bool,
        /// AppArmor profile to enter on exec.
        apparmor_profile: String,
        /// Value for `/proc/self/oom_score_adj`.
        oom_score_adj: Option<i32>,
        /// SELinux label to enter on exec.
        selinux_label: String,
        /// I/O priority.
        io_priority: Option<IoPriority>,
        /// Scheduling policy.
        scheduler: Option<Scheduler>,
    }
}

document! {
    /// Size of a terminal in characters.
    ConsoleSize { /// Rows.
        height: u16, /// Columns.
        width: u16 }
}

document! {
    /// User and groups of a process.
    User {
        /// User id in the container.
        uid: u32,
        /// Group id in the container.
        gid: u32,
        /// File mode creation mask.
        umask: Option<u32>,
        /// Supplementary groups.
        additional_gids: Vec<u32>,
    }
}

document! {
    /// Capability names such as `CAP_CHOWN`.
    Capabilities {
        /// Bounding set.
        bounding: Vec<String>,
        /// Effective set.
        effective: Vec<String>,
        /// Inheritable set.
        inheritable: Vec<String>,
        /// Permitted set.
        permitted: Vec<String>,
        /// Ambient set.
        ambient: Vec<String>,
    }
}

document! {
    /// One resource limit; `kind` is a name such as `RLIMIT_NOFILE`.
    Rlimit {
        /// `RLIMIT_…`
        #[serde(rename = "type")]
        kind: String,
        /// Ceiling.
        hard: u64,
        /// Value in force.
        soft: u64,
    }
}

document! {
    /// ioprio_set(2).
    IoPriority { /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
        class: String, /// 0 to 7.
        priority: i32 }
}

document! {
    /// sched_setattr(2).
    Scheduler {
        /// `SCHED_OTHER` and so on.
        policy: String,
        /// Nice value.
        nice: i32,
        /// Static priority.
        priority: i32,
        /// `SCHED_FLAG_…` names.
        flags: Vec<String>,
        /// Nanoseconds.
        runtime: u64,
        /// Nanoseconds.
        deadline: u64,
        /// Nanoseconds.
        period: u64,
    }
}

document! {
    /// Programs run at points of the life cycle.
    Hooks {
        /// Deprecated: after namespaces exist, before the process starts.
        prestart: Vec<Hook>,
        /// In the runtime's namespaces, before pivot_root.
        create_runtime: Vec<Hook>,
        /// In the container's namespaces, before pivot_root.
        create_container: Vec<Hook>,
        /// In the container's namespaces, before the process starts.
        start_container: Vec<Hook>,
        /// After the process started.
        poststart: Vec<Hook>,
        /// After the container is deleted.
        poststop: Vec<Hook>,
    }
}

document! {
    /// One hook.
    Hook {
        /// Absolute path.
        path: String,
        /// Arguments, the first being the name.
        args: Vec<String>,
        /// Environment.
        env: Vec<String>,
        /// Seconds.
        timeout: Option<u32>,
    }
}

document! {
    /// The Linux part of the specification.
    Linux {
        /// User id mappings of a new user namespace.
        uid_mappings: Vec<IdMapping>,
        /// Group id mappings of a new user namespace.
        gid_mappings: Vec<IdMapping>,
        /// Kernel parameters.
        sysctl: IndexMap<String, String>,
        /// Limits.
        resources: Option<Resources>,
        /// Path of the cgroup, below the hierarchies' roots; `slice:prefix:name` with the systemd driver.
        cgroups_path: String,
        /// Namespaces to create or join.
        namespaces: Vec<Namespace>,
        /// Device nodes to create.
        devices: Vec<Device>,
        /// System call filter.
        seccomp: Option<Seccomp>,
        /// `shared`, `slave`, `private` or `unbindable`, perhaps with an `r` before.
        rootfs_propagation: String,
        /// Paths hidden from the container.
        masked_paths: Vec<String>,
        /// Paths made read-only.
        readonly_paths: Vec<String>,
        /// SELinux label of mounts.
        mount_label: String,
        /// Intel RDT, refused by name.
        intel_rdt: Option<serde_json::Value>,
        /// Execution domain.
        personality: Option<Personality>,
        /// Offsets of the time namespace, by clock name (`monotonic`, `boottime`).
        time_offsets: IndexMap<String, TimeOffset>,
    }
}

document! {
    /// personality(2).
    Personality { /// `LINUX` or `LINUX32`.
        domain: String, /// Refused unless empty.
        flags: Vec<String> }
}

document! {
    /// Offset of one clock.
    TimeOffset { /// Seconds.
        secs: i64, /// Nanoseconds.
        nanosecs: u32 }
}

document! {
    /// A range of ids.
    IdMapping {
        /// First id in the container.
        #[serde(rename = "containerID")]
        container_id: u32,
        /// First id on the host.
        #[serde(rename = "hostID")]
        host_id: u32,
        /// How many.
        size: u32,
    }
}

document! {
    /// A namespace to create (no path) or join.
    Namespace {
        /// `pid network mount ipc uts user cgroup time`
        #[serde(rename = "type")]
        kind: String,
        /// File of the namespace to join.
        path: String,
    }
}

document! {
    /// A device node.
    Device {
        /// `c b u p`
        #[serde(rename = "type")]
        kind: String,
        /// Path in the container.
        path: String,
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// Permissions.
        file_mode: Option<u32>,
        /// Owner.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    }
}

document! {
    /// Limits of the cgroup.
    Resources {
        /// Device rules, in order.
        devices: Vec<DeviceRule>,
        /// Memory.
        memory: Option<Memory>,
        /// Processor time.
        cpu: Option<Cpu>,
        /// Number of tasks.
        pids: Option<Pids>,
        /// Block I/O.
        #[serde(rename = "blockIO")]
        block_io: Option<BlockIo>,
        /// Huge pages.
        hugepage_limits: Vec<HugepageLimit>,
        /// Network class and priorities (cgroup v1).
        network: Option<serde_json::Value>,
        /// RDMA limits.
        rdma: IndexMap<String, Rdma>,
        /// Raw cgroup v2 files.
        unified: IndexMap<String, String>,
    }
}

document! {
    /// One rule of the device controller.
    DeviceRule {
        /// Allow or deny.
        allow: bool,
        /// `a c b`, empty for all.
        #[serde(rename = "type")]
        kind: String,
        /// Any if absent or -1.
        major: Option<i64>,
        /// Any if absent or -1.
        minor: Option<i64>,
        /// Some of `rwm`.
        access: String,
    }
}

document! {
    /// Memory limits in bytes; -1 is unlimited.
    Memory {
        /// Hard limit.
        limit: Option<i64>,
        /// Soft limit.
        reservation: Option<i64>,
        /// Memory and swap together.
        swap: Option<i64>,
        /// Kernel memory (v1, obsolete).
        kernel: Option<i64>,
        /// Kernel TCP memory (v1).
        #[serde(rename = "kernelTCP")]
        kernel_tcp: Option<i64>,
        /// 0 to 100.
        swappiness: Option<u64>,
        /// Whether the OOM killer is off (v1).
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: Option<bool>,
        /// Hierarchical accounting (v1).
        use_hierarchy: Option<bool>,
        /// Refuse limits below the usage.
        check_before_update: Option<bool>,
    }
}

document! {
    /// CPU limits.
    Cpu {
        /// Relative weight, 2 to 262144.
        shares: Option<u64>,
        /// Microseconds per period; negative is unlimited.
        quota: Option<i64>,
        /// Microseconds that may be carried over.
        burst: Option<u64>,
        /// Microseconds.
        period: Option<u64>,
        /// Microseconds per period for real-time tasks.
        realtime_runtime: Option<i64>,
        /// Microseconds.
        realtime_period: Option<u64>,
        /// List such as `0-2,5`.
        cpus: String,
        /// List of memory nodes.
        mems: String,
        /// 1 for SCHED_IDLE.
        idle: Option<i64>,
    }
}

document! {
    /// Limit of tasks.
    Pids { /// 0 or less is unlimited.
        limit: i64 }
}

document! {
    /// Block I/O limits.
    BlockIo {
        /// 10 to 1000.
        weight: Option<u16>,
        /// Weight of tasks against child cgroups.
        leaf_weight: Option<u16>,
        /// Weights by device.
        weight_device: Vec<WeightDevice>,
        /// Bytes per second.
        throttle_read_bps_device: Vec<ThrottleDevice>,
        /// Bytes per second.
        throttle_write_bps_device: Vec<ThrottleDevice>,
        /// Operations per second.
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice>,
        /// Operations per second.
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice>,
    }
}

document! {
    /// Weight of one device.
    WeightDevice { /// Major number.
        major: i64, /// Minor number.
        minor: i64, /// 10 to 1000.
        weight: Option<u16>, /// 10 to 1000.
        leaf_weight: Option<u16> }
}

document! {
    /// Rate of one device.
    ThrottleDevice { /// Major number.
        major: i64, /// Minor number.
        minor: i64, /// Per second.
        rate: u64 }
}

document! {
    /// Limit of huge pages of one size.
    HugepageLimit { /// Such as `2MB`.
        page_size: String, /// Bytes.
        limit: u64 }
}

document! {
    /// RDMA limits of one device.
    Rdma { /// Handles.
        hca_handles: Option<u32>, /// Objects.
        hca_objects: Option<u32> }
}

document! {
    /// A system call filter.
    Seccomp {
        /// `SCMP_ACT_…` for calls that no rule names.
        default_action: String,
        /// Error number of the default action.
        default_errno_ret: Option<u32>,
        /// `SCMP_ARCH_…`
        architectures: Vec<String>,
        /// `SECCOMP_FILTER_FLAG_…`
        flags: Vec<String>,
        /// Socket of a seccomp agent.
        listener_path: String,
        /// Text for that agent.
        listener_metadata: String,
        /// Rules.
        syscalls: Vec<SeccompRule>,
    }
}

document! {
    /// A rule of the filter.
    SeccompRule {
        /// System calls by name.
        names: Vec<String>,
        /// `SCMP_ACT_…`
        action: String,
        /// Error number for `SCMP_ACT_ERRNO` and `SCMP_ACT_TRACE`.
        errno_ret: Option<u32>,
        /// Conditions; all must hold.
        args: Vec<SeccompArg>,
    }
}

document! {
    /// A condition on one argument.
    SeccompArg {
        /// 0 to 5.
        index: u32,
        /// Compared with, or the mask for `SCMP_CMP_MASKED_EQ`.
        value: u64,
        /// The value for `SCMP_CMP_MASKED_EQ`.
        value_two: u64,
        /// `SCMP_CMP_…`
        op: String,
    }
}

/// `state.json`, as the runtime's `state` command prints it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// `creating created running stopped`, and `paused` as our own addition.
    pub status: String,
    /// The init process in the runtime's pid namespace; absent when stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// The annotations of the configuration.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub annotations: IndexMap<String, String>,
}
