//! `_ping`, `version`, `info`.

use super::{State, route};
use crate::app::Serve;
use crate::request::Request;
use crate::response::{self, Response, TEXT};
use crate::router::Router;
use crate::time;
use crate::version::Lowered as _;
use gantry_api::types::{
    Commit, ComponentVersion, FirewallInfo, IndexInfo, NetworkAddressPool, PluginsInfo,
    RegistryServiceConfig, Runtime, SwarmInfo, SystemInfo, SystemVersion,
};
use gantry_api::{MAX_VERSION, MIN_VERSION};
use gantry_base::Result;
use gantry_engine::system::SystemView;
use gantry_oci::Platform;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};
use hyper::{HeaderMap, StatusCode};

/// Our version, which clients see as the server's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/_ping", ping);
    route!(router, HEAD "/_ping", ping_head);
    route!(router, GET "/version", version);
    route!(router, GET "/info", info);
}

fn ping_headers(headers: &mut HeaderMap) {
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("swarm"),
        HeaderValue::from_static("inactive"),
    );
}

async fn ping(_: State, _: Request) -> Result<Response> {
    let mut response = response::full(StatusCode::OK, TEXT, "OK");
    ping_headers(response.headers_mut());
    Ok(response)
}

async fn ping_head(_: State, _: Request) -> Result<Response> {
    let mut response = response::full(StatusCode::OK, TEXT, "");
    ping_headers(response.headers_mut());
    Ok(response)
}

async fn version(state: State, _: Request) -> Result<Response> {
    let view = state.engine.system.view();
    let platform = Platform::host();
    let details = [
        ("ApiVersion", MAX_VERSION.to_string()),
        ("Arch", platform.architecture.clone()),
        ("Experimental", view.settings.experimental.to_string()),
        ("KernelVersion", view.host.kernel.clone()),
        ("MinAPIVersion", MIN_VERSION.to_string()),
        ("Os", platform.os.clone()),
    ];
    let details = details
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let engine = ComponentVersion {
        name: "Engine".into(),
        version: VERSION.into(),
        details,
    };
    Ok(response::ok(&SystemVersion {
        platform: gantry_api::types::VersionPlatform {
            name: "Gantry".into(),
        },
        components: vec![engine],
        version: VERSION.into(),
        api_version: MAX_VERSION.to_string(),
        min_api_version: MIN_VERSION.to_string(),
        os: platform.os,
        arch: platform.architecture,
        kernel_version: view.host.kernel,
        experimental: view.settings.experimental,
        ..SystemVersion::default()
    }))
}

async fn info(state: State, request: Request) -> Result<Response> {
    let listeners = state.engine.events.listeners();
    let info = wire(&state.engine.system.view(), listeners);
    Ok(response::ok(&info.lowered(request.version)))
}

fn wire(view: &SystemView, listeners: usize) -> SystemInfo {
    let settings = &view.settings;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    SystemInfo {
        id: view.id.clone(),
        containers: count(view.running + view.paused + view.stopped),
        containers_running: count(view.running),
        containers_paused: count(view.paused),
        containers_stopped: count(view.stopped),
        images: count(view.images),
        driver: "overlay2".into(),
        driver_status: vec![["Backing Filesystem".into(), backing_filesystem(view)]],
        plugins: PluginsInfo {
            volume: texts(&["local"]),
            network: texts(&["bridge", "host", "ipvlan", "macvlan", "null"]),
            authorization: None,
            log: texts(&["json-file", "none"]),
        },
        debug: settings.debug,
        n_fd: count(std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)),
        n_goroutines: count(std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)),
        system_time: time::rfc3339(time::now_ns()),
        logging_driver: settings.log_driver.clone(),
        n_events_listener: count(listeners),
        index_server_address: "https://index.docker.io/v1/".into(),
        registry_config: registry_config(view),
        docker_root_dir: settings.data_root.to_string_lossy().into_owned(),
        labels: settings.labels.clone(),
        experimental_build: settings.experimental,
        server_version: VERSION.into(),
        runtimes: [("gantry".to_owned(), runtime(view))].into(),
        default_runtime: "gantry".into(),
        swarm: SwarmInfo {
            local_node_state: "inactive".into(),
            ..SwarmInfo::default()
        },
        live_restore_enabled: true,
        init_binary: "gantry-shim".into(),
        containerd_commit: Commit::default(),
        runc_commit: Commit {
            id: VERSION.into(),
            expected: None,
        },
        init_commit: Commit {
            id: VERSION.into(),
            expected: None,
        },
        security_options: security_options(view),
        firewall_backend: settings.firewall.then(|| FirewallInfo {
            driver: "nftables".into(),
            info: Vec::new(),
        }),
        default_address_pools: settings
            .address_pools
            .iter()
            .map(|(base, size)| NetworkAddressPool {
                base: base.to_string(),
                size: i64::from(*size),
            })
            .collect(),
        cdi_spec_dirs: Vec::new(),
        ..host_info(view)
    }
}

