//! What the creator does for a container in a new user namespace: id maps, and settings that need the host's privileges.
//!
//! See user_namespaces(7). Also makes user namespaces for id-mapped mounts, which nobody ever enters.

use gantry_oci::runtime::IdMapping;
use gantry_sys::{clone, pidfd};
use rustix::fs::OFlags;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::process::Command;

use crate::error::{Context, Error, Result};
use crate::outline::OutlineProcess;
use crate::plan::Plan;
use crate::procfs::Proc;
use crate::settings;

/// The maps of a user namespace.
#[derive(Debug)]
pub(crate) struct Maps {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
}

impl Maps {
    /// None if no user namespace is made.
    pub(crate) fn new(
        uids: &[IdMapping],
        gids: &[IdMapping],
        is_new: bool,
    ) -> Result<Option<Self>> {
        if !is_new {
            return Ok(None);
        }
        if uids.is_empty() || gids.is_empty() {
            return Err(Error::invalid(
                "user namespaces enabled, but no user mappings found",
            ));
        }
        Ok(Some(Self {
            uids: uids.to_vec(),
            gids: gids.to_vec(),
        }))
    }

    /// Writes them for a process in its new namespace.
    pub(crate) fn write(&self, pid: i32, given_proc: Option<&OwnedFd>) -> Result<()> {
        let proc = host_proc(given_proc)?;
        if rustix::process::geteuid().as_raw() != 0 {
            // An unprivileged writer of a gid map must give up setgroups first, unless a set-user-id program writes it.
            if self.gids.len() == 1 && self.gids.iter().all(|map| map.size == 1) {
                proc.write(&format!("{pid}/setgroups"), "deny")
                    .context("cannot deny setgroups")?;
            }
        }
        write_map(&proc, pid, "uid_map", &self.uids, "newuidmap")?;
        write_map(&proc, pid, "gid_map", &self.gids, "newgidmap")
    }
}

fn write_map(proc: &Proc, pid: i32, file: &str, maps: &[IdMapping], program: &str) -> Result<()> {
    let mut text = String::new();
    for map in maps {
        let _ = writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size);
    }
    let written = proc.write(&format!("{pid}/{file}"), &text);
    match written {
        Err(error)
            if error.raw_os_error() == Some(libc::EPERM)
                && rustix::process::geteuid().as_raw() != 0 =>
        {
            let numbers = text.split_ascii_whitespace();
            let status = Command::new(program)
                .arg(pid.to_string())
                .args(numbers)
                .status();
            match status {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(Error::internal(format!("{program} failed: {status}"))),
                Err(error) => Err(error).context(format!("cannot run {program}")),
            }
        }
        other => other.with_context(|| format!("failed to update /proc/{pid}/{file}")),
    }
}

/// The host's procfs: as given, or mounted anew for a moment, or the one in this mount namespace.
pub(crate) fn host_proc(given: Option<&OwnedFd>) -> Result<Proc> {
    match given {
        Some(fd) => Proc::from_fd(fd.try_clone()?),
        None => Proc::of_host().or_else(|_| Proc::mount()),
    }
}

/// Resource limits and the OOM score, which init cannot set itself once it has no privileges on the host.
pub(crate) fn apply_privileged(
    pid: i32,
    process: &OutlineProcess,
    plan: &Plan,
) -> Result<Vec<String>> {
    let warnings = settings::set_rlimits(Some(pid), &process.rlimits, plan.tolerate)?;
    if let Some(score) = process.oom_score_adj {
        let proc = host_proc(plan.host_proc.as_ref())?;
        settings::set_oom_score_adj(&proc, &pid.to_string(), score, plan.tolerate)?;
    }
    Ok(warnings)
}

/// A user namespace with these maps, for `MOUNT_ATTR_IDMAP`.
pub(crate) fn namespace_for_mount(
    uids: &[IdMapping],
    gids: &[IdMapping],
    given_proc: Option<&OwnedFd>,
) -> Result<OwnedFd> {
    let maps = Maps::new(uids, gids, true)?.ok_or_else(|| Error::internal("was asked for"))?;
    let options = clone::Clone {
        namespaces: u64::from(libc::CLONE_NEWUSER.unsigned_abs()),
        cgroup: None,
    };
    #[expect(
        unsafe_code,
        reason = "a short-lived process holds the namespace until it is open"
    )]
    // SAFETY: the caller of this crate is single-threaded, as the crate demands.
    let holder = unsafe {
        clone::spawn(&options, || {
            loop {
                rustix::event::pause();
            }
        })
    }
    .context("cannot make a user namespace for an id-mapped mount")?;
    let opened = maps.write(holder.pid, given_proc).and_then(|()| {
        let proc = host_proc(given_proc)?;
        let path = format!("{}/ns/user", holder.pid);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(
            &proc,
            path,
            flags,
            rustix::fs::Mode::empty(),
        )?)
    });
    let _ = pidfd::send_signal(&holder.pidfd, libc::SIGKILL);
    let _ = pidfd::wait(&holder.pidfd);
    opened
}
