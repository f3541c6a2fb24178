//! `update`: changes the limits of a container.

use gantry_oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources};
use gantry_runtime::{Error, Result};
use std::io::Read;
use std::path::Path;

use super::Context;
use super::flags::{Flag, Matches, value};
use super::store::{Status, at};

pub(super) static FLAGS: [Flag; 18] = [
    value(
        &["resources", "r"],
        "file with an OCI resources document, '-' for stdin; other flags are ignored then",
    ),
    value(&["blkio-weight"], "block I/O weight, 10 to 1000"),
    value(&["cpu-period"], "CFS period in microseconds"),
    value(&["cpu-quota"], "CFS quota in microseconds"),
    value(&["cpu-burst"], "CFS burst in microseconds"),
    value(&["cpu-share"], "relative CPU weight"),
    value(&["cpu-rt-period"], "real-time period in microseconds"),
    value(&["cpu-rt-runtime"], "real-time runtime in microseconds"),
    value(&["cpuset-cpus"], "CPUs to use"),
    value(&["cpuset-mems"], "memory nodes to use"),
    value(&["cpu-idle"], "1 for SCHED_IDLE"),
    value(&["memory"], "memory limit in bytes"),
    value(&["memory-reservation"], "soft memory limit in bytes"),
    value(
        &["memory-swap"],
        "memory and swap in bytes, -1 for unlimited",
    ),
    value(&["kernel-memory"], "ignored: obsolete"),
    value(
        &["kernel-memory-tcp"],
        "kernel memory for TCP buffers in bytes",
    ),
    value(&["pids-limit"], "most processes"),
    value(&["l3-cache-schema"], "not supported"),
];

pub(super) fn update(context: &Context, matches: &Matches) -> Result<i32> {
    let mut container = context.store.open(&matches.arguments[0])?;
    let resources = match matches.value("resources") {
        Some(path) => read(path)?,
        None => of_flags(matches)?,
    };
    if container.status() == Status::Stopped {
        return Err(Error::invalid("container not running"));
    }
    container.cgroup().apply(&resources)?;
    remember(
        container
            .record
            .spec
            .linux
            .get_or_insert_default()
            .resources
            .get_or_insert_default(),
        resources,
    );
    container.save()?;
    Ok(0)
}

fn read(path: &str) -> Result<Resources> {
    let mut text = Vec::new();
    if path == "-" {
        std::io::stdin()
            .lock()
            .take(1 << 20)
            .read_to_end(&mut text)?;
    } else {
        text = std::fs::read(path).map_err(|error| at(Path::new(path), error))?;
    }
    serde_json::from_slice(&text)
        .map_err(|error| Error::invalid(format!("cannot parse the resources: {error}")))
}

fn of_flags(matches: &Matches) -> Result<Resources> {
    if matches.value("l3-cache-schema").is_some() {
        return Err(Error::unsupported("l3-cache-schema is not supported"));
    }
    let memory = Memory {
        limit: bytes(matches, "memory")?,
        reservation: bytes(matches, "memory-reservation")?,
        swap: bytes(matches, "memory-swap")?,
        kernel_tcp: bytes(matches, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: matches.number("cpu-share")?,
        quota: matches.number("cpu-quota")?,
        burst: matches.number("cpu-burst")?,
        period: matches.number("cpu-period")?,
        realtime_runtime: matches.number("cpu-rt-runtime")?,
        realtime_period: matches.number("cpu-rt-period")?,
        cpus: matches.value("cpuset-cpus").unwrap_or_default().to_owned(),
        mems: matches.value("cpuset-mems").unwrap_or_default().to_owned(),
        idle: matches.number("cpu-idle")?,
    };
    let block_io = BlockIo {
        weight: matches.number("blkio-weight")?,
        ..BlockIo::default()
    };
    Ok(Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: matches.number("pids-limit")?.map(|limit| Pids { limit }),
        block_io: (block_io != BlockIo::default()).then_some(block_io),
        ..Resources::default()
    })
}

/// A number of bytes, perhaps with a unit: `64m`, `1GiB`, `-1`.
fn bytes(matches: &Matches, name: &str) -> Result<Option<i64>> {
    matches
        .value(name)
        .map(|text| {
            parse_bytes(text)
                .ok_or_else(|| Error::invalid(format!("invalid value for {name}: {text:?}")))
        })
        .transpose()
}

fn parse_bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..]
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits
        .parse::<i64>()
        .ok()
        .filter(|number| *number >= 0)?
        .checked_mul(1 << shift)
}

/// Takes over what was changed, so that the next command knows it.
fn remember(old: &mut Resources, new: Resources) {
    if let Some(memory) = new.memory {
        let place = old.memory.get_or_insert_default();
        place.limit = memory.limit.or(place.limit);
        place.reservation = memory.reservation.or(place.reservation);
        place.swap = memory.swap.or(place.swap);
    }
    if let Some(cpu) = new.cpu {
        let place = old.cpu.get_or_insert_default();
        place.shares = cpu.shares.or(place.shares);
        place.quota = cpu.quota.or(place.quota);
        place.period = cpu.period.or(place.period);
        if !cpu.cpus.is_empty() {
            place.cpus = cpu.cpus;
        }
        if !cpu.mems.is_empty() {
            place.mems = cpu.mems;
        }
    }
    old.pids = new.pids.or(old.pids.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, number) in [
            ("64m", 64 << 20),
            ("1GiB", 1 << 30),
            ("4096", 4096),
            ("-1", -1),
            ("2kb", 2048),
            ("0", 0),
        ] {
            assert_eq!(parse_bytes(text), Some(number), "{text}");
        }
        for bad in ["", "m", "-5", "1x", "9999999999g"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
