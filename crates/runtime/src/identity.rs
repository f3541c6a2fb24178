//! Who a process is: user, groups, capabilities, umask, working directory, and the file of privileges it can never gain.
//!
//! Everything that a program inherits across execve and that decides what it may do is set here, for init and exec alike.

use gantry_oci::runtime::{Process, User};
use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::thread;

use crate::capability::{self, Sets};
use crate::error::{Context, Error, Result, quoted};
use crate::procfs::Proc;

/// `CAP_SYS_ADMIN`, which installing a filter needs where no_new_privs is not set.
const SYS_ADMIN: u64 = 1 << 21;

/// Sets everything; the calling process is in the container, with its root. Unknown capabilities become warnings.
///
/// With `keep_admin`, `CAP_SYS_ADMIN` stays usable until execve: execve computes a program's sets from the bounding,
/// inheritable and ambient ones alone, so the program does not have it.
pub(crate) fn assume(
    process: &Process,
    proc: Option<&Proc>,
    keep_admin: bool,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    // Setting it first would make an unprivileged directory unreachable, setting it last one of root's only.
    let entered = enter_directory(&process.cwd);
    if let Err(error) = &entered
        && !matches!(*error, Errno::ACCESS | Errno::PERM)
    {
        return Err(cwd_error(&process.cwd, *error));
    }
    let sets = process.capabilities.as_ref().map(|document| {
        let (sets, unknown) = Sets::parse(document);
        warnings.extend(
            unknown
                .into_iter()
                .map(|name| format!("capability {} is unknown and ignored", quoted(&name))),
        );
        sets
    });
    if process.no_new_privileges {
        thread::set_no_new_privs(true).context("error setting no_new_privs")?;
    }
    if let Some(sets) = &sets {
        sets.drop_bounding()?;
        capability::keep_across_setuid(true)?;
    }
    become_user(&process.user, proc)?;
    if entered.is_err() {
        enter_directory(&process.cwd).map_err(|error| cwd_error(&process.cwd, error))?;
    }
    verify_directory()?;
    if let Some(mut sets) = sets {
        if keep_admin {
            sets.permitted |= SYS_ADMIN & held();
            sets.effective |= SYS_ADMIN & held();
        }
        // The kernel takes as ambient only what is permitted and inheritable; runc passes over the rest without a word.
        sets.ambient &= sets.permitted & sets.inheritable;
        sets.apply()?;
    }
    let umask = process.user.umask.unwrap_or(0o022);
    rustix::process::umask(Mode::from_raw_mode(umask & 0o777));
    Ok(warnings)
}

/// What this process has now: nothing can be kept that is not there.
fn held() -> u64 {
    thread::capabilities(None).map_or(0, |sets| sets.permitted.bits())
}

fn cwd_error(cwd: &str, error: Errno) -> Error {
    Error::from(error).prefixed(format!(
        "chdir to cwd ({}) set in config.json failed",
        quoted(cwd)
    ))
}

/// Links in procfs are not followed: they could lead to a directory of the host that happens to be open here.
fn enter_directory(cwd: &str) -> Result<(), Errno> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat2(
        rustix::fs::CWD,
        cwd,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    rustix::process::fchdir(directory)
}

/// The kernel says `(unreachable)` for a directory that is not below the root.
fn verify_directory() -> Result<()> {
    const ESCAPE: &str = "current working directory is outside of container mount namespace root -- possible container breakout detected";
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Error::internal(ESCAPE)),
        Err(error) => Err(error).context("failed to verify if current working directory is safe"),
    }
}

fn become_user(user: &User, proc: Option<&Proc>) -> Result<()> {
    check_id(user.uid)?;
    check_id(user.gid)?;
    let groups: Vec<Gid> = user
        .additional_gids
        .iter()
        .map(|gid| check_id(*gid).map(|()| Gid::from_raw(*gid)))
        .collect::<Result<_>>()?;
    give_streams(user.uid)?;
    match thread::set_thread_groups(&groups) {
        Ok(()) => {}
        // An unprivileged user namespace may have given up on groups; then there is nothing to drop either.
        Err(Errno::PERM) if groups.is_empty() && setgroups_is_denied(proc) => {}
        Err(error) => return Err(error).context("setgroups"),
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    thread::set_thread_res_gid(Some(gid), Some(gid), Some(gid)).context("setgid")?;
    thread::set_thread_res_uid(Some(uid), Some(uid), Some(uid)).context("setuid")
}

fn check_id(id: u32) -> Result<()> {
    if id > i32::MAX.unsigned_abs() {
        return Err(Error::invalid(
            "unable to setup user: uids and gids must be in range 0-2147483647",
        ));
    }
    Ok(())
}

fn setgroups_is_denied(proc: Option<&Proc>) -> bool {
    proc.is_some_and(|proc| {
        proc.read("self/setgroups")
            .is_ok_and(|text| text.trim() == "deny")
    })
}

/// Lets the user open `/dev/stdout` and so on: pipes and terminals get the user as owner.
fn give_streams(uid: u32) -> Result<()> {
    for stream in [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ] {
        let Ok(stat) = rustix::fs::fstat(stream) else {
            continue;
        };
        let is_null = stat.st_rdev == rustix::fs::makedev(1, 3);
        if stat.st_uid == uid || is_null {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
            // Ids without a mapping, and files on file systems that keep no owner.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(error) => {
                return Err(error).context("cannot change the owner of a standard stream");
            }
        }
    }
    Ok(())
}
