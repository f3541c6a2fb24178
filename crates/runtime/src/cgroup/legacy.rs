//! Limits in the files of cgroup v1. See `Documentation/admin-guide/cgroup-v1`.
//!
//! The order of writes matters where the kernel checks one limit against another; it is runc's.

use std::io;

use gantry_base::{Error, Result};
use gantry_oci::runtime::{BlockIo, Cpu, Memory, ThrottleDevice};
use rustix::io::Errno;
use serde::Deserialize;

use super::dir::{Dir, is};
use super::resources::Occasion;
use super::{Cgroup, Hierarchy};

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";

pub(super) fn memory(dir: &Dir<'_>, memory: &Memory, occasion: Occasion) -> Result<()> {
    let limit = memory.limit.unwrap_or(0);
    let mut swap = memory.swap.unwrap_or(0);
    // No limit on memory is none on the sum of memory and swap either.
    if limit == -1 && swap == 0 && dir.exists(SWAP_LIMIT) {
        swap = -1;
    }
    let set_limit = || {
        if limit == 0 {
            Ok(())
        } else {
            memory_limit(dir, limit)
        }
    };
    let set_swap = || {
        if swap == 0 {
            Ok(())
        } else {
            dir.write(SWAP_LIMIT, swap)
        }
    };
    // The sum may never be below memory alone, not even between the two writes.
    let both = limit != 0 && swap != 0 && occasion == Occasion::Update;
    if both && (swap == -1 || i128::from(dir.read_number(LIMIT)?) < i128::from(swap)) {
        set_swap()?;
        set_limit()?;
    } else {
        set_limit()?;
        set_swap()?;
    }
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    if let Some(reservation) = set(memory.reservation) {
        dir.write("memory.soft_limit_in_bytes", reservation)?;
    }
    if let Some(kernel_tcp) = set(memory.kernel_tcp) {
        dir.write("memory.kmem.tcp.limit_in_bytes", kernel_tcp)?;
    }
    if memory.use_hierarchy == Some(false) {
        dir.write("memory.use_hierarchy", 0)?;
    }
    if memory.disable_oom_killer == Some(true) {
        dir.write("memory.oom_control", 1)?;
    }
    match memory.swappiness {
        None => Ok(()),
        Some(value) if value <= 100 => dir.write("memory.swappiness", value),
        Some(value) => Err(Error::invalid(format!(
            "invalid memory swappiness value: {value} (valid range is 0-100)"
        ))),
    }
}

fn memory_limit(dir: &Dir<'_>, limit: i64) -> Result<()> {
    match dir.try_write(LIMIT, &limit.to_string()) {
        Ok(()) => Ok(()),
        Err(error) if is(&error, Errno::BUSY) => {
            let usage = dir.read_number("memory.usage_in_bytes")?;
            let peak = dir.read_number("memory.max_usage_in_bytes")?;
            Err(Error::invalid(format!(
                "unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"
            ))
            .with_source(error))
        }
        Err(error) => Err(dir.write_error(LIMIT, &limit.to_string(), error)),
    }
}

pub(super) fn cpu(dir: &Dir<'_>, cpu: &Cpu) -> Result<()> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        // The kernel moves other values silently into this range.
        match shares {
            0..2 => return Err(Error::invalid("the minimum allowed cpu-shares is 2")),
            262_145.. => return Err(Error::invalid("the maximum allowed cpu-shares is 262144")),
            _ => dir.write("cpu.shares", shares)?,
        }
    }
    let quota = cpu.quota.filter(|quota| *quota != 0);
    // With the old quota the new period or burst may be refused, where with the new quota it is not: those are tried again.
    let mut again: Vec<(&str, u64)> = Vec::new();
    for (file, value) in [
        (
            "cpu.cfs_period_us",
            cpu.period.filter(|period| *period != 0),
        ),
        ("cpu.cfs_burst_us", cpu.burst),
    ] {
        let Some(value) = value else { continue };
        match dir.try_write(file, &value.to_string()) {
            Err(error) if is(&error, Errno::INVAL) && quota.is_some() => again.push((file, value)),
            Err(error) => return Err(dir.write_error(file, &value.to_string(), error)),
            Ok(()) => {}
        }
    }
    if let Some(quota) = quota {
        dir.write("cpu.cfs_quota_us", quota)?;
    }
    again
        .into_iter()
        .try_for_each(|(file, value)| dir.write(file, value))?;
    if let Some(idle) = cpu.idle {
        dir.write("cpu.idle", idle)?;
    }
    realtime(dir, cpu)
}

