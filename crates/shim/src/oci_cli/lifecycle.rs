//! `start`, `kill`, `delete`, `pause`, `resume`.

use gantry_runtime::{Error, Result};
use gantry_sys::{fdpass, pidfd};
use std::path::Path;

use super::flags::Matches;
use super::store::{Container, START_SOCKET, Status, at};
use super::{Context, in_container_process};

/// How long a forced delete waits for the end of what it has killed.
const KILL_TIMEOUT_MS: u64 = 10_000;

pub(super) fn start(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Error::invalid("cannot start a container that has stopped")),
        Status::Running => return Err(Error::invalid("cannot start an already running container")),
        Status::Paused => {
            return Err(Error::invalid(
                "cannot start a container in the paused state",
            ));
        }
    }
    rustix::process::chdir(&container.folder)
        .map_err(|error| at(&container.folder, error.into()))?;
    let connection = fdpass::connect(Path::new(START_SOCKET))
        .map_err(|error| Error::from(error).prefixed("cannot reach the container's init"))?;
    std::fs::remove_file(START_SOCKET)?;
    gantry_runtime::wait_for_start(&connection).map_err(in_container_process)?;
    if let Some(hooks) = &container.record.spec.hooks
        && let Err(error) =
            gantry_runtime::run_poststart(hooks, &container.hook_state(container.record.pid))
    {
        // The specification leaves it to us; runc ends the container too.
        kill_and_wait(&container)?;
        return Err(error);
    }
    Ok(0)
}

pub(super) fn kill(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    let signal = parse_signal(matches.arguments.get(1).map_or("SIGTERM", String::as_str))?;
    if matches.has("all") {
        container.cgroup().signal_all(signal)?;
        return Ok(0);
    }
    let init = container
        .init()
        .ok_or_else(|| Error::invalid("container not running"))?;
    pidfd::send_signal(&init, signal)?;
    // A frozen process takes the signal only once it is thawed, and this one cannot be waited for.
    if signal == libc::SIGKILL && container.cgroup().is_frozen().unwrap_or(false) {
        container.cgroup().thaw()?;
    }
    Ok(0)
}

pub(super) fn delete(context: &Context, matches: &Matches) -> Result<i32> {
    let id = &matches.arguments[0];
    let force = matches.has("force");
    let container = match context.store.open(id) {
        Ok(container) => container,
        Err(error) if force && error.message == "container does not exist" => {
            // What a crash during the creation has left has no record.
            let _ = std::fs::remove_dir_all(context.store.root.join(id));
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    match container.status() {
        Status::Stopped => {}
        Status::Created => kill_and_wait(&container)?,
        _ if force => kill_and_wait(&container)?,
        status => {
            let text = format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            );
            return Err(Error::invalid(text));
        }
    }
    container
        .forget()?
        .iter()
        .for_each(|warning| context.log.warning(warning));
    Ok(0)
}

pub(super) fn pause(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    match container.status() {
        Status::Running | Status::Created => Ok(container.cgroup().freeze().map(|()| 0)?),
        Status::Paused | Status::Stopped => Err(Error::invalid("container not running")),
    }
}

pub(super) fn resume(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    if container.status() != Status::Paused {
        return Err(Error::invalid("container not paused"));
    }
    Ok(container.cgroup().thaw().map(|()| 0)?)
}

fn kill_and_wait(container: &Container) -> Result<()> {
    let Some(init) = container.init() else {
        return Ok(());
    };
    pidfd::send_signal(&init, libc::SIGKILL)?;
    let cgroup = container.cgroup();
    if cgroup.is_frozen().unwrap_or(false) {
        cgroup.thaw()?;
    }
    if pidfd::wait_for_end(&init, Some(KILL_TIMEOUT_MS))? {
        return Ok(());
    }
    Err(Error::internal("container init still running"))
}

/// A number, or a name with or without `SIG`.
fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset: i32 = if rest.is_empty() {
            0
        } else {
            rest.parse().map_err(|_| unknown())?
        };
        return if (0..=30).contains(&offset) {
            Ok(34 + offset)
        } else {
            Err(unknown())
        };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset: i32 = if rest.is_empty() {
            0
        } else {
            rest.parse().map_err(|_| unknown())?
        };
        return if (-30..=0).contains(&offset) {
            Ok(64 + offset)
        } else {
            Err(unknown())
        };
    }
    SIGNALS
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, number)| *number)
        .ok_or_else(unknown)
}

const SIGNALS: [(&str, i32); 35] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("UNUSED", libc::SIGSYS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("0", 0),
        ] {
            assert_eq!(parse_signal(text).expect("is known"), number, "{text}");
        }
        for bad in ["", "FOO", "65", "-1", "RTMIN+31", "SIG"] {
            assert_eq!(
                parse_signal(bad).expect_err("is unknown").message,
                format!("unknown signal {bad:?}")
            );
        }
    }
}
