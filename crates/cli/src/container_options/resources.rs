//! Limits and devices of a container.

use super::{device, each, limit};
use crate::flag::{Given, parse_integer};
use gantry_api::types::{DeviceRequest, HostConfig};

/// Fills the part of `host` that Docker calls resources.
pub(super) fn apply(given: &Given, host: &mut HostConfig) -> Result<(), String> {
    memory(given, host)?;
    cpu(given, host)?;
    block_io(given, host)?;
    host.ulimits = Some(limit::parse_ulimits(given.list("ulimit"))?);
    given
        .text("cgroup-parent")
        .clone_into(&mut host.cgroup_parent);
    devices(given, host)
}

fn bytes(given: &Given, name: &str) -> Result<i64, String> {
    if given.is_given(name) {
        limit::parse_bytes(given.text(name))
    } else {
        Ok(0)
    }
}

fn memory(given: &Given, host: &mut HostConfig) -> Result<(), String> {
    let bytes = |name| bytes(given, name);
    let swappiness = given.integer_or("memory-swappiness", -1);
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        ));
    }
    if given.is_given("kernel-memory") && bytes("kernel-memory")? != 0 {
        return Err(
            "--kernel-memory: the kernel memory limit is no longer supported by any kernel".into(),
        );
    }
    host.shm_size = bytes("shm-size")?;
    host.memory = bytes("memory")?;
    host.memory_reservation = bytes("memory-reservation")?;
    if given.is_given("memory-swap") {
        host.memory_swap = limit::parse_swap_bytes(given.text("memory-swap"))?;
    }
    host.memory_swappiness = Some(swappiness);
    host.oom_kill_disable = Some(given.bool("oom-kill-disable"));
    host.pids_limit = Some(given.integer("pids-limit"));
    Ok(())
}

fn cpu(given: &Given, host: &mut HostConfig) -> Result<(), String> {
    if given.is_given("cpus") {
        host.nano_cpus = limit::parse_nano_cpus(given.text("cpus"))?;
    }
    host.cpu_count = given.integer("cpu-count");
    host.cpu_percent = given.integer("cpu-percent");
    host.cpu_shares = given.integer("cpu-shares");
    host.cpu_period = given.integer("cpu-period");
    host.cpu_quota = given.integer("cpu-quota");
    host.cpu_realtime_period = given.integer("cpu-rt-period");
    host.cpu_realtime_runtime = given.integer("cpu-rt-runtime");
    given.text("cpuset-cpus").clone_into(&mut host.cpuset_cpus);
    given.text("cpuset-mems").clone_into(&mut host.cpuset_mems);
    Ok(())
}

fn block_io(given: &Given, host: &mut HostConfig) -> Result<(), String> {
    host.blkio_weight = parse_integer(given.text("blkio-weight"))
        .and_then(|weight| u16::try_from(weight).ok())
        .unwrap_or(0);
    host.blkio_weight_device = Some(each(
        given.list("blkio-weight-device"),
        device::parse_weight,
    )?);
    host.blkio_device_read_bps = Some(each(given.list("device-read-bps"), device::parse_rate)?);
    host.blkio_device_write_bps = Some(each(given.list("device-write-bps"), device::parse_rate)?);
    host.blkio_device_read_iops = Some(each(
        given.list("device-read-iops"),
        device::parse_operations,
    )?);
    host.blkio_device_write_iops = Some(each(
        given.list("device-write-iops"),
        device::parse_operations,
    )?);
    host.io_maximum_iops = given.text("io-maxiops").parse().unwrap_or(0);
    host.io_maximum_bandwidth = u64::try_from(bytes(given, "io-maxbandwidth")?).unwrap_or(0);
    Ok(())
}

fn devices(given: &Given, host: &mut HostConfig) -> Result<(), String> {
    let rules = given.list("device-cgroup-rule");
    host.device_cgroup_rules = (!rules.is_empty()).then(|| rules.to_vec());
    let (mappings, names) = device::parse_devices(given.list("device"))?;
    host.devices = Some(mappings);
    let mut requests = each(given.list("gpus"), device::parse_gpus)?;
    if !names.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".into(),
            device_ids: Some(names),
            ..DeviceRequest::default()
        });
    }
    host.device_requests = (!requests.is_empty()).then_some(requests);
    Ok(())
}