/// Period and runtime are checked against each other too.
fn realtime(dir: &Dir<'_>, cpu: &Cpu) -> Result<()> {
    const PERIOD: &str = "cpu.rt_period_us";
    let runtime = cpu.realtime_runtime.filter(|runtime| *runtime != 0);
    let period = cpu.realtime_period.filter(|period| *period != 0);
    let mut again = None;
    if let Some(period) = period {
        match dir.try_write(PERIOD, &period.to_string()) {
            Err(error) if is(&error, Errno::INVAL) && runtime.is_some() => again = Some(period),
            Err(error) => return Err(dir.write_error(PERIOD, &period.to_string(), error)),
            Ok(()) => {}
        }
    }
    if let Some(runtime) = runtime {
        dir.write("cpu.rt_runtime_us", runtime)?;
    }
    again.map_or(Ok(()), |period| dir.write(PERIOD, period))
}

pub(super) fn cpuset(dir: &Dir<'_>, cpu: &Cpu) -> Result<()> {
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if list.is_empty() {
            continue;
        }
        match dir.try_write(file, list) {
            Ok(()) => {}
            // A parent that someone made and never gave any processors.
            Err(error) if is(&error, Errno::ACCESS) => {
                if let Some((parent, _)) = dir.path.rsplit_once('/') {
                    fill_cpuset(dir.hierarchy, parent)
                        .map_err(|error| dir.write_error(file, list, error))?;
                }
                dir.write(file, list)?;
            }
            Err(error) => return Err(dir.write_error(file, list, error)),
        }
    }
    Ok(())
}

/// Gives a cgroup and its ancestors what their parents have, where they have nothing: else no process may enter.
pub(super) fn fill_cpuset(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let dir = Dir::new(hierarchy, path);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !dir.try_read(file)?.trim().is_empty() {
            continue;
        }
        if !parent.is_empty() {
            fill_cpuset(hierarchy, parent)?;
        }
        dir.try_write(file, Dir::new(hierarchy, parent).try_read(file)?.trim())?;
    }
    Ok(())
}

pub(super) fn block_io(dir: &Dir<'_>, block_io: &BlockIo) -> Result<()> {
    let weights = block_io.weight.is_some()
        || block_io
            .weight_device
            .iter()
            .any(|device| device.weight.is_some());
    // The scheduler that is built in decides what the file is called.
    let prefix = if weights && !dir.exists("blkio.weight") {
        "blkio.bfq"
    } else {
        "blkio"
    };
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        dir.write(&format!("{prefix}.weight"), weight)?;
    }
    if let Some(weight) = block_io.leaf_weight.filter(|weight| *weight != 0) {
        dir.write("blkio.leaf_weight", weight)?;
    }
    for device in &block_io.weight_device {
        let (major, minor) = (device.major, device.minor);
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            dir.write(
                &format!("{prefix}.weight_device"),
                format!("{major}:{minor} {weight}"),
            )?;
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
            dir.write(
                "blkio.leaf_weight_device",
                format!("{major}:{minor} {weight}"),
            )?;
        }
    }
    let lines = |devices: &[ThrottleDevice]| {
        devices
            .iter()
            .map(|device| format!("{}:{} {}", device.major, device.minor, device.rate))
            .collect::<Vec<_>>()
    };
    dir.write_each(
        "blkio.throttle.read_bps_device",
        &lines(&block_io.throttle_read_bps_device),
    )?;
    dir.write_each(
        "blkio.throttle.write_bps_device",
        &lines(&block_io.throttle_write_bps_device),
    )?;
    dir.write_each(
        "blkio.throttle.read_iops_device",
        &lines(&block_io.throttle_read_iops_device),
    )?;
    dir.write_each(
        "blkio.throttle.write_iops_device",
        &lines(&block_io.throttle_write_iops_device),
    )
}

/// `linux.resources.network`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "classID")]
    class_id: Option<u32>,
    priorities: Vec<Priority>,
}

#[derive(Debug, Deserialize)]
struct Priority {
    name: String,
    priority: u32,
}

/// Only v1 has these controllers.
pub(super) fn network(cgroup: &Cgroup, document: &serde_json::Value) -> Result<()> {
    let network: Network = serde_json::from_value(document.clone()).map_err(|error| {
        Error::invalid(format!("linux.resources.network: {error}")).with_source(error)
    })?;
    if let Some(class_id) = network.class_id.filter(|id| *id != 0) {
        cgroup
            .controller("net_cls")?
            .write("net_cls.classid", class_id)?;
    }
    for Priority { name, priority } in &network.priorities {
        cgroup
            .controller("net_prio")?
            .write("net_prio.ifpriomap", format!("{name} {priority}"))?;
    }
    Ok(())
}
