//! Facts of the host, probed once at boot. Nobody else asks what the kernel can do.

use gantry_base::{Error, Result};
use std::path::Path;

/// What this machine is and can do.
#[derive(Debug, Clone)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// `uname -r`
    pub kernel: String,
    /// Kernel version as numbers, for conditions of seccomp profiles.
    pub kernel_version: (u32, u32),
    /// `PRETTY_NAME` of os-release.
    pub operating_system: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// `uname -m`
    pub machine: String,
    /// Online processors.
    pub processors: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// `1` (also for hybrid layouts) or `2`.
    pub cgroup_version: u8,
    /// Names of usable controllers.
    pub cgroup_controllers: Vec<String>,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether shares of block I/O can be given, as dockerd looks for it.
    pub block_io_weight: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Capabilities that this daemon can give: its own bounding set.
    pub capabilities: Vec<&'static str>,
    /// Whether time namespaces exist.
    pub time_namespaces: bool,
    /// The kernel's id of this boot.
    pub boot_id: String,
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

impl Host {
    /// Reads everything from `/proc`, `/sys` and `/etc/os-release`. What cannot be read counts as absent.
    pub fn probe() -> Self {
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        let release = text("/etc/os-release");
        let value = |key: &str| {
            release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(|value| value.trim_matches('"').to_owned())
                .unwrap_or_default()
        };
        let memory_kib = text("/proc/meminfo").lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        let (cgroup_version, cgroup_controllers) = probe_cgroups();
        let swap_limit = if cgroup_version == 2 {
            // The root has no memory.swap.max; a child has, if swap accounting is on.
            cgroup_controllers.iter().any(|name| name == "memory")
        } else {
            Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
        };
        Self {
            name: uname.nodename().to_string_lossy().into_owned(),
            kernel_version: parse_kernel_version(&kernel),
            kernel,
            operating_system: Some(value("PRETTY_NAME"))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "Linux".into()),
            os_version: value("VERSION_ID"),
            machine: uname.machine().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory_kib.unwrap_or(0) * 1024,
            cgroup_version,
            cgroup_controllers,
            swap_limit,
            block_io_weight: cgroup_version == 2
                || Path::new("/sys/fs/cgroup/blkio/blkio.weight").exists(),
            apparmor: text("/sys/module/apparmor/parameters/enabled") == "Y",
            capabilities: bounding_set(&text("/proc/self/status")),
            time_namespaces: Path::new("/proc/self/ns/time").exists(),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// Whether a controller is there to be used.
    pub fn has_controller(&self, name: &str) -> bool {
        self.cgroup_controllers
            .iter()
            .any(|controller| controller == name)
    }
}

/// Fails where containers cannot be made at all.
pub(crate) fn require() -> Result<()> {
    if gantry_sys::mount::is_supported() {
        return Ok(());
    }
    Err(Error::not_implemented(
        "this kernel is too old, or a sandbox hides its system calls: Linux 5.12 or newer is needed, for mount_setattr",
    ))
}

fn bounding_set(status: &str) -> Vec<&'static str> {
    let mask = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    let mask = mask.unwrap_or(u64::MAX);
    (0..64)
        .filter(|number| mask >> number & 1 == 1)
        .filter_map(gantry_oci::capability::name)
        .collect()
}

fn parse_kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The version of the hierarchy that holds the memory controller, and every controller.
fn probe_cgroups() -> (u8, Vec<String>) {
    let mountinfo = text("/proc/self/mountinfo");
    let mut v1 = Vec::new();
    for line in mountinfo.lines() {
        let Some((_, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = after.split(' ');
        if fields.next() == Some("cgroup") {
            let options = fields.nth(1).unwrap_or_default();
            let known = [
                "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
                "hugetlb", "net_cls", "net_prio", "rdma", "misc",
            ];
            v1.extend(
                options
                    .split(',')
                    .filter(|option| known.contains(option))
                    .map(str::to_owned),
            );
        }
    }
    if !v1.is_empty() {
        return (1, v1);
    }
    let unified = text("/sys/fs/cgroup/cgroup.controllers");
    (2, unified.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read_from_every_form() {
        assert_eq!(parse_kernel_version("6.18.44-fc-v595"), (6, 18));
        assert_eq!(parse_kernel_version("5.4"), (5, 4));
        assert_eq!(parse_kernel_version("odd"), (0, 0));
    }

    #[test]
    fn only_what_the_bounding_set_holds_can_be_given() {
        assert_eq!(
            bounding_set("Name:\tx\nCapBnd:\t0000000000000003\n"),
            ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]
        );
    }

    #[test]
    fn this_machine_has_processors_memory_and_a_boot() {
        let host = Host::probe();
        assert!(host.processors > 0 && host.memory_bytes > 0 && host.boot_id.len() == 36);
        assert!(matches!(host.cgroup_version, 1 | 2));
    }
}
