//! Limits in the files of cgroup v2. See `Documentation/admin-guide/cgroup-v2.rst`.
//!
//! The specification speaks v1: its values are converted as runc converts them. What v2 has no counterpart for is refused by name.

use gantry_base::{Context, Error, Result};
use gantry_oci::runtime::{BlockIo, Cpu, Memory, Resources, ThrottleDevice};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir::{Dir, is};
use super::{Cgroup, Hierarchy};

/// The kernel's default period.
const PERIOD_US: u64 = 100_000;

/// Makes the controllers of the hierarchy's root available in a cgroup, as far as its ancestors let us.
pub(super) fn enable_controllers(hierarchy: &Hierarchy, path: &str) -> Result<()> {
    let available = Dir::new(hierarchy, path).read("cgroup.controllers")?;
    let has = |name: &String| available.split_whitespace().any(|one| one == name);
    let missing: Vec<&String> = hierarchy
        .controllers
        .iter()
        .filter(|name| !has(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let request = missing
        .iter()
        .map(|name| format!("+{name}"))
        .collect::<Vec<_>>();
    let ends = path.match_indices('/').map(|(end, _)| end);
    for ancestor in std::iter::once("").chain(ends.map(|end| &path[..end])) {
        let dir = Dir::new(hierarchy, ancestor);
        if dir
            .try_write("cgroup.subtree_control", &request.join(" "))
            .is_err()
        {
            // One that cannot be had must not keep the others away. A limit that needs it will say so.
            for one in &request {
                let _ = dir.try_write("cgroup.subtree_control", one);
            }
        }
    }
    // A cgroup below one with processes cannot take any.
    let kind = Dir::new(hierarchy, path)
        .try_read("cgroup.type")
        .unwrap_or_default();
    if kind.trim() == "domain invalid" {
        let shown = Dir::new(hierarchy, path).shown("");
        return Err(Error::invalid(format!(
            "cannot enter cgroupv2 \"{shown}\" with domain controllers -- it is in an invalid state"
        )));
    }
    Ok(())
}

pub(super) fn memory(dir: &Dir<'_>, memory: &Memory) -> Result<()> {
    refuse(&[
        (memory.swappiness.is_some(), "memory swappiness"),
        (
            memory.disable_oom_killer == Some(true),
            "disabling the OOM killer",
        ),
        (
            memory.kernel_tcp.is_some_and(|limit| limit != 0),
            "a limit of kernel TCP memory",
        ),
        (
            memory.use_hierarchy == Some(false),
            "memory without hierarchy",
        ),
    ])?;
    let limit = memory.limit.unwrap_or(0);
    if memory.check_before_update == Some(true) && limit > 0 {
        let usage = dir.read_number("memory.current")?;
        if usage > limit.unsigned_abs() {
            return Err(Error::invalid(format!(
                "unable to set memory limit to {limit} (current usage: {usage})"
            )));
        }
    }
    if let Some(swap) = swap_max(memory.swap.unwrap_or(0), limit)? {
        match dir.try_write("memory.swap.max", &swap) {
            // Without swap accounting there is nothing to forbid or to unlimit.
            Err(error) if is(&error, Errno::NOENT) && (swap == "0" || swap == "max") => {}
            Err(error) => return Err(dir.write_error("memory.swap.max", &swap, error)),
            Ok(()) => {}
        }
    }
    for (file, value) in [
        ("memory.max", limit),
        ("memory.low", memory.reservation.unwrap_or(0)),
    ] {
        match value {
            0 => {}
            -1 => dir.write(file, "max")?,
            value => dir.write(file, value)?,
        }
    }
    Ok(())
}

/// The specification's swap is the sum of memory and swap; v2's is swap alone.
fn swap_max(sum: i64, memory: i64) -> Result<Option<String>> {
    match (sum, memory) {
        (0, -1) | (-1, _) => Ok(Some("max".to_owned())),
        (0, _) => Ok(None),
        (sum, -1) => Ok(Some(sum.to_string())),
        (_, 0) => Err(Error::invalid(
            "unable to set swap limit without memory limit",
        )),
        (_, memory) if memory < 0 => Err(Error::invalid(format!("invalid memory value: {memory}"))),
        (sum, memory) if sum < memory => Err(Error::invalid(
            "memory+swap limit should be >= memory limit",
        )),
        (sum, memory) => Ok(Some((sum - memory).to_string())),
    }
}

pub(super) fn cpu(dir: &Dir<'_>, cpu: &Cpu) -> Result<()> {
    let set = |value: u64| value != 0;
    refuse(&[
        (cpu.realtime_period.is_some_and(set), "cpu real-time period"),
        (
            cpu.realtime_runtime.is_some_and(|runtime| runtime != 0),
            "cpu real-time runtime",
        ),
    ])?;
    if let Some(idle) = cpu.idle {
        dir.write("cpu.idle", idle)?;
    }
    if let Some(shares) = cpu.shares.filter(|shares| set(*shares)) {
        dir.write("cpu.weight", weight(shares))?;
    }
    let quota = cpu.quota.filter(|quota| *quota != 0);
    let mut burst_again = None;
    if let Some(burst) = cpu.burst {
        match dir.try_write("cpu.max.burst", &burst.to_string()) {
            // More than the old quota, perhaps not more than the new one.
            Err(error) if is(&error, Errno::INVAL) && quota.is_some() => burst_again = Some(burst),
            Err(error) => return Err(dir.write_error("cpu.max.burst", &burst.to_string(), error)),
            Ok(()) => {}
        }
    }
    let period = cpu.period.filter(|period| set(*period));
    if quota.is_some() || period.is_some() {
        let quota = quota
            .filter(|quota| *quota > 0)
            .map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        dir.write(
            "cpu.max",
            format!("{quota} {}", period.unwrap_or(PERIOD_US)),
        )?;
    }
    burst_again.map_or(Ok(()), |burst| dir.write("cpu.max.burst", burst))
}

/// From v1's shares (2 to 262144, default 1024) to v2's weight (1 to 10000, default 100).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        // A parabola through minimum, default and maximum, on a logarithmic scale.
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

pub(super) fn cpuset(dir: &Dir<'_>, cpu: &Cpu) -> Result<()> {
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !list.is_empty() {
            dir.write(file, list)?;
        }
    }
    Ok(())
}

pub(super) fn block_io(dir: &Dir<'_>, block_io: &BlockIo) -> Result<()> {
    let leaf = |weight: Option<u16>| weight.is_some_and(|weight| weight != 0);
    refuse(&[(
        leaf(block_io.leaf_weight)
            || block_io
                .weight_device
                .iter()
                .any(|device| leaf(device.leaf_weight)),
        "block I/O leaf weight",
    )])?;
    let weight_devices: Vec<_> = block_io
        .weight_device
        .iter()
        .filter_map(|device| Some((device, device.weight.filter(|weight| *weight != 0)?)))
        .collect();
    let weight = block_io.weight.filter(|weight| *weight != 0);
    if weight.is_some() || !weight_devices.is_empty() {
        let bfq = dir.exists("io.bfq.weight");
        let file = if bfq { "io.bfq.weight" } else { "io.weight" };
        let convert = |weight: u16| {
            if bfq {
                u64::from(weight)
            } else {
                1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
            }
        };
        if let Some(weight) = weight {
            dir.write(file, convert(weight))?;
        }
        for (device, weight) in weight_devices {
            dir.write(
                file,
                format!("{}:{} {}", device.major, device.minor, convert(weight)),
            )?;
        }
    }
    for (key, devices) in [
        ("rbps", &block_io.throttle_read_bps_device),
        ("wbps", &block_io.throttle_write_bps_device),
        ("riops", &block_io.throttle_read_iops_device),
        ("wiops", &block_io.throttle_write_iops_device),
    ] {
        let line = |device: &ThrottleDevice| {
            let rate = if device.rate == 0 {
                "max".to_owned()
            } else {
                device.rate.to_string()
            };
            format!("{}:{} {key}={rate}", device.major, device.minor)
        };
        dir.write_each("io.max", &devices.iter().map(line).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// `linux.resources.unified`: file names and contents, line by line.
pub(super) fn raw(cgroup: &Cgroup, resources: &Resources) -> Result<()> {
    let dir = cgroup
        .unified_dir()
        .ok_or_else(|| Error::internal("no cgroup v2 directory"))?;
    for (file, content) in &resources.unified {
        if file.contains('/') {
            return Err(Error::invalid(format!(
                "unified resource \"{file}\" must be a file name (no slashes)"
            )));
        }
        if let Err(error) = dir.open(file, OFlags::WRONLY)
            && (is(&error, Errno::NOENT) || is(&error, Errno::ACCESS) || is(&error, Errno::PERM))
        {
            let Some((controller, _)) = file.split_once('.') else {
                return Err(Error::invalid(format!(
                    "unified resource \"{file}\" must be in the form CONTROLLER.PARAMETER"
                )));
            };
            let available = dir.read("cgroup.controllers")?;
            if controller != "cgroup" && !available.split_whitespace().any(|one| one == controller)
            {
                return Err(Error::invalid(format!(
                    "unified resource \"{file}\" can't be set: controller \"{controller}\" not available"
                )));
            }
        }
        let lines: Vec<String> = content.lines().map(str::to_owned).collect();
        dir.write_each(file, &lines)
            .with_context(|| format!("unable to set unified resource \"{file}\""))?;
    }
    Ok(())
}

fn refuse(options: &[(bool, &str)]) -> Result<()> {
    match options.iter().find(|(asked, _)| *asked) {
        Some((_, option)) => Err(Error::not_implemented(format!(
            "{option} is not supported by cgroup v2"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_v1_become_those_of_v2() {
        for (shares, expected) in [
            (1, 1),
            (2, 1),
            (1024, 100),
            (512, 59),
            (262_144, 10_000),
            (1 << 40, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares} shares");
        }
        let swap = |sum, memory| swap_max(sum, memory).map_err(|error| error.to_string());
        assert_eq!(swap(0, -1), Ok(Some("max".to_owned())));
        assert_eq!(swap(-1, 100), Ok(Some("max".to_owned())));
        assert_eq!(swap(0, 100), Ok(None));
        assert_eq!(swap(300, 100), Ok(Some("200".to_owned())));
        assert_eq!(swap(100, 100), Ok(Some("0".to_owned())));
        assert_eq!(swap(100, -1), Ok(Some("100".to_owned())));
        assert_eq!(
            swap(100, 0),
            Err("unable to set swap limit without memory limit".to_owned())
        );
        assert_eq!(
            swap(100, 200),
            Err("memory+swap limit should be >= memory limit".to_owned())
        );
    }
}
