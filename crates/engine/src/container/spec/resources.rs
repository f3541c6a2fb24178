//! Limits and device rules of a container, as the specification has them.
//!
//! Zero and absent in Docker's API are "no limit" and leave the field out. Ranges were checked at create.

use super::ResolvedDevice;
use crate::container::config::{Config, Resources};
use gantry_base::{Error, Result};
use gantry_oci::runtime::{
    self, BlockIo, Cpu, DeviceRule, Memory, Pids, ThrottleDevice, WeightDevice,
};

/// Limits of a container (or of an update) as the specification has them.
pub(crate) fn resources(
    asked: &Resources,
    block_device: &dyn Fn(&str) -> Result<(i64, i64)>,
) -> Result<runtime::Resources> {
    let memory = memory(asked);
    let cpu = cpu(asked);
    let block_io = block_io(asked, block_device)?;
    Ok(runtime::Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: asked
            .pids_limit
            .filter(|&limit| limit != 0)
            .map(|limit| Pids { limit }),
        block_io: (block_io != BlockIo::default()).then_some(block_io),
        ..runtime::Resources::default()
    })
}

/// Which device nodes may be used: Docker's defaults, the container's devices, and rules of its own.
pub(super) fn device_rules(config: &Config, devices: &[ResolvedDevice]) -> Result<Vec<DeviceRule>> {
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

fn memory(asked: &Resources) -> Memory {
    Memory {
        limit: nonzero(asked.memory_bytes),
        reservation: nonzero(asked.memory_reservation_bytes),
        swap: nonzero(asked.memory_swap_bytes),
        swappiness: asked
            .memory_swappiness
            .and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|&disable| disable),
        ..Memory::default()
    }
}

fn cpu(asked: &Resources) -> Cpu {
    let (mut period, mut quota) = (
        positive::<u64>(asked.cpu_period_us),
        nonzero(asked.cpu_quota_us),
    );
    if asked.nano_cpus > 0 {
        period = Some(100_000);
        quota = Some(asked.nano_cpus / 10_000);
    }
    Cpu {
        shares: positive(asked.cpu_shares),
        quota,
        period,
        realtime_runtime: nonzero(asked.cpu_realtime_runtime_us),
        realtime_period: positive(asked.cpu_realtime_period_us),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    }
}

fn block_io(
    asked: &Resources,
    block_device: &dyn Fn(&str) -> Result<(i64, i64)>,
) -> Result<BlockIo> {
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
    Ok(BlockIo {
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
    })
}

fn nonzero(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn positive<T: TryFrom<i64>>(value: i64) -> Option<T> {
    (value > 0).then(|| T::try_from(value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_device(path: &str) -> Result<(i64, i64)> {
        Err(Error::invalid(format!("{path} is not a block device")))
    }

    #[test]
    fn nano_cpus_are_a_quota_of_the_default_period() {
        let asked = Resources {
            nano_cpus: 1_500_000_000,
            ..Resources::default()
        };
        let cpu = resources(&asked, &no_device).expect("valid").cpu;
        let cpu = cpu.expect("a limit was asked");
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    }

    #[test]
    fn nothing_asked_limits_nothing() {
        let limits = resources(&Resources::default(), &no_device).expect("valid");
        assert!(limits == runtime::Resources::default());
    }

    #[test]
    fn a_throttled_path_must_be_a_device() {
        let asked = Resources {
            blkio_device_read_bps: vec![("/dev/sda".into(), 1024)],
            ..Resources::default()
        };
        assert!(resources(&asked, &no_device).is_err());
        let limits = resources(&asked, &|_| Ok((8, 0))).expect("valid");
        let throttled = limits.block_io.expect("a limit was asked");
        let device = &throttled.throttle_read_bps_device[0];
        assert_eq!((device.major, device.minor, device.rate), (8, 0, 1024));
    }

    #[test]
    fn a_privileged_container_may_use_every_device_and_others_only_those_allowed() {
        let mut config = Config::default();
        config.resources.device_cgroup_rules = vec!["b 8:* r".into()];
        let rules = device_rules(&config, &[]).expect("valid");
        assert_eq!(rules.first(), Some(&rule(false, "", None, None, "rwm")));
        assert_eq!(rules.last(), Some(&rule(true, "b", Some(8), None, "r")));
        config.security.privileged = true;
        let rules = device_rules(&config, &[]).expect("valid");
        assert_eq!(rules, [rule(true, "", None, None, "rwm")]);
    }

    #[test]
    fn odd_device_rules_are_refused() {
        for text in [
            "",
            "c 1:3",
            "x 1:3 rwm",
            "c 1 rwm",
            "c a:3 r",
            "c 1:3 q",
            "c 1:3 r w",
        ] {
            assert!(parse_device_rule(text).is_err(), "{text}");
        }
    }
}
