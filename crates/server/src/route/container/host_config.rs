//! `HostConfig` of inspect: what the container was asked to be, as it was asked for.

use super::inspect::{non_empty, sorted};
use gantry_api::types::{
    BindOptions, HostConfig, LogConfig, Mount, PortBinding, RestartPolicy, ThrottleDevice,
    TmpfsOptions, VolumeOptions, WeightDevice,
};
use gantry_engine::container::config::{Config, MountConfig, MountSource};
use std::collections::BTreeMap;

pub(super) fn wire(config: &Config) -> HostConfig {
    let (rows, columns) = config.console_size;
    let mounts = config.mounts.iter().filter(|mount| mount.from_mounts);
    HostConfig {
        binds: non_empty(&config.binds),
        container_id_file: config.container_id_file.clone(),
        log_config: LogConfig {
            kind: config.log.driver.clone(),
            config: Some(sorted(&config.log.options)),
        },
        restart_policy: RestartPolicy {
            name: config.restart.name.as_str().to_owned(),
            maximum_retry_count: config.restart.maximum_retry_count.into(),
        },
        auto_remove: config.auto_remove,
        volume_driver: config.volume_driver.clone(),
        console_size: [rows, columns],
        annotations: sorted(&config.annotations),
        group_add: non_empty(&config.process.group_add),
        readonly_rootfs: config.readonly_rootfs,
        tmpfs: sorted(&config.tmpfs),
        shm_size: i64::try_from(config.shm_size_bytes).unwrap_or(i64::MAX),
        runtime: match config.runtime.as_str() {
            "" => "gantry".into(),
            other => other.to_owned(),
        },
        mounts: non_empty(&mounts.map(mount).collect::<Vec<_>>()),
        init: config.init,
        ..isolation(config)
    }
}

/// Members about network, namespaces and privileges, over those of [`limits`].
fn isolation(config: &Config) -> HostConfig {
    let (security, network, namespaces) = (&config.security, &config.network, &config.namespaces);
    let (masked, readonly) = (
        security.masked_paths.as_deref(),
        security.readonly_paths.as_deref(),
    );
    HostConfig {
        network_mode: network.mode_as_given.clone(),
        port_bindings: Some(port_bindings(config)),
        publish_all_ports: network.publish_all,
        dns: Some(network.dns.iter().map(ToString::to_string).collect()),
        dns_options: Some(network.dns_options.clone()),
        dns_search: Some(network.dns_search.clone()),
        extra_hosts: non_empty(&network.extra_hosts),
        cgroupns_mode: namespaces.cgroup.clone(),
        ipc_mode: namespaces.ipc.clone(),
        pid_mode: namespaces.pid.clone(),
        uts_mode: namespaces.uts.clone(),
        userns_mode: namespaces.user.clone(),
        privileged: security.privileged,
        cap_add: non_empty(&security.cap_add),
        cap_drop: non_empty(&security.cap_drop),
        security_opt: non_empty(&security.security_opt),
        sysctls: sorted(&security.sysctls),
        masked_paths: paths(masked, security.privileged, &MASKED_PATHS),
        readonly_paths: paths(readonly, security.privileged, &READONLY_PATHS),
        ..limits(config)
    }
}

fn limits(config: &Config) -> HostConfig {
    let resources = &config.resources;
    let throttle = |(path, rate): &(String, u64)| ThrottleDevice {
        path: path.clone(),
        rate: *rate,
    };
    let throttles = |list: &[(String, u64)]| Some(list.iter().map(throttle).collect());
    let weight = |(path, weight): &(String, u16)| WeightDevice {
        path: path.clone(),
        weight: *weight,
    };
    HostConfig {
        oom_score_adj: resources.oom_score_adj.into(),
        cpu_shares: resources.cpu_shares,
        memory: resources.memory_bytes,
        nano_cpus: resources.nano_cpus,
        cgroup_parent: resources.cgroup_parent.clone(),
        blkio_weight: resources.blkio_weight,
        blkio_weight_device: Some(resources.blkio_weight_device.iter().map(weight).collect()),
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
