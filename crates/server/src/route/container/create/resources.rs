//! Limits: checked in dockerd's order and words.

use gantry_api::types::{HostConfig, ThrottleDevice};
use gantry_base::{Error, Result};
use gantry_engine::container::config::{DeviceMapping, Resources, Ulimit};

/// The least memory that Docker lets a container have.
const MEMORY_BYTES_MIN: i64 = 6 * 1024 * 1024;

/// Limits of a request, and warnings about them.
pub(super) fn convert(host: &HostConfig, warnings: &mut Vec<String>) -> Result<Resources> {
    check_memory(host).map_err(Error::invalid)?;
    if host.memory == 0 && host.memory_swap > 0 {
        return Err(Error::invalid(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ));
    }
    check_and_convert(host, warnings)
}

/// Of an update: what it does not name may have been set before.
pub(super) fn convert_update(host: &HostConfig, warnings: &mut Vec<String>) -> Result<Resources> {
    check_memory(host).map_err(Error::invalid)?;
    Ok(Resources {
        pids_limit: host.pids_limit,
        ..check_and_convert(host, warnings)?
    })
}

fn check_and_convert(host: &HostConfig, warnings: &mut Vec<String>) -> Result<Resources> {
    check_cpu(host, warnings).map_err(Error::invalid)?;
    refuse_unsupported(host)?;
    let throttles = |devices: &Option<Vec<ThrottleDevice>>| -> Vec<(String, u64)> {
        devices
            .iter()
            .flatten()
            .map(|device| (device.path.clone(), device.rate))
            .collect()
    };
    let weights = host.blkio_weight_device.iter().flatten();
    Ok(Resources {
        cpu_shares: host.cpu_shares,
        nano_cpus: host.nano_cpus,
        cpu_period_us: host.cpu_period,
        cpu_quota_us: host.cpu_quota,
        cpu_realtime_period_us: host.cpu_realtime_period,
        cpu_realtime_runtime_us: host.cpu_realtime_runtime,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        memory_bytes: host.memory,
        memory_reservation_bytes: host.memory_reservation,
        memory_swap_bytes: host.memory_swap,
        memory_swappiness: host.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: host.oom_kill_disable,
        pids_limit: host.pids_limit.filter(|limit| *limit > 0),
        blkio_weight: host.blkio_weight,
        blkio_weight_device: weights
            .map(|device| (device.path.clone(), device.weight))
            .collect(),
        blkio_device_read_bps: throttles(&host.blkio_device_read_bps),
        blkio_device_write_bps: throttles(&host.blkio_device_write_bps),
        blkio_device_read_iops: throttles(&host.blkio_device_read_iops),
        blkio_device_write_iops: throttles(&host.blkio_device_write_iops),
        cgroup_parent: host.cgroup_parent.clone(),
        devices: host.devices.iter().flatten().map(device).collect(),
        device_cgroup_rules: host.device_cgroup_rules.clone().unwrap_or_default(),
        ulimits: host.ulimits.iter().flatten().map(ulimit).collect(),
        oom_score_adj: oom_score_adj(host.oom_score_adj)?,
    })
}

fn device(device: &gantry_api::types::DeviceMapping) -> DeviceMapping {
    DeviceMapping {
        path_on_host: device.path_on_host.clone(),
        path_in_container: device.path_in_container.clone(),
        cgroup_permissions: device.cgroup_permissions.clone(),
    }
}

fn ulimit(limit: &gantry_api::types::Ulimit) -> Ulimit {
    Ulimit {
        name: limit.name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    }
}

fn oom_score_adj(value: i64) -> Result<i32> {
    let text = format!("Invalid value {value}, range for oom score adj is [-1000, 1000]");
    let value = i32::try_from(value)
        .ok()
        .filter(|value| (-1000..=1000).contains(value));
    value.ok_or_else(|| Error::invalid(text))
}

fn check_memory(host: &HostConfig) -> Result<(), String> {
    let (memory, swap, reservation) = (host.memory, host.memory_swap, host.memory_reservation);
    if memory != 0 && memory < MEMORY_BYTES_MIN {
        return Err("Minimum memory limit allowed is 6MB".into());
    }
    if memory > 0 && swap > 0 && swap < memory {
        return Err(
            "Minimum memoryswap limit should be larger than memory limit, see usage".into(),
        );
    }
    if let Some(value) = host.memory_swappiness
        && value != -1
        && !(0..=100).contains(&value)
    {
        return Err(format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        ));
    }
    if reservation > 0 && reservation < MEMORY_BYTES_MIN {
        return Err("Minimum memory reservation allowed is 6MB".into());
    }
    if memory > 0 && reservation > 0 && memory < reservation {
        let text = "Minimum memory limit can not be less than memory reservation limit, see usage";
        return Err(text.into());
    }
    Ok(())
}

