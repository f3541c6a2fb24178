//! One of the two daemons that are compared: how to reach it, which processes are its own, and how much memory they hold.

use gantry_testkit::http::Client;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon and the command line that belongs to it.
pub(crate) struct Daemon {
    pub(super) label: String,
    pub(super) socket: PathBuf,
    /// The command line that its users use.
    pub(super) client: PathBuf,
}

impl Daemon {
    pub(super) fn connect(&self) -> Client {
        Client::new(&self.socket)
    }

    /// The name of one of the benchmark's containers.
    pub(super) fn container(&self, number: usize) -> String {
        format!("gantry-bench-{}-{number}", self.label.to_lowercase())
    }

    /// Name and version, for the report.
    pub(super) fn version(&self) -> Result<String, String> {
        let version = self.connect().json("GET", "/version", None)?;
        let text = |key: &str| version[key].as_str().unwrap_or("?").to_owned();
        Ok(format!(
            "{} {} (API {})",
            self.label,
            text("Version"),
            text("ApiVersion")
        ))
    }

    /// Runs a command line against this daemon and says how long it took, in milliseconds.
    pub(super) fn time_command(&self, client: &Path, arguments: &[&str]) -> Result<f64, String> {
        let began = Instant::now();
        let output = Command::new(client)
            .arg("--host")
            .arg(format!("unix://{}", self.socket.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cannot run {}: {e}", client.display()))?;
        let took = milliseconds(began.elapsed());
        if output.status.success() {
            return Ok(took);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{} {} against {}: {}: {}",
            client.display(),
            arguments.join(" "),
            self.label,
            output.status,
            errors.trim()
        ))
    }

    /// The process that listens, and its descendants.
    pub(super) fn processes(&self) -> Result<BTreeSet<i32>, String> {
        let stream = UnixStream::connect(&self.socket)
            .map_err(|e| format!("cannot connect to {}: {e}", self.socket.display()))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(|e| format!("cannot tell who listens on {}: {e}", self.socket.display()))?;
        Ok(with_descendants(
            peer.pid.as_raw_nonzero().get(),
            &parents(),
        ))
    }

    /// Memory of the daemon's own processes and of those that supervise containers, payloads left out, in KiB.
    /// The second figure is that of the supervising processes alone.
    pub(super) fn memory_kib(&self, payloads: &[i32]) -> Result<(f64, f64), String> {
        let parents = parents();
        let supervisors: BTreeSet<i32> = payloads
            .iter()
            .filter_map(|p| parents.get(p).copied())
            .filter(|p| *p > 1)
            .collect();
        let mut all = self.processes()?;
        all.extend(&supervisors);
        for payload in payloads {
            for pid in with_descendants(*payload, &parents) {
                all.remove(&pid);
            }
        }
        let sum = |pids: &BTreeSet<i32>| pids.iter().filter_map(|p| pss_kib(*p)).sum();
        Ok((sum(&all), sum(&supervisors)))
    }

    /// Removes everything that an earlier run of the benchmark left on this daemon.
    pub(super) fn clean(&self) -> Result<(), String> {
        let mut client = self.connect();
        let containers = client.json("GET", "/containers/json?all=1", None)?;
        for container in containers.as_array().into_iter().flatten() {
            let ours = container["Names"].as_array().is_some_and(|names| {
                names
                    .iter()
                    .any(|n| n.as_str().is_some_and(|n| n.starts_with("/gantry-bench-")))
            });
            if let (true, Some(id)) = (ours, container["Id"].as_str()) {
                client.request("DELETE", &format!("/containers/{id}?force=1&v=1"), None)?;
            }
        }
        let images = client.json("GET", "/images/json", None)?;
        for tag in images
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|i| i["RepoTags"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
        {
            if tag.starts_with("gantry-bench/") {
                client.request("DELETE", &format!("/images/{tag}?force=1"), None)?;
            }
        }
        Ok(())
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Every process with its parent.
fn parents() -> BTreeMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in brackets may hold anything; the state and the parent follow the last bracket.
            let parent = stat
                .rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((pid, parent))
        })
        .collect()
}

fn with_descendants(pid: i32, parents: &BTreeMap<i32, i32>) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(child, parent)| found.contains(parent) && !found.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// A process's proportional share of memory; none once it has ended.
fn pss_kib(pid: i32) -> Option<f64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup
        .lines()
        .find_map(|l| l.strip_prefix("Pss:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_generations() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 4)]);
        assert_eq!(with_descendants(2, &parents), BTreeSet::from([2, 3, 4, 6]));
    }

    #[test]
    fn this_process_has_a_parent_and_memory() {
        let pid = i32::try_from(std::process::id()).expect("a pid is a positive i32");
        assert!(parents().contains_key(&pid));
        assert!(pss_kib(pid).is_some_and(|kib| kib > 100.0));
    }
}
