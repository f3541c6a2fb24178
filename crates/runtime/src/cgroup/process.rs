//! The processes of a cgroup and of those nested in it: listing, signalling, killing.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use gantry_base::{Error, Result};
use gantry_sys::pidfd;
use rustix::fs::{Dir as Entries, FileType, OFlags};

use super::dir::Dir;
use super::{Cgroup, freezer};

/// Where the processes are listed, best first: hierarchies that a container is not told about are never split by it.
const LISTED_IN: [&str; 5] = ["pids", "freezer", "devices", "memory", "cpu"];
/// How many processes there may be.
const LIMIT: &str = "pids.max";
/// How long processes that fork faster than they are killed are chased.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Every process, sorted. A cgroup that is gone has none.
pub(super) fn list(cgroup: &Cgroup) -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    if let Some(dir) = listing_dir(cgroup) {
        collect(&dir, &mut pids)?;
    }
    Ok(pids)
}

fn listing_dir(cgroup: &Cgroup) -> Option<Dir<'_>> {
    let legacy = LISTED_IN.iter().find_map(|name| {
        cgroup
            .controller(name)
            .ok()
            .filter(|dir| !dir.hierarchy.unified)
    });
    legacy
        .or_else(|| cgroup.dirs().find(|dir| !dir.hierarchy.unified))
        .or_else(|| cgroup.unified_dir())
}

fn collect(dir: &Dir<'_>, pids: &mut BTreeSet<i32>) -> Result<()> {
    match read_pids(dir) {
        Ok(found) => pids.extend(found),
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => {
            return Err(Error::from(error).prefixed(format!("read {}", dir.shown("cgroup.procs"))));
        }
    }
    for child in children(dir)? {
        collect(&Dir::new(dir.hierarchy, &child), pids)?;
    }
    Ok(())
}

fn read_pids(dir: &Dir<'_>) -> io::Result<Vec<i32>> {
    let text = match dir.try_read("cgroup.procs") {
        // A threaded cgroup of v2 lists threads only.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            dir.try_read("cgroup.threads")?
        }
        other => other?,
    };
    // 0 stands for a process of a pid namespace that is not seen from here.
    Ok(text
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect())
}

/// Paths of the nested cgroups. A cgroup that is gone has none.
pub(super) fn children(dir: &Dir<'_>) -> Result<Vec<String>> {
    let context =
        |error: io::Error| Error::from(error).prefixed(format!("readdir {}", dir.shown("")));
    let fd = match dir.open("", OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if gone(&error) => return Ok(Vec::new()),
        other => other.map_err(context)?,
    };
    let mut paths = Vec::new();
    for entry in Entries::new(fd).map_err(|error| context(error.into()))? {
        let entry = match entry {
            Err(error) if gone(&error.into()) => break,
            other => other.map_err(|error| context(error.into()))?,
        };
        let name = entry.file_name().to_str().unwrap_or_default();
        if entry.file_type() == FileType::Directory && !matches!(name, "" | "." | "..") {
            paths.push(format!("{}/{name}", dir.path));
        }
    }
    Ok(paths)
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Sends a signal to all; processes that end meanwhile do not matter.
pub(super) fn signal(cgroup: &Cgroup, signal: i32) -> Result<()> {
    if !(1..=libc::SIGRTMAX()).contains(&signal) {
        return Err(Error::invalid(format!("invalid signal: {signal}")));
    }
    list(cgroup)?
        .into_iter()
        .try_for_each(|pid| send(pid, signal))
}

fn send(pid: i32, signal: i32) -> Result<()> {
    match pidfd::open(pid).and_then(|process| pidfd::send_signal(process, signal)) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            Err(Error::from(error).prefixed(format!("unable to signal process {pid}")))
        }
        _ => Ok(()),
    }
}

/// Kills every process. False where there is no cgroup to look in.
pub(super) fn kill(cgroup: &Cgroup) -> Result<bool> {
    let unified = cgroup
        .unified_dir()
        .map(|dir| dir.try_write("cgroup.kill", "1"));
    let legacy = cgroup.dirs().any(|dir| !dir.hierarchy.unified);
    match unified {
        // The kernel has it all in one step; on a hybrid machine a process may still have left v2 alone.
        Some(Ok(())) if !legacy => return Ok(true),
        None if !legacy => return Ok(false),
        _ => {}
    }
    // The rule at the end of a run, which pays for nothing more.
    if list(cgroup)?.is_empty() {
        return Ok(true);
    }
    // Who forks faster than the freezer looks, on processors that it keeps busy, would be chased for minutes.
    let limit = cgroup
        .controller("pids")
        .ok()
        .and_then(|dir| Some((dir.try_read(LIMIT).ok()?, dir)));
    if let Some((_, dir)) = &limit {
        // Gone with its last process, or not ours to write: the freezer will do.
        let _ = dir.try_write(LIMIT, "0");
    }
    let killed = kill_one_by_one(cgroup);
    if let Some((before, dir)) = &limit {
        let _ = dir.try_write(LIMIT, before.trim());
    }
    killed
}

fn kill_one_by_one(cgroup: &Cgroup) -> Result<bool> {
    let started = Instant::now();
    loop {
        let pids = list(cgroup)?;
        if pids.is_empty() {
            return Ok(true);
        }
        // Nothing forks while it is frozen; one that cannot be frozen is chased.
        let frozen = freezer::freeze(cgroup).is_ok();
        let sent = list(cgroup)?
            .into_iter()
            .try_for_each(|pid| send(pid, libc::SIGKILL));
        let thawed = freezer::thaw(cgroup);
        sent?;
        match thawed {
            // The last process took the cgroup along.
            Err(_) if list(cgroup)?.is_empty() => return Ok(true),
            other => other?,
        }
        if frozen {
            return Ok(true);
        }
        if started.elapsed() > KILL_TIMEOUT {
            return Err(Error::internal(format!(
                "{} processes cannot be killed",
                pids.len()
            )));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
