//! `GET /containers/{name}/json`: everything that is known of a container.

use super::super::State;
use super::list::{endpoint, mount_points, port_map};
use crate::request::Request;
use crate::response::{self, Response};
use crate::time;
use crate::version::Lowered as _;
use gantry_api::types::{
    BindOptions, ContainerConfig, ContainerInspectResponse, ContainerState, DriverData, Empty,
    HealthConfig, HostConfig, LogConfig, Mount, NetworkSettings, PortBinding, RestartPolicy,
    ThrottleDevice, TmpfsOptions, VolumeOptions, WeightDevice,
};
use gantry_base::{Error, Result};
use gantry_engine::container::config::{Config, MountConfig, MountSource};
use gantry_engine::container::view::{ContainerView, Status};
use indexmap::IndexMap;
use std::collections::BTreeMap;

pub(super) async fn inspect(state: State, request: Request) -> Result<Response> {
    let view = state.engine.containers.get(super::reference(&request)?)?;
    if request.query.flag("size") {
        return Err(Error::not_implemented(
            "sizes of containers are not supported yet",
        ));
    }
    Ok(response::ok(&wire(&view).lowered(request.version)))
}

fn wire(view: &ContainerView) -> ContainerInspectResponse {
    let exec_ids: Vec<String> = view.exec_ids.iter().map(ToString::to_string).collect();
    ContainerInspectResponse {
        id: view.id.to_string(),
        created: time::rfc3339(view.created_ns),
        path: view.path.clone(),
        args: view.args.clone(),
        state: state(view),
        image: view.image.as_str().to_owned(),
        resolv_conf_path: view.resolv_conf_path.clone(),
        hostname_path: view.hostname_path.clone(),
        hosts_path: view.hosts_path.clone(),
        log_path: view.log_path.clone(),
        name: format!("/{}", view.name),
        restart_count: view.restart_count.into(),
        driver: "overlay2".into(),
        platform: "linux".into(),
        image_manifest_descriptor: None,
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: view.config.security.apparmor.clone(),
        exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
        host_config: host_config(&view.config),
        graph_driver: Some(graph_driver(view)),
        storage: None,
        size_rw: None,
        size_root_fs: None,
        mounts: mount_points(view),
        config: config(view),
        network_settings: network_settings(view),
    }
}