fn check_cpu(host: &HostConfig, warnings: &mut Vec<String>) -> Result<(), String> {
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return Err("Conflicting options: Nano CPUs and CPU Period cannot both be set".into());
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return Err("Conflicting options: Nano CPUs and CPU Quota cannot both be set".into());
    }
    let processors = online(PROCESSORS)
        .last()
        .map_or(1, |last| i64::from(*last) + 1);
    if host.nano_cpus < 0 || host.nano_cpus > processors.saturating_mul(1_000_000_000) {
        return Err(format!(
            "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        ));
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return Err(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
                .into(),
        );
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1000 {
        return Err("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
    }
    if host.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".into());
    }
    check_set(&host.cpuset_cpus, "cpus", "CPUs", PROCESSORS)?;
    check_set(&host.cpuset_mems, "mems", "memory nodes", MEMORY_NODES)
}

const PROCESSORS: &str = "/sys/devices/system/cpu/online";
const MEMORY_NODES: &str = "/sys/devices/system/node/online";

fn check_set(text: &str, name: &str, what: &str, available: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let Some(wanted) = parse_set(text) else {
        return Err(format!(
            "Invalid value {text} for cpuset {name}: invalid format: {text}"
        ));
    };
    let known = online(available);
    if wanted.iter().all(|number| known.contains(number)) {
        return Ok(());
    }
    let available = std::fs::read_to_string(available).unwrap_or_default();
    Err(format!(
        "Requested {what} are not available - requested {text}, available: {}",
        available.trim()
    ))
}

fn online(path: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    parse_set(text.trim()).unwrap_or_else(|| vec![0])
}

/// `0-3,5`
fn parse_set(text: &str) -> Option<Vec<u32>> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < 8192);
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            None => numbers.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                numbers.extend(first..=last);
            }
        }
    }
    Some(numbers)
}

fn refuse_unsupported(host: &HostConfig) -> Result<()> {
    let unsupported = [
        (
            "DeviceRequests",
            host.device_requests
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
        ),
        ("KernelMemoryTCP", host.kernel_memory_tcp != 0),
        ("CpuCount", host.cpu_count != 0),
    ];
    super::refuse(&unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_refused_in_dockers_words() {
        let text = |host: HostConfig| {
            convert(&host, &mut Vec::new())
                .expect_err("is invalid")
                .to_string()
        };
        let base = HostConfig::default;
        assert_eq!(
            text(HostConfig {
                memory: 5,
                ..base()
            }),
            "Minimum memory limit allowed is 6MB"
        );
        assert_eq!(
            text(HostConfig {
                memory_swap: 5,
                ..base()
            }),
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        );
        assert_eq!(
            text(HostConfig {
                memory_swappiness: Some(500),
                ..base()
            }),
            "Invalid value: 500, valid memory swappiness range is 0-100"
        );
        assert!(
            text(HostConfig {
                nano_cpus: i64::MAX,
                ..base()
            })
            .starts_with("range of CPUs is from 0.01 to ")
        );
        assert_eq!(
            text(HostConfig {
                cpuset_cpus: "x".into(),
                ..base()
            }),
            "Invalid value x for cpuset cpus: invalid format: x"
        );
        assert!(
            text(HostConfig {
                cpuset_mems: "4000".into(),
                ..base()
            })
            .starts_with("Requested memory nodes are not available - requested 4000, available: ")
        );
        assert_eq!(
            text(HostConfig {
                oom_score_adj: 2000,
                ..base()
            }),
            "Invalid value 2000, range for oom score adj is [-1000, 1000]"
        );
        assert_eq!(
            text(HostConfig {
                kernel_memory_tcp: 5,
                ..base()
            }),
            "KernelMemoryTCP is not supported yet"
        );
    }

    #[test]
    fn unlimited_is_written_in_several_ways() {
        for limit in [0, -1, -5] {
            let host = HostConfig {
                pids_limit: Some(limit),
                ..HostConfig::default()
            };
            assert_eq!(
                convert(&host, &mut Vec::new())
                    .expect("is valid")
                    .pids_limit,
                None
            );
        }
    }

    #[test]
    fn sets_are_read() {
        assert_eq!(parse_set("0-2,5"), Some(vec![0, 1, 2, 5]));
        for bad in ["x", "2-1", "1-", "-1", "0-99999999999", "0-9000"] {
            assert_eq!(parse_set(bad), None, "{bad}");
        }
    }
}
