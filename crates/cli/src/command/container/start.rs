//! `docker start`

use super::run::{attach, begin_wait, exit_status, follow, start};
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use crate::stream::{self, Attached, Signals};
use crate::template::Value;
use gantry_api::client::Client;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["start"],
    top_level: Some("start"),
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("attach", "Attach STDOUT and STDERR, and pass signals on").short('a'),
        Flag::text("detach-keys", "Keys that detach from the container"),
        Flag::boolean("interactive", "Attach the container's STDIN").short('i'),
        Flag::text("checkpoint", "Restore from this checkpoint").hidden(),
        Flag::text("checkpoint-dir", "Directory of checkpoints").hidden(),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    for flag in ["checkpoint", "checkpoint-dir"] {
        if given.is_given(flag) {
            return Err(Failure::new(format!("--{flag} is not supported yet")));
        }
    }
    let client = session.client()?;
    if !given.bool("attach") && !given.bool("interactive") {
        return session.block_on(start_all(client, &given.arguments));
    }
    let [name] = given.arguments.as_slice() else {
        return Err(Failure::new(
            "you cannot start and attach multiple containers at once",
        ));
    };
    session.block_on(start_attached(session, given, name))
}

async fn start_all(client: &Client, names: &[String]) -> Outcome {
    let mut failed = Vec::new();
    for name in names {
        match start(client, name).await {
            Ok(()) => output::print_line(name),
            Err(failure) => {
                output::print_error_line(&failure.message);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Error: failed to start containers: {}",
        failed.join(", ")
    )))
}

async fn start_attached(session: &Session, given: &Given, name: &str) -> Outcome {
    let client = session.client()?;
    let container = Value::from_json(&super::inspect::inspect(client, name, false).await?)?;
    let id = container.get("Id").str();
    let tty = container.at(&["Config", "Tty"]).bool();
    let detach_keys = match given.text("detach-keys") {
        "" => session.config().detach_keys.clone(),
        keys => keys.to_owned(),
    };
    let attached = Attached {
        stdin: given.bool("interactive") && container.at(&["Config", "OpenStdin"]).bool(),
        stdout: true,
        stderr: true,
        tty,
        detach_keys,
    };
    let signals = if tty { None } else { Some(Signals::catch()?) };
    let is_removed = container.at(&["HostConfig", "AutoRemove"]).bool();
    let whole = async {
        let hijacked = attach(client, id, &attached).await?;
        let end = begin_wait(client, id, if is_removed { "removed" } else { "next-exit" }).await?;
        if let Err(failure) = start(client, id).await {
            if is_removed {
                let _ = exit_status(end).await;
            }
            return Err(failure);
        }
        follow(client, id, hijacked, &attached, end).await
    };
    tokio::select! {
        biased;
        outcome = whole => outcome,
        failure = stream::forward(client, id, signals) => Err(failure),
    }
}