fn state(view: &ContainerView) -> ContainerState {
    let state = &view.state;
    ContainerState {
        status: state.status.as_str().to_owned(),
        running: state.status.is_live(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid.into(),
        exit_code: state.exit_code.into(),
        error: state.error.clone(),
        started_at: time::rfc3339_or_never(state.started_ns),
        finished_at: time::rfc3339_or_never(state.finished_ns),
        health: None,
    }
}

/// Directories as Docker's overlay2 driver shows them. The merged tree exists in the container's mount namespace only, and is
/// reached through its process.
fn graph_driver(view: &ContainerView) -> DriverData {
    let mut data = BTreeMap::from([("ID".to_owned(), view.id.to_string())]);
    if let Some(overlay) = &view.overlay {
        data.insert("LowerDir".into(), overlay.lower.clone());
        data.insert("UpperDir".into(), overlay.upper.clone());
        data.insert("WorkDir".into(), overlay.work.clone());
    }
    if view.state.pid != 0 {
        data.insert("MergedDir".into(), format!("/proc/{}/root", view.state.pid));
    }
    DriverData {
        data: Some(data),
        name: "overlay2".into(),
    }
}

fn sorted(map: &IndexMap<String, String>) -> BTreeMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn non_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn config(view: &ContainerView) -> ContainerConfig {
    let config = &view.config;
    let process = &config.process;
    let hostname = match config.hostname.as_str() {
        "" if config.network.mode.starts_with("container:") => String::new(),
        "" => view.id.short().to_owned(),
        hostname => hostname.to_owned(),
    };
    let health = config.healthcheck.as_ref();
    ContainerConfig {
        hostname,
        domainname: config.domainname.clone(),
        user: process.user.clone(),
        attach_stdin: process.attach_stdin,
        attach_stdout: process.attach_stdout,
        attach_stderr: process.attach_stderr,
        exposed_ports: config
            .exposed_ports
            .iter()
            .map(|port| (port.to_string(), Empty {}))
            .collect(),
        tty: process.tty,
        open_stdin: process.open_stdin,
        stdin_once: process.stdin_once,
        env: Some(process.env.clone()),
        cmd: process.cmd.clone(),
        healthcheck: health.map(|check| HealthConfig {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        args_escaped: process.args_escaped,
        image: config.image_reference.clone(),
        volumes: (!config.volumes.is_empty()).then(|| {
            config
                .volumes
                .iter()
                .map(|path| (path.clone(), Empty {}))
                .collect()
        }),
        working_dir: process.working_dir.clone(),
        entrypoint: process.entrypoint.clone(),
        network_disabled: false,
        mac_address: String::new(),
        on_build: process.on_build.clone().map(Some),
        labels: Some(sorted(&config.labels)),
        stop_signal: process.stop_signal.clone(),
        stop_timeout: process.stop_timeout_s,
        shell: process.shell.clone(),
    }
}

fn host_config(config: &Config) -> HostConfig {
    let (resources, security, network) = (&config.resources, &config.security, &config.network);
    let throttles = |list: &[(String, u64)]| {
        Some(
            list.iter()
                .map(|(path, rate)| ThrottleDevice {
                    path: path.clone(),
                    rate: *rate,
                })
                .collect(),
        )
    };
    let weights = resources.blkio_weight_device.iter();
    let (rows, columns) = config.console_size;
    let texts = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect();
    HostConfig {
        binds: non_empty(&config.binds),
        container_id_file: config.container_id_file.clone(),
        log_config: LogConfig {
            kind: config.log.driver.clone(),
            config: Some(sorted(&config.log.options)),
        },
        network_mode: network.mode_as_given.clone(),
        port_bindings: Some(port_bindings(config)),
        restart_policy: RestartPolicy {
            name: config.restart.name.as_str().to_owned(),
            maximum_retry_count: config.restart.maximum_retry_count.into(),
        },
        auto_remove: config.auto_remove,
        volume_driver: config.volume_driver.clone(),
        console_size: [rows, columns],
        annotations: sorted(&config.annotations),
        cap_add: non_empty(&security.cap_add),
        cap_drop: non_empty(&security.cap_drop),
        cgroupns_mode: config.namespaces.cgroup.clone(),
        dns: Some(texts(&network.dns)),
        dns_options: Some(network.dns_options.clone()),
        dns_search: Some(network.dns_search.clone()),
        extra_hosts: non_empty(&network.extra_hosts),
        group_add: non_empty(&config.process.group_add),
        ipc_mode: config.namespaces.ipc.clone(),
        oom_score_adj: resources.oom_score_adj.into(),
        pid_mode: config.namespaces.pid.clone(),
        privileged: security.privileged,
        publish_all_ports: network.publish_all,
        readonly_rootfs: config.readonly_rootfs,
        security_opt: non_empty(&security.security_opt),
        tmpfs: sorted(&config.tmpfs),
        uts_mode: config.namespaces.uts.clone(),
        userns_mode: config.namespaces.user.clone(),
        shm_size: i64::try_from(config.shm_size_bytes).unwrap_or(i64::MAX),
        sysctls: sorted(&security.sysctls),
        runtime: match config.runtime.as_str() {
            "" => "gantry".into(),
            other => other.to_owned(),
        },
        cpu_shares: resources.cpu_shares,
        memory: resources.memory_bytes,
        nano_cpus: resources.nano_cpus,
        cgroup_parent: resources.cgroup_parent.clone(),
        blkio_weight: resources.blkio_weight,
        blkio_weight_device: Some(
            weights
                .map(|(path, weight)| WeightDevice {
                    path: path.clone(),
                    weight: *weight,
                })
                .collect(),
        ),
        blkio_device_read_bps: throttles(&resources.blkio_device_read_bps),
        blkio_device_write_bps: throttles(&resources.blkio_device_write_bps),
        blkio_device_read_iops: throttles(&resources.blkio_device_read_iops),
        blkio_device_write_iops: throttles(&resources.blkio_device_write_iops),
        cpu_period: resources.cpu_period_us,
        cpu_quota: resources.cpu_quota_us,
        cpu_realtime_period: resources.cpu_realtime_period_us,
        cpu_realtime_runtime: resources.cpu_realtime_runtime_us,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        devices: Some(resources.devices.iter().map(device).collect()),
        device_cgroup_rules: non_empty(&resources.device_cgroup_rules),
        memory_reservation: resources.memory_reservation_bytes,
        memory_swap: resources.memory_swap_bytes,
        memory_swappiness: resources.memory_swappiness,
        oom_kill_disable: Some(resources.oom_kill_disable.unwrap_or(false)),
        pids_limit: resources.pids_limit,
        ulimits: Some(resources.ulimits.iter().map(ulimit).collect()),
        mounts: non_empty(
            &config
                .mounts
                .iter()
                .filter(|m| m.from_mounts)
                .map(mount)
                .collect::<Vec<_>>(),
        ),
        masked_paths: paths(
            security.masked_paths.as_deref(),
            security.privileged,
            &MASKED_PATHS,
        ),
        readonly_paths: paths(
            security.readonly_paths.as_deref(),
            security.privileged,
            &READONLY_PATHS,
        ),
        init: config.init,
        ..HostConfig::default()
    }
}

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The list in force; null for privileged containers.
fn paths(given: Option<&[String]>, privileged: bool, default: &[&str]) -> Option<Vec<String>> {
    match given {
        Some(list) => Some(list.to_vec()),
        None if privileged => None,
        None => Some(default.iter().map(ToString::to_string).collect()),
    }
}

fn device(
    device: &gantry_engine::container::config::DeviceMapping,
) -> gantry_api::types::DeviceMapping {
    gantry_api::types::DeviceMapping {
        path_on_host: device.path_on_host.clone(),
        path_in_container: device.path_in_container.clone(),
        cgroup_permissions: device.cgroup_permissions.clone(),
    }
}

fn ulimit(limit: &gantry_engine::container::config::Ulimit) -> gantry_api::types::Ulimit {
    gantry_api::types::Ulimit {
        name: limit.name.clone(),
        hard: limit.hard,
        soft: limit.soft,
    }
}

fn port_bindings(config: &Config) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut map: BTreeMap<String, Option<Vec<PortBinding>>> = BTreeMap::new();
    for binding in &config.network.port_bindings {
        let host_port = match binding.host_ports {
            None => String::new(),
            Some((first, last)) if first == last => first.to_string(),
            Some((first, last)) => format!("{first}-{last}"),
        };
        let host_ip = binding.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let list = map.entry(binding.container.to_string()).or_default();
        list.get_or_insert_default()
            .push(PortBinding { host_ip, host_port });
    }
    map
}

/// One of `HostConfig.Mounts`, as it was asked for.
fn mount(config: &MountConfig) -> Mount {
    let mut mount = Mount {
        target: config.target.clone(),
        read_only: config.readonly,
        ..Mount::default()
    };
    match &config.source {
        MountSource::Bind {
            path,
            propagation,
            create_host_path,
            non_recursive,
            ..
        } => {
            mount.kind = "bind".into();
            mount.source.clone_from(path);
            let options = BindOptions {
                propagation: propagation.clone(),
                non_recursive: *non_recursive,
                create_mountpoint: *create_host_path,
                ..BindOptions::default()
            };
            mount.bind_options = (options != BindOptions::default()).then_some(options);
        }
        MountSource::Tmpfs {
            size_bytes,
            mode,
            options,
        } => {
            mount.kind = "tmpfs".into();
            let split = |option: &String| match option.split_once('=') {
                Some((name, value)) => vec![name.to_owned(), value.to_owned()],
                None => vec![option.clone()],
            };
            let options = TmpfsOptions {
                size_bytes: size_bytes
                    .and_then(|bytes| i64::try_from(bytes).ok())
                    .unwrap_or(0),
                mode: mode.unwrap_or(0).into(),
                options: non_empty(&options.iter().map(split).collect::<Vec<_>>()),
            };
            mount.tmpfs_options = (options != TmpfsOptions::default()).then_some(options);
        }
        MountSource::Volume { name, no_copy, .. } => {
            mount.kind = "volume".into();
            mount.source.clone_from(name);
            let options = VolumeOptions {
                no_copy: *no_copy,
                ..VolumeOptions::default()
            };
            mount.volume_options = no_copy.then_some(options);
        }
    }
    mount
}

fn network_settings(view: &ContainerView) -> NetworkSettings {
    let networks = view
        .networks
        .iter()
        .map(|end| (end.network.clone(), endpoint(view, end)))
        .collect();
    let has_sandbox = !view.sandbox_key.is_empty();
    NetworkSettings {
        bridge: None,
        // A sandbox is its container's own, so that the id of the one names the other.
        sandbox_id: if has_sandbox {
            view.id.to_string()
        } else {
            String::new()
        },
        sandbox_key: view.sandbox_key.clone(),
        ports: port_map(view),
        legacy: None,
        networks,
    }
}
