//! Takes an OCI `linux.resources` document apart and gives each part to the hierarchy that has its controller.

use gantry_base::{Error, Result};
use gantry_oci::runtime::{BlockIo, Cpu, Memory, Resources};

use super::device;
use super::dir::Dir;
use super::{Cgroup, Layout, legacy, unified};

/// How limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The cgroup was made a moment ago: it has the kernel's defaults and no process.
    Creation,
    /// Processes may run in it; what the document leaves out stays.
    Update,
}

/// Sets every limit of the document; the order is runc's.
pub(super) fn set(cgroup: &Cgroup, resources: &Resources, occasion: Occasion) -> Result<()> {
    if cgroup.roots.ignore_limits {
        return Ok(());
    }
    if !resources.unified.is_empty() && cgroup.roots.layout() != Layout::Unified {
        return Err(Error::invalid(
            "invalid configuration: cannot use unified on cgroup v1",
        ));
    }
    if let Some(cpu) = resources.cpu.as_ref().filter(|cpu| wants_cpuset(cpu)) {
        let dir = cgroup.controller("cpuset")?;
        if dir.hierarchy.unified {
            unified::cpuset(&dir, cpu)?;
        } else {
            legacy::cpuset(&dir, cpu)?;
        }
    }
    device::set(cgroup, &resources.devices, occasion)?;
    if let Some(memory) = resources
        .memory
        .as_ref()
        .filter(|memory| wants_memory(memory))
    {
        let dir = cgroup.controller("memory")?;
        if dir.hierarchy.unified {
            unified::memory(&dir, memory)?;
        } else {
            legacy::memory(&dir, memory, occasion)?;
        }
    }
    if let Some(cpu) = resources.cpu.as_ref().filter(|cpu| wants_cpu(cpu)) {
        let dir = cgroup.controller("cpu")?;
        if dir.hierarchy.unified {
            unified::cpu(&dir, cpu)?;
        } else {
            legacy::cpu(&dir, cpu)?;
        }
    }
    // Docker and runc take 0 for "not set".
    if let Some(pids) = resources.pids.as_ref().filter(|pids| pids.limit != 0) {
        let limit = if pids.limit > 0 {
            pids.limit.to_string()
        } else {
            "max".to_owned()
        };
        cgroup.controller("pids")?.write("pids.max", limit)?;
    }
    if let Some(block_io) = resources
        .block_io
        .as_ref()
        .filter(|block_io| wants_block_io(block_io))
    {
        let dir = cgroup.controller("blkio")?;
        if dir.hierarchy.unified {
            unified::block_io(&dir, block_io)?;
        } else {
            legacy::block_io(&dir, block_io)?;
        }
    }
    set_rest(cgroup, resources)
}

fn set_rest(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    for limit in &resources.hugepage_limits {
        let dir = cgroup.controller("hugetlb")?;
        hugetlb(&dir, &limit.page_size, limit.limit)?;
    }
    for (device, limits) in &resources.rdma {
        let values = [
            ("hca_handle", limits.hca_handles),
            ("hca_object", limits.hca_objects),
        ];
        let values = values
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let line: Vec<String> = std::iter::once(device.clone()).chain(values).collect();
        cgroup
            .controller("rdma")?
            .write("rdma.max", line.join(" "))?;
    }
    if let Some(network) = &resources.network {
        legacy::network(cgroup, network)?;
    }
    if !resources.unified.is_empty() {
        unified::raw(cgroup, resources)?;
    }
    Ok(())
}

/// Page sizes are named as in the file names, as `2MB`; a limit also holds for reservations where the kernel counts those.
fn hugetlb(dir: &Dir<'_>, page_size: &str, limit: u64) -> Result<()> {
    if page_size.contains('/') {
        return Err(Error::invalid(format!(
            "invalid huge page size \"{page_size}\""
        )));
    }
    let suffix = if dir.hierarchy.unified {
        "max"
    } else {
        "limit_in_bytes"
    };
    dir.write(&format!("hugetlb.{page_size}.{suffix}"), limit)?;
    let reserved = format!("hugetlb.{page_size}.rsvd.{suffix}");
    match dir.try_write(&reserved, &limit.to_string()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(dir.write_error(&reserved, &limit.to_string(), error))
        }
        _ => Ok(()),
    }
}

/// Whether any limit is asked for; device rules do not count, since every container has some.
pub(super) fn wants_limits(resources: &Resources) -> bool {
    resources.memory.as_ref().is_some_and(wants_memory)
        || resources
            .cpu
            .as_ref()
            .is_some_and(|cpu| wants_cpu(cpu) || wants_cpuset(cpu))
        || resources.pids.as_ref().is_some_and(|pids| pids.limit != 0)
        || resources.block_io.as_ref().is_some_and(wants_block_io)
        || !resources.hugepage_limits.is_empty()
        || !resources.rdma.is_empty()
        || !resources.unified.is_empty()
        || resources.network.is_some()
}

fn wants_memory(memory: &Memory) -> bool {
    let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    set(memory.limit)
        || set(memory.swap)
        || set(memory.reservation)
        || set(memory.kernel_tcp)
        || memory.swappiness.is_some()
        || memory.disable_oom_killer == Some(true)
        || memory.use_hierarchy == Some(false)
}

fn wants_cpu(cpu: &Cpu) -> bool {
    cpu.shares.is_some_and(|shares| shares != 0)
        || cpu.quota.is_some_and(|quota| quota != 0)
        || cpu.period.is_some_and(|period| period != 0)
        || cpu.realtime_period.is_some_and(|period| period != 0)
        || cpu.realtime_runtime.is_some_and(|runtime| runtime != 0)
        || cpu.burst.is_some()
        || cpu.idle.is_some()
}

fn wants_cpuset(cpu: &Cpu) -> bool {
    !cpu.cpus.is_empty() || !cpu.mems.is_empty()
}

fn wants_block_io(block_io: &BlockIo) -> bool {
    *block_io != BlockIo::default()
}
