//! `exec`.

use gantry_oci::capability;
use gantry_oci::runtime::{Capabilities, Process, User};
use gantry_runtime::{Document, Error, ExecPlan, Result, Stdio, Target, Tolerate};
use gantry_sys::memfd;
use std::os::fd::AsFd;
use std::path::Path;

use super::flags::Matches;
use super::store::{Container, Status};
use super::{Context, foreground, in_container_process};

pub(super) fn exec(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    match container.status() {
        Status::Stopped => return Err(Error::invalid("cannot exec in a stopped container")),
        Status::Paused if !matches.has("ignore-paused") => {
            return Err(Error::invalid(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let mut process = process(&container, matches)?;
    if process.args.is_empty() {
        return Err(Error::invalid("process args cannot be empty"));
    }
    let is_detached = matches.has("detach");
    foreground::check(
        process.terminal,
        is_detached,
        matches.value("console-socket"),
    )?;
    if matches
        .value("cgroup")
        .is_some_and(|path| !path.is_empty() && path != "/")
    {
        return Err(Error::unsupported("exec --cgroup is not supported"));
    }
    let listen_fds = foreground::pass_listen_fds(Some(&mut process));
    let plan = plan(&container, process, matches, listen_fds)?;
    let init = container
        .init()
        .ok_or_else(|| Error::invalid("cannot exec in a stopped container"))?;
    let cgroup = container.cgroup();
    let target = Target {
        pidfd: init.as_fd(),
        cgroup: &cgroup,
        namespaces: container.record.namespaces,
    };
    let mut child = gantry_runtime::exec(&target, plan).map_err(in_container_process)?;
    child
        .warnings
        .iter()
        .for_each(|warning| context.log.warning(warning));
    if let Some(path) = matches.value("pid-file") {
        foreground::write_pid_file(Path::new(path), child.pid)?;
    }
    if let Some(socket) = matches.value("console-socket") {
        foreground::send_terminal(socket, child.terminal.take())?;
    }
    if is_detached {
        return Ok(0);
    }
    foreground::serve(&child.pidfd, child.terminal.as_ref())
}

fn plan(
    container: &Container,
    process: Process,
    matches: &Matches,
    listen_fds: u32,
) -> Result<ExecPlan> {
    let filter = match container
        .record
        .spec
        .linux
        .as_ref()
        .and_then(|linux| linux.seccomp.as_ref())
    {
        Some(document) => gantry_sys::seccomp::compile(document)?,
        None => None,
    };
    Ok(ExecPlan {
        stdio: if process.terminal {
            Stdio::Terminal
        } else {
            Stdio::Inherit
        },
        process: Document::Parsed(Box::new(process)),
        seccomp_filter: filter
            .map(|bytes| memfd::sealed_bytes("seccomp", &bytes))
            .transpose()?,
        tolerate: Tolerate::default(),
        preserve_fds: matches.number("preserve-fds")?.unwrap_or(0) + listen_fds,
    })
}

/// The container's own process document, changed as the flags say, or another one.
fn process(container: &Container, matches: &Matches) -> Result<Process> {
    if let Some(path) = matches.value("process") {
        let text = std::fs::read(path).map_err(|error| super::store::at(Path::new(path), error))?;
        return serde_json::from_slice(&text)
            .map_err(|error| Error::invalid(format!("cannot parse {path}: {error}")));
    }
    let mut process = container.record.spec.process.clone().unwrap_or_default();
    process.args = matches.arguments[1..].to_vec();
    process.terminal = matches.has("tty");
    if let Some(cwd) = matches.value("cwd") {
        cwd.clone_into(&mut process.cwd);
    }
    process.env.extend(matches.values("env").map(str::to_owned));
    if let Some(label) = matches.value("process-label") {
        label.clone_into(&mut process.selinux_label);
    }
    if let Some(profile) = matches.value("apparmor") {
        profile.clone_into(&mut process.apparmor_profile);
    }
    if matches.has("no-new-privs") {
        process.no_new_privileges = true;
    }
    for name in matches.values("cap") {
        add_capability(process.capabilities.get_or_insert_default(), name)?;
    }
    if let Some(text) = matches.value("user") {
        process.user = parse_user(text, &process.user)?;
    }
    for text in matches.values("additional-gids") {
        process.user.additional_gids.push(parse_id(text)?);
    }
    Ok(process)
}

fn add_capability(sets: &mut Capabilities, name: &str) -> Result<()> {
    if capability::number(name).is_none() {
        return Err(Error::invalid(format!("unknown capability {name:?}")));
    }
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        if !set.iter().any(|other| other == name) {
            set.push(name.to_owned());
        }
    }
    Ok(())
}

/// `uid` or `uid:gid`, numbers only.
fn parse_user(text: &str, old: &User) -> Result<User> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, parse_id(gid)?),
        None => (text, old.gid),
    };
    Ok(User {
        uid: parse_id(uid)?,
        gid,
        ..old.clone()
    })
}

fn parse_id(text: &str) -> Result<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id: Option<u32> = is_number.then(|| text.parse().ok()).flatten();
    id.filter(|id| i32::try_from(*id).is_ok()).ok_or_else(|| {
        Error::invalid(format!(
            "invalid id {text:?}: not a number from 0 to 2147483647"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_plain_numbers() {
        let old = User {
            uid: 1,
            gid: 2,
            ..User::default()
        };
        let user = parse_user("5", &old).expect("is valid");
        assert_eq!((user.uid, user.gid), (5, 2));
        assert_eq!(parse_user("5:6", &old).expect("is valid").gid, 6);
        for bad in [
            "",
            "+0",
            "-1",
            "4294967296",
            "4294967295",
            "2147483648",
            "0x0",
            "root",
            "1:",
            "1:x",
            " 1",
            "１",
        ] {
            assert!(parse_user(bad, &old).is_err(), "{bad:?}");
        }
    }
}
