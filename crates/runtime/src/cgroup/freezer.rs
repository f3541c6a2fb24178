//! Stopping and continuing all processes of a cgroup.

use std::time::Duration;

use gantry_base::{Error, Result};
use rustix::fs::OFlags;

use super::dir::Dir;
use super::{Cgroup, Layout};

const STATE: &str = "freezer.state";
const FREEZE: &str = "cgroup.freeze";
/// How often v1 is asked; a freezer that meets new processes all the time gets stuck, and runc found this many tries to do.
const TRIES: u32 = 1000;
/// How long v2 may take.
const TIMEOUT_MS: u64 = 10_000;

pub(super) fn freeze(cgroup: &Cgroup) -> Result<()> {
    match place(cgroup)? {
        Place::Legacy(dir) => {
            let result = freeze_legacy(&dir);
            if result.is_err() {
                // Half frozen is worse than running.
                let _ = dir.try_write(STATE, "THAWED");
            }
            result
        }
        Place::Unified(dir) => {
            dir.write(FREEZE, 1)?;
            wait_frozen(&dir)
        }
    }
}

pub(super) fn thaw(cgroup: &Cgroup) -> Result<()> {
    match place(cgroup)? {
        Place::Legacy(dir) => dir.write(STATE, "THAWED"),
        Place::Unified(dir) => dir.write(FREEZE, 0),
    }
}

/// Frozen by [`freeze`], not merely through a frozen parent. A cgroup that is gone is not frozen.
pub(super) fn is_frozen(cgroup: &Cgroup) -> Result<bool> {
    let read = |dir: &Dir<'_>, file: &str| match dir.try_read(file) {
        Ok(text) => Ok(text),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            Ok(String::new())
        }
        Err(error) => Err(Error::from(error).prefixed(format!("read {}", dir.shown(file)))),
    };
    Ok(match place(cgroup)? {
        Place::Legacy(dir) => read(&dir, "freezer.self_freezing")?.trim() == "1",
        Place::Unified(dir) => read(&dir, FREEZE)?.trim() == "1",
    })
}

enum Place<'a> {
    Legacy(Dir<'a>),
    Unified(Dir<'a>),
}

/// The v1 freezer where there is one: on a hybrid machine other programs look there.
fn place(cgroup: &Cgroup) -> Result<Place<'_>> {
    let unsupported =
        || Error::not_implemented("cannot toggle freezer: cgroups not configured for container");
    if let Ok(dir) = cgroup.controller("freezer") {
        return Ok(Place::Legacy(dir));
    }
    match cgroup.roots.layout() {
        Layout::Absent => Err(unsupported()),
        Layout::Legacy | Layout::Unified => cgroup
            .unified_dir()
            .map(Place::Unified)
            .ok_or_else(unsupported),
    }
}

fn freeze_legacy(dir: &Dir<'_>) -> Result<()> {
    for attempt in 1..=TRIES {
        if attempt % 50 == 0 {
            // Where new processes keep appearing, a moment of running lets the freezer catch up.
            dir.write(STATE, "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        }
        dir.write(STATE, "FROZEN")?;
        if attempt % 25 == 0 {
            std::thread::sleep(Duration::from_micros(10));
        }
        match dir.read(STATE)?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => {
                return Err(Error::internal(format!(
                    "unexpected state {other} while freezing"
                )));
            }
        }
    }
    Err(Error::internal("unable to freeze"))
}

fn wait_frozen(dir: &Dir<'_>) -> Result<()> {
    let events = dir.open("cgroup.events", OFlags::RDONLY).map_err(|error| {
        Error::from(error).prefixed(format!("open {}", dir.shown("cgroup.events")))
    })?;
    let started = std::time::Instant::now();
    loop {
        let mut buffer = [0; 256];
        let read = rustix::io::pread(&events, &mut buffer, 0).map_err(std::io::Error::from)?;
        if buffer[..read]
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"frozen 1")
        {
            return Ok(());
        }
        let left_ms = TIMEOUT_MS
            .saturating_sub(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        if left_ms == 0 {
            return Err(Error::internal(format!(
                "timeout of {}s reached waiting for the cgroup to freeze",
                TIMEOUT_MS / 1000
            )));
        }
        // The kernel wakes us when the file's content changes after the read above; a lost wake-up costs one slice.
        let slice = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let mut poll = [rustix::event::PollFd::new(
            &events,
            rustix::event::PollFlags::PRI,
        )];
        match rustix::event::poll(&mut poll, Some(&slice)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::from(std::io::Error::from(error))),
        }
    }
}
