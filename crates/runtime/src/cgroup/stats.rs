//! Raw counters: files as the kernel gives them. Who asked for them parses them.

use super::{Cgroup, Layout};

/// Files of v1 by controller. Their names begin with the controller's, so none is ambiguous.
const LEGACY: [(&str, &[&str]); 6] = [
    (
        "cpuacct",
        &[
            "cpuacct.usage",
            "cpuacct.usage_percpu",
            "cpuacct.usage_user",
            "cpuacct.usage_sys",
            "cpuacct.stat",
        ],
    ),
    ("cpu", &["cpu.stat"]),
    (
        "memory",
        &[
            "memory.usage_in_bytes",
            "memory.max_usage_in_bytes",
            "memory.limit_in_bytes",
            "memory.failcnt",
            "memory.memsw.usage_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.kmem.usage_in_bytes",
            "memory.stat",
            "memory.oom_control",
        ],
    ),
    ("pids", &["pids.current", "pids.max"]),
    (
        "blkio",
        &[
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.bfq.io_serviced_recursive",
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_serviced_recursive",
        ],
    ),
    ("freezer", &["freezer.state"]),
];

/// Files of v2, by the controller that makes them; those of `cgroup` are always there.
const UNIFIED: [(&str, &[&str]); 5] = [
    (
        "cgroup",
        &[
            "cpu.stat",
            "cgroup.events",
            "cgroup.freeze",
            "cgroup.stat",
            "cpu.pressure",
            "memory.pressure",
            "io.pressure",
        ],
    ),
    (
        "memory",
        &[
            "memory.current",
            "memory.peak",
            "memory.max",
            "memory.high",
            "memory.swap.current",
            "memory.swap.max",
            "memory.events",
            "memory.stat",
        ],
    ),
    ("pids", &["pids.current", "pids.max"]),
    ("io", &["io.stat"]),
    ("cpu", &["cpu.max"]),
];

/// What can be read; a file that a kernel lacks is left out.
pub(super) fn read(cgroup: &Cgroup) -> Vec<(String, String)> {
    let mut stats = Vec::new();
    let mut add = |dir: &super::dir::Dir<'_>, files: &[&str]| {
        for file in files {
            if let Ok(content) = dir.try_read(file) {
                stats.push(((*file).to_owned(), content));
            }
        }
    };
    if cgroup.roots.layout() == Layout::Unified {
        if let Some(dir) = cgroup.unified_dir() {
            for (_, files) in UNIFIED {
                add(&dir, files);
            }
        }
        return stats;
    }
    for (controller, files) in LEGACY {
        if let Ok(dir) = cgroup.controller(controller) {
            add(&dir, files);
        }
    }
    stats
}