/// Members about the host.
fn host_info(view: &SystemView) -> SystemInfo {
    let host = &view.host;
    let has = |name: &str| host.has_controller(name);
    SystemInfo {
        memory_limit: has("memory"),
        swap_limit: host.swap_limit,
        cpu_cfs_period: has("cpu"),
        cpu_cfs_quota: has("cpu"),
        cpu_shares: has("cpu"),
        cpu_set: has("cpuset"),
        pids_limit: has("pids"),
        ipv4_forwarding: forwards(),
        oom_kill_disable: host.cgroup_version == 1 && has("memory"),
        cgroup_driver: "cgroupfs".into(),
        cgroup_version: host.cgroup_version.to_string(),
        kernel_version: host.kernel.clone(),
        operating_system: host.operating_system.clone(),
        os_version: host.os_version.clone(),
        os_type: "linux".into(),
        architecture: host.machine.clone(),
        ncpu: i64::try_from(host.processors).unwrap_or(i64::MAX),
        mem_total: i64::try_from(host.memory_bytes).unwrap_or(i64::MAX),
        name: host.name.clone(),
        warnings: warnings(view),
        ..SystemInfo::default()
    }
}

fn security_options(view: &SystemView) -> Vec<String> {
    let (host, settings) = (&view.host, &view.settings);
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if host.apparmor {
        options.insert(0, "name=apparmor".into());
    }
    if host.cgroup_version == 2 {
        options.push("name=cgroupns".into());
    }
    if settings.no_new_privileges {
        options.push("name=no-new-privileges".into());
    }
    options
}

fn runtime(view: &SystemView) -> Runtime {
    Runtime {
        path: view.settings.shim.to_string_lossy().into_owned(),
        ..Runtime::default()
    }
}

fn registry_config(view: &SystemView) -> RegistryServiceConfig {
    let settings = &view.settings;
    let mirrors = settings.registry_mirrors.clone();
    let hub = IndexInfo {
        mirrors: mirrors.clone(),
        name: "docker.io".into(),
        official: true,
        secure: true,
    };
    let (networks, hosts): (Vec<String>, Vec<String>) = settings
        .insecure_registries
        .iter()
        .cloned()
        .partition(|entry| entry.contains('/'));
    let mut index_configs: std::collections::BTreeMap<_, _> =
        [("docker.io".to_owned(), hub)].into();
    for name in hosts {
        let index = IndexInfo {
            mirrors: Vec::new(),
            name: name.clone(),
            official: false,
            secure: false,
        };
        index_configs.insert(name, index);
    }
    let loopback = ["::1/128", "127.0.0.0/8"].map(str::to_owned);
    RegistryServiceConfig {
        index_configs,
        insecure_registry_cidrs: networks.into_iter().chain(loopback).collect(),
        mirrors: (!mirrors.is_empty()).then_some(mirrors),
        ..RegistryServiceConfig::default()
    }
}

/// The file system of the data root, by the names that Docker gives them.
fn backing_filesystem(view: &SystemView) -> String {
    let kind = rustix::fs::statfs(&view.settings.data_root).map_or(0, |stat| stat.f_type);
    let name = match kind {
        0xef53 => "extfs",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x2fc1_2fc1 => "zfs",
        0x794c_7630 => "overlayfs",
        0xf2f5_2010 => "f2fs",
        other => return format!("unknown ({other:#x})"),
    };
    name.to_owned()
}

fn forwards() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

/// What the host lacks, in Docker's words.
fn warnings(view: &SystemView) -> Option<Vec<String>> {
    let host = &view.host;
    let mut warnings = Vec::new();
    if !host.has_controller("memory") {
        warnings.push("WARNING: No memory limit support".to_owned());
    } else if !host.swap_limit {
        warnings.push("WARNING: No swap limit support".to_owned());
    }
    if !host.has_controller("cpu") {
        warnings.push("WARNING: No cpu cfs quota support".to_owned());
        warnings.push("WARNING: No cpu cfs period support".to_owned());
        warnings.push("WARNING: No cpu shares support".to_owned());
    }
    if !host.has_controller("cpuset") {
        warnings.push("WARNING: No cpuset support".to_owned());
    }
    if !forwards() {
        warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
    }
    (!warnings.is_empty()).then_some(warnings)
}
