//! `GET /containers/{}/stats`: a sample a second, one of two moments, or one of this moment.

use super::super::State;
use crate::body::Body;
use crate::request::Request;
use crate::response::{self, JSON, Response};
use crate::time;
use gantry_api::types::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats,
    StatsResponse, ThrottlingData,
};
use gantry_base::{Error, Result};
use gantry_engine::container::stats::Sample;
use gantry_engine::container::view::ContainerView;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn stats(state: State, request: Request) -> Result<Response> {
    let stream = request.query.flag_or("stream", true);
    let one_shot = request.query.flag("one-shot");
    if stream && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let view = state.engine.containers.get(super::reference(&request)?)?;
    let containers = state.engine.containers.clone();
    if !stream {
        let mut first = None;
        if !one_shot {
            first = containers.sample(&view).await?;
        }
        if first.is_some() {
            tokio::time::sleep(INTERVAL).await;
        }
        let now = containers.sample(&view).await?;
        let mut answer = wire(&view, now.as_ref(), first.as_ref());
        if one_shot {
            (answer.name, answer.id) = Default::default();
        }
        return Ok(response::ok(&answer));
    }
    let reference = view.id.to_string();
    let body = Body::driven(move |pieces| async move {
        let mut before = None;
        // Until the container is removed, or the client goes away.
        while let Ok(view) = containers.get(&reference) {
            let Ok(now) = containers.sample(&view).await else {
                return;
            };
            let answer = wire(&view, now.as_ref(), before.as_ref());
            let mut line = serde_json::to_vec(&answer).unwrap_or_default();
            line.push(b'\n');
            if pieces.send(Ok(line.into())).await.is_err() {
                return;
            }
            before = now;
            tokio::time::sleep(INTERVAL).await;
        }
    });
    Ok(response::stream(JSON, body))
}

fn wire(view: &ContainerView, now: Option<&Sample>, before: Option<&Sample>) -> StatsResponse {
    let read = |sample: Option<&Sample>| time::rfc3339_or_never(sample.map(|s| s.read_ns));
    let base = StatsResponse {
        name: format!("/{}", view.name),
        id: view.id.to_string(),
        read: read(now),
        preread: read(before),
        ..StatsResponse::default()
    };
    let Some(now) = now else { return base };
    StatsResponse {
        pids_stats: PidsStats {
            current: now.number("pids.current"),
            limit: now.number("pids.max"),
        },
        blkio_stats: blkio(now),
        cpu_stats: cpu(now),
        precpu_stats: before.map(cpu).unwrap_or_default(),
        memory_stats: memory(now),
        networks: networks(now),
        ..base
    }
}

fn cpu(sample: &Sample) -> CpuStats {
    let member = |key: &str| sample.member("cpu.stat", key);
    let micro = |key: &str| member(key).map(|time| time * 1000);
    // The hierarchies of version 1 count user and system time in ticks of ten milliseconds.
    let tick = |key: &str| {
        sample
            .member("cpuacct.stat", key)
            .map(|time| time * 10_000_000)
    };
    let each = sample.files.get("cpuacct.usage_percpu");
    let each = each.map_or("", String::as_str).split_ascii_whitespace();
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: micro("usage_usec")
                .or(sample.number("cpuacct.usage"))
                .unwrap_or(0),
            percpu_usage: each.filter_map(|time| time.parse().ok()).collect(),
            usage_in_kernelmode: micro("system_usec").or(tick("system")).unwrap_or(0),
            usage_in_usermode: micro("user_usec").or(tick("user")).unwrap_or(0),
        },
        system_cpu_usage: Some(sample.system_cpu_ns),
        online_cpus: u64::try_from(sample.processors).ok(),
        throttling_data: ThrottlingData {
            periods: member("nr_periods").unwrap_or(0),
            throttled_periods: member("nr_throttled").unwrap_or(0),
            throttled_time: member("throttled_time")
                .or(micro("throttled_usec"))
                .unwrap_or(0),
        },
    }
}

fn memory(sample: &Sample) -> MemoryStats {
    let number = |v1: &str, v2: &str| sample.number(v1).or(sample.number(v2));
    let limit = number("memory.limit_in_bytes", "memory.max");
    let host = sample.host_memory_bytes;
    let lines = sample
        .files
        .get("memory.stat")
        .map_or("", String::as_str)
        .lines();
    let member = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    MemoryStats {
        usage: number("memory.usage_in_bytes", "memory.current"),
        max_usage: sample.number("memory.max_usage_in_bytes"),
        stats: lines.filter_map(member).collect(),
        failcnt: sample.number("memory.failcnt").unwrap_or(0),
        limit: Some(limit.filter(|&limit| limit < host).unwrap_or(host)),
    }
}

fn networks(sample: &Sample) -> Option<std::collections::BTreeMap<String, NetworkStats>> {
    let counters = sample.interfaces.iter().map(|(name, counters)| {
        let (
            [rx_bytes, rx_packets, rx_errors, rx_dropped],
            [tx_bytes, tx_packets, tx_errors, tx_dropped],
        ) = (counters.received, counters.sent);
        let stats = NetworkStats {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        (name.clone(), stats)
    });
    (!sample.interfaces.is_empty()).then(|| counters.collect())
}

fn blkio(sample: &Sample) -> BlkioStats {
    let text = |file: &str| sample.files.get(file).map_or("", String::as_str);
    let either = |kind: &str| {
        let bfq = legacy(text(&format!("blkio.bfq.{kind}_recursive")));
        if bfq.is_empty() {
            legacy(text(&format!("blkio.throttle.{kind}_recursive")))
        } else {
            bfq
        }
    };
    let bytes = match sample.files.get("io.stat") {
        Some(text) => unified(text),
        None => either("io_service_bytes"),
    };
    BlkioStats {
        io_service_bytes_recursive: Some(bytes),
        io_serviced_recursive: Some(either("io_serviced")),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

/// Lines as `8:0 Read 4096`.
fn legacy(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: words.next()?.to_owned(),
            value: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// Lines as `8:0 rbytes=4096 wbytes=0 …`.
fn unified(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for (key, op) in [("rbytes=", "read"), ("wbytes=", "write")] {
            let value = words
                .clone()
                .find_map(|word| word.strip_prefix(key)?.parse().ok());
            entries.extend(value.map(|value| BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value,
            }));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_is_read_in_both_forms() {
        let entry = |op: &str, value| BlkioEntry {
            major: 8,
            minor: 16,
            op: op.to_owned(),
            value,
        };
        assert_eq!(
            legacy("8:16 Read 4096\nTotal 4096\n"),
            [entry("Read", 4096)]
        );
        let text = "8:16 rbytes=1 wbytes=2 rios=3\n";
        assert_eq!(unified(text), [entry("read", 1), entry("write", 2)]);
    }
}
