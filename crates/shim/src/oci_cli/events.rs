//! `events`: statistics of a container, and a word when the kernel kills for want of memory.

use gantry_runtime::cgroup::Cgroup;
use gantry_runtime::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Value, json};

use super::Context;
use super::flags::Matches;
use super::store::Status;

pub(super) fn events(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    let interval = parse_interval(matches.value("interval").unwrap_or("5s"))?;
    if container.status() == Status::Stopped {
        return Err(Error::invalid(format!(
            "container with id {} is not running",
            container.record.id
        )));
    }
    let (id, cgroup) = (container.record.id.as_str(), container.cgroup());
    if matches.has("stats") {
        println!("{}", statistics(id, &cgroup));
        return Ok(0);
    }
    let init = container
        .init()
        .ok_or_else(|| Error::invalid("container not running"))?;
    let memory = cgroup.oom_events()?;
    let mut kills = cgroup.oom_kill_count()?;
    loop {
        let mut polled = vec![PollFd::new(&init, PollFlags::IN)];
        if let Some(memory) = &memory {
            polled.push(PollFd::from_borrowed_fd(
                memory.fd(),
                PollFlags::IN | PollFlags::PRI,
            ));
        }
        let count =
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&interval)))?;
        if !polled[0].revents().is_empty() {
            return Ok(0);
        }
        if count == 0 {
            println!("{}", statistics(id, &cgroup));
            continue;
        }
        if let Some(memory) = &memory {
            memory.drain()?;
        }
        let now = cgroup.oom_kill_count()?;
        if now > kills {
            println!("{}", json!({ "type": "oom", "id": id }));
        }
        kills = now;
    }
}

/// Go's form of a duration, whole units only: `500ms`, `5s`, `1m`.
fn parse_interval(text: &str) -> Result<Timespec> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match (&text[digits.len()..], digits.parse::<i64>()) {
        ("ms", Ok(number)) => Some(number),
        ("s", Ok(number)) => number.checked_mul(1000),
        ("m", Ok(number)) => number.checked_mul(60_000),
        _ => None,
    };
    match milliseconds {
        Some(number) if number > 0 => Ok(Timespec {
            tv_sec: number / 1000,
            tv_nsec: number % 1000 * 1_000_000,
        }),
        _ => Err(Error::invalid("duration interval must be greater than 0")),
    }
}

/// One line in the form of runc's.
fn statistics(id: &str, cgroup: &Cgroup) -> Value {
    let files = cgroup.stats();
    let find = |name: &str| {
        let matches = |other: &str| other == name || other.rsplit('/').next() == Some(name);
        files
            .iter()
            .find(|(other, _)| matches(other))
            .map(|(_, text)| text.trim())
    };
    let number = |name: &str| {
        find(name)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let member = |file: &str, key: &str| find(file).map_or(0, |text| keyed(text, key));
    let is_v2 = find("memory.current").is_some() || find("cgroup.controllers").is_some();
    let cpu = if is_v2 {
        json!({
            "usage": {
                "total": member("cpu.stat", "usage_usec") * 1000,
                "user": member("cpu.stat", "user_usec") * 1000,
                "kernel": member("cpu.stat", "system_usec") * 1000,
            },
            "throttling": throttling(find("cpu.stat").unwrap_or_default()),
        })
    } else {
        let each: Vec<u64> = find("cpuacct.usage_percpu")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .filter_map(|text| text.parse().ok())
            .collect();
        json!({
            "usage": {
                "total": number("cpuacct.usage"),
                "percpu": each,
                "user": member("cpuacct.stat", "user") * 10_000_000,
                "kernel": member("cpuacct.stat", "system") * 10_000_000,
            },
            "throttling": throttling(find("cpu.stat").unwrap_or_default()),
        })
    };
    let memory = if is_v2 {
        json!({
            "cache": member("memory.stat", "file"),
            "usage": { "usage": number("memory.current"), "limit": number("memory.max"), "failcnt": member("memory.events", "max") },
            "raw": raw(find("memory.stat").unwrap_or_default()),
        })
    } else {
        json!({
            "cache": member("memory.stat", "cache"),
            "usage": {
                "usage": number("memory.usage_in_bytes"),
                "max": number("memory.max_usage_in_bytes"),
                "limit": number("memory.limit_in_bytes"),
                "failcnt": number("memory.failcnt"),
            },
            "raw": raw(find("memory.stat").unwrap_or_default()),
        })
    };
    let pids = json!({ "current": number("pids.current"), "limit": number("pids.max") });
    json!({ "type": "stats", "id": id, "data": { "cpu": cpu, "memory": memory, "pids": pids } })
}

fn throttling(text: &str) -> Value {
    let time = if text.contains("throttled_usec") {
        keyed(text, "throttled_usec") * 1000
    } else {
        keyed(text, "throttled_time")
    };
    json!({ "periods": keyed(text, "nr_periods"), "throttledPeriods": keyed(text, "nr_throttled"), "throttledTime": time })
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn raw(text: &str) -> Value {
    let members = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| {
            Some((name.to_owned(), value.trim().parse::<u64>().ok()?.into()))
        });
    Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_counters() {
        assert_eq!(
            parse_interval("1500ms").expect("is valid"),
            Timespec {
                tv_sec: 1,
                tv_nsec: 500_000_000
            }
        );
        assert!(
            parse_interval("0s").is_err()
                && parse_interval("5").is_err()
                && parse_interval("-1s").is_err()
        );
        assert_eq!(keyed("a 1\nab 2\n", "ab"), 2);
        assert_eq!(raw("a 1\nb x\n"), json!({ "a": 1 }));
    }
}
