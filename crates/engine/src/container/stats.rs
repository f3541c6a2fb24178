//! What a container uses at one moment: counters of its cgroup and network, read anew each time.

use super::Containers;
use super::command::Command;
use super::view::ContainerView;
use crate::clock::now_ns;
use gantry_base::Result;
use std::collections::{BTreeMap, HashMap};

/// Counters of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Nanoseconds since the epoch.
    pub read_ns: i64,
    /// Files of the cgroup by name, as the kernel gives them.
    pub files: HashMap<String, String>,
    /// By interface; none with the host's network.
    pub interfaces: BTreeMap<String, InterfaceCounters>,
    /// Nanoseconds that all processors of the host worked or idled.
    pub system_cpu_ns: u64,
    /// Processors of the host.
    pub processors: usize,
    /// Bytes of the host's memory.
    pub host_memory_bytes: u64,
}

/// Counters of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Bytes, packets, errors and drops that came in.
    pub received: [u64; 4],
    /// The same that went out.
    pub sent: [u64; 4],
}

impl Sample {
    /// A file that holds one number.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.files.get(file)?.trim().parse().ok()
    }

    /// The number behind a word in a file of such lines.
    pub fn member(&self, file: &str, key: &str) -> Option<u64> {
        let mut lines = self.files.get(file)?.lines();
        lines.find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == key).then(|| value.trim().parse().ok())?
        })
    }
}

impl Containers {
    /// Reads the counters; none of a container that does not run.
    ///
    /// # Errors
    /// `No such container`
    pub async fn sample(&self, view: &ContainerView) -> Result<Option<Sample>> {
        if view.state.pid == 0 {
            return Ok(None);
        }
        let Ok(files) = self.ask(view.id.as_str(), Command::Stats).await else {
            // It ended meanwhile.
            return Ok(None);
        };
        let pid = view.state.pid;
        let is_own = view.config.network.mode != "host";
        let host = &self.shared.host;
        let (processors, host_memory_bytes) = (host.processors, host.memory_bytes);
        let read = tokio::task::spawn_blocking(move || {
            let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let network = is_own.then(|| text(&format!("/proc/{pid}/net/dev")));
            (
                interfaces(&network.unwrap_or_default()),
                system_cpu_ns(&text("/proc/stat")),
            )
        });
        let (interfaces, system_cpu_ns) = read.await.unwrap_or_default();
        Ok(Some(Sample {
            read_ns: now_ns(),
            files: files.into_iter().collect(),
            interfaces,
            system_cpu_ns,
            processors,
            host_memory_bytes,
        }))
    }
}

/// See proc_pid_net(5): eight columns of what came in, eight of what went out.
fn interfaces(text: &str) -> BTreeMap<String, InterfaceCounters> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers
            .split_ascii_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let counters = InterfaceCounters {
            received: numbers.get(..4)?.try_into().ok()?,
            sent: numbers.get(8..12)?.try_into().ok()?,
        };
        (name.trim() != "lo").then(|| (name.trim().to_owned(), counters))
    };
    text.lines().filter_map(line).collect()
}

/// The first eight columns of the line of all processors, in ticks of ten milliseconds; see proc_stat(5).
fn system_cpu_ns(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = line.unwrap_or_default().split_ascii_whitespace().take(8);
    let ticks: u64 = ticks.filter_map(|tick| tick.parse::<u64>().ok()).sum();
    ticks.saturating_mul(10_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_kernels_texts() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                    eth0: 646 5 1 2 0 0 0 0 84 2 3 4 0 0 0 0\n";
        let found = interfaces(text);
        let expected = InterfaceCounters {
            received: [646, 5, 1, 2],
            sent: [84, 2, 3, 4],
        };
        assert_eq!(found, BTreeMap::from([("eth0".to_owned(), expected)]));
        assert_eq!(
            system_cpu_ns("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1\n"),
            360_000_000
        );
        let sample = Sample {
            files: HashMap::from([("memory.stat".into(), "cache 1\nrss 20\n".into())]),
            ..Sample::default()
        };
        assert_eq!(sample.member("memory.stat", "rss"), Some(20));
    }
}
