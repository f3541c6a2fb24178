//! The published picture of a container: what reads see, without asking its actor.

use super::config::{Attachment, Config, PortSpec};
use super::health::Health;
use gantry_base::{ContainerId, ContainerName, ExecId};
use gantry_oci::Digest;
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A container at one moment. Immutable; a change publishes a new one.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// The image's id.
    pub image: Digest,
    /// What it was asked to be.
    pub config: Arc<Config>,
    /// The program with its arguments, entrypoint included: `Path` and `Args` of inspect.
    pub path: String,
    /// See `path`.
    pub args: Vec<String>,
    /// What it does now.
    pub state: StateView,
    /// Its networks, by network name. Empty addresses unless running.
    pub networks: Vec<EndpointView>,
    /// Published ports in force.
    pub ports: Vec<PublishedPort>,
    /// The netns file of a running container, else empty.
    pub sandbox_key: String,
    /// Mounts as inspect's `Mounts` shows them.
    pub mounts: Vec<MountView>,
    /// How often it was restarted by policy.
    pub restart_count: u32,
    /// Running and finished execs that inspect's `ExecIDs` names.
    pub exec_ids: Vec<ExecId>,
    /// Log file, empty where the driver has none.
    pub log_path: String,
    /// Path of the file in the run directory.
    pub resolv_conf_path: String,
    /// Path of the file in the run directory.
    pub hostname_path: String,
    /// Path of the file in the run directory.
    pub hosts_path: String,
    /// `overlay2`-like data: lower directories (joined by `:`), upper, work.
    pub overlay: Option<OverlayView>,
}

/// Directories of a container's root file system.
#[derive(Debug, Clone, Default)]
pub struct OverlayView {
    /// Topmost first, joined by colons.
    pub lower: String,
    /// The container's own directory.
    pub upper: String,
    /// overlayfs's scratch directory.
    pub work: String,
}

/// What Docker's `State` is derived from.
#[derive(Debug, Clone, Default)]
pub struct StateView {
    /// Docker's word: `created running paused restarting removing exited dead`.
    pub status: Status,
    /// 0 unless running.
    pub pid: i32,
    /// Of the last run.
    pub exit_code: i32,
    /// Why the last start failed; empty if it did not.
    pub error: String,
    /// Whether the kernel killed a process for want of memory in the last run.
    pub oom_killed: bool,
    /// Nanoseconds since the epoch; none: never.
    pub started_ns: Option<i64>,
    /// Nanoseconds since the epoch; none: never.
    pub finished_ns: Option<i64>,
    /// None: it has no health check, or was never started.
    pub health: Option<Health>,
}

/// Docker's status words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Ended, to be started again soon.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
    /// Whether a process exists: Docker's `Running`, which is true for paused and restarting containers too.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// A container's end of a network.
#[derive(Debug, Clone, Default)]
pub struct EndpointView {
    /// Name of the network.
    pub network: String,
    /// The network's id; empty if there is no such network any more.
    pub network_id: String,
    /// How the network is made: `bridge`, `host`, `null`.
    pub driver: &'static str,
    /// Empty unless running.
    pub endpoint_id: String,
    /// Name of the interface in the container; empty unless running.
    pub interface: String,
    /// Empty unless running.
    pub mac_address: String,
    /// None unless running.
    pub ipv4: Option<Ipv4Net>,
    /// None unless running.
    pub ipv6: Option<Ipv6Net>,
    /// None unless running.
    pub gateway: Option<Ipv4Addr>,
    /// None unless running.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// The names by which others of the network find it; empty where there are no names.
    pub dns_names: Vec<String>,
    /// What was asked for.
    pub asked: Attachment,
}

/// A published port in force.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedPort {
    /// The container's.
    pub container: PortSpec,
    /// The host's address.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

/// One of inspect's `Mounts`.
#[derive(Debug, Clone, Default)]
pub struct MountView {
    /// `bind`, `volume`, `tmpfs`
    pub kind: &'static str,
    /// Volume name, else empty.
    pub name: String,
    /// Path on the host, empty for tmpfs.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// `local` for volumes, else empty.
    pub driver: String,
    /// Mode text.
    pub mode: String,
    /// Whether writable.
    pub rw: bool,
    /// Propagation.
    pub propagation: String,
}
