//! What the operator chose for this daemon, already parsed and checked by the composition root.

use gantry_base::{Error, Result};
pub use gantry_registry::client::Proxies;
use indexmap::IndexMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;
use std::path::PathBuf;

/// Where subnets come from, and the length of their prefixes.
pub type AddressPool = (IpNet, u8);

/// Reads a pool and the size of its subnets.
///
/// # Errors
/// If either is none, or the subnets do not fit into the pool.
pub fn parse_address_pool(base: &str, size: &str) -> Result<AddressPool> {
    let base: IpNet = base
        .parse()
        .map_err(|_| Error::invalid(format!("invalid base prefix {base:?}")))?;
    let size: u8 = size
        .parse()
        .map_err(|_| Error::invalid(format!("invalid size value: {size:?} (must be integer)")))?;
    let base = base.trunc();
    if !(base.prefix_len()..=base.max_prefix_len()).contains(&size) {
        return Err(Error::invalid(format!(
            "subnets of size {size} do not fit into base {base}"
        )));
    }
    Ok((base, size))
}

/// Settings of one daemon.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Durable data.
    pub data_root: PathBuf,
    /// Run-time files, on tmpfs.
    pub run_root: PathBuf,
    /// The executable of shims and runtime.
    pub shim: PathBuf,
    /// Name of the default bridge; `none` disables the bridge network.
    pub bridge: String,
    /// Whether the bridge is the operator's: it is then used as found and never made or removed.
    pub bridge_is_foreign: bool,
    /// Address and prefix of the default bridge, as `172.17.0.1/16`; none: the first free pool.
    pub bridge_ip: Option<Ipv4Net>,
    /// Range for container addresses inside the bridge's subnet.
    pub fixed_cidr: Option<Ipv4Net>,
    /// MTU of the default bridge; none: that of the default route.
    pub mtu: Option<u32>,
    /// Whether containers of one network reach each other.
    pub inter_container_communication: bool,
    /// Whether firewall rules are written.
    pub firewall: bool,
    /// Whether containers' traffic to the outside takes the host's address.
    pub masquerade: bool,
    /// Whether forwarding is switched on in the kernel.
    pub ip_forward: bool,
    /// Address that published ports bind to by default.
    pub default_host_ip: IpAddr,
    /// Where the subnets of networks come from, and the lengths of their prefixes; empty: Docker's.
    pub address_pools: Vec<AddressPool>,
    /// Name servers for containers.
    pub dns: Vec<IpAddr>,
    /// Search domains for containers.
    pub dns_search: Vec<String>,
    /// Resolver options for containers.
    pub dns_options: Vec<String>,
    /// Name of the parent cgroup.
    pub cgroup_parent: String,
    /// Whether containers get a minimal init by default.
    pub default_init: bool,
    /// Whether containers run with no_new_privs by default.
    pub no_new_privileges: bool,
    /// Bytes of /dev/shm by default.
    pub default_shm_size_bytes: u64,
    /// `private` or `host`; empty: private on v2, host on v1.
    pub default_cgroupns_mode: String,
    /// `private` or `shareable`.
    pub default_ipc_mode: String,
    /// Limits of processes by default.
    pub default_ulimits: Vec<crate::container::config::Ulimit>,
    /// Seconds until a stop kills, by default.
    pub default_stop_timeout_s: i64,
    /// Path of the operator's seccomp profile, `builtin` or `unconfined`; empty: builtin.
    pub seccomp_profile: String,
    /// Default log driver.
    pub log_driver: String,
    /// Options of the default log driver.
    pub log_options: IndexMap<String, String>,
    /// Labels of the daemon, shown by `info`.
    pub labels: Vec<String>,
    /// Whether the daemon runs with debug logs, shown by `info`.
    pub debug: bool,
    /// Whether experimental is shown.
    pub experimental: bool,
    /// Registries that may lack TLS.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub.
    pub registry_mirrors: Vec<String>,
    /// Directories with settings of registries, one directory per host.
    pub registry_hosts_directories: Vec<PathBuf>,
    /// The file that says which images must be signed, and by whom.
    pub signature_policy: Option<PathBuf>,
    /// Proxies on the way to registries.
    pub proxies: Proxies,
    /// Layers downloaded at one time.
    pub max_concurrent_downloads: usize,
    /// Layers uploaded at one time.
    pub max_concurrent_uploads: usize,
    /// Attempts at a download that bring it no further.
    pub max_download_attempts: u32,
}

impl Settings {
    /// Pools of IPv4; Docker's where no pool at all was chosen.
    pub(crate) fn address_pools_v4(&self) -> Vec<(Ipv4Net, u8)> {
        if self.address_pools.is_empty() {
            return gantry_network::ipam::default_pools();
        }
        let pools = self
            .address_pools
            .iter()
            .filter_map(|(pool, length)| match pool {
                IpNet::V4(pool) => Some((*pool, *length)),
                IpNet::V6(_) => None,
            });
        pools.collect()
    }

    /// Pools of IPv6 that were chosen.
    pub(crate) fn address_pools_v6(&self) -> Vec<(Ipv6Net, u8)> {
        let pools = self
            .address_pools
            .iter()
            .filter_map(|(pool, length)| match pool {
                IpNet::V6(pool) => Some((*pool, *length)),
                IpNet::V4(_) => None,
            });
        pools.collect()
    }

    /// The defaults for these two roots and this shim.
    pub fn new(
        data_root: impl Into<PathBuf>,
        run_root: impl Into<PathBuf>,
        shim: impl Into<PathBuf>,
    ) -> Self {
        Self {
            data_root: data_root.into(),
            run_root: run_root.into(),
            shim: shim.into(),
            bridge: "gantry0".into(),
            bridge_is_foreign: false,
            bridge_ip: None,
            fixed_cidr: None,
            mtu: None,
            inter_container_communication: true,
            firewall: true,
            masquerade: true,
            ip_forward: true,
            default_host_ip: IpAddr::from([0, 0, 0, 0]),
            address_pools: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            cgroup_parent: "gantry".into(),
            default_init: false,
            no_new_privileges: false,
            default_shm_size_bytes: 64 << 20,
            default_cgroupns_mode: String::new(),
            default_ipc_mode: "private".into(),
            default_ulimits: Vec::new(),
            default_stop_timeout_s: 10,
            seccomp_profile: String::new(),
            log_driver: "json-file".into(),
            log_options: IndexMap::new(),
            labels: Vec::new(),
            debug: false,
            experimental: false,
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            signature_policy: None,
            registry_hosts_directories: vec!["/etc/docker/certs.d".into()],
            proxies: Proxies::default(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
        }
    }
}

/// Bytes from `64M`, `64mb`, `64MiB`, `1g` or `65536`, in powers of 1024; none for anything else or what does not fit.
pub fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(['b', 'i']);
    let (number, factor) = match digits.chars().last()? {
        'k' => (&digits[..digits.len() - 1], 1 << 10),
        'm' => (&digits[..digits.len() - 1], 1 << 20),
        'g' => (&digits[..digits.len() - 1], 1 << 30),
        't' => (&digits[..digits.len() - 1], 1 << 40),
        _ => (digits, 1_u64),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64M"), Some(64 << 20));
        assert_eq!(parse_size("1gb"), Some(1 << 30));
        assert_eq!(parse_size("12"), Some(12));
        assert_eq!(parse_size("x"), None);
    }
}
