//! `docker attach`

use super::inspect::inspect;
use super::run::{attach as open, begin_wait};
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::session::Session;
use crate::stream::{self, Attached, End, Resized, Signals};
use crate::template::Value;
use crate::terminal;
use gantry_api::client::{Client, Request, Response, path};
use gantry_api::types::ContainerWaitResponse;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["attach"],
    top_level: Some("attach"),
    arguments: "[OPTIONS] CONTAINER",
    about: "Attach standard input, output and error to a running container",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text("detach-keys", "Keys that detach from the container"),
        Flag::boolean("no-stdin", "Do not attach STDIN"),
        Flag::boolean("sig-proxy", "Pass received signals on to the process").default("true"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    session.block_on(attach(session, given))
}

async fn attach(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let name = given.arguments[0].as_str();
    // Asked for before the first look, so that no end is missed.
    let end = begin_wait(client, name, "").await?;
    let container = running(client, name).await?;
    let tty = container.at(&["Config", "Tty"]).bool();
    let has_stdin = !given.bool("no-stdin");
    terminal::check_tty(has_stdin, tty)?;
    let detach_keys = match given.text("detach-keys") {
        "" => session.config().detach_keys.clone(),
        keys => keys.to_owned(),
    };
    let attached = Attached {
        stdin: has_stdin && container.at(&["Config", "OpenStdin"]).bool(),
        stdout: true,
        stderr: true,
        tty,
        detach_keys,
    };
    let signals = if given.bool_or("sig-proxy", true) && !tty {
        Some(Signals::catch()?)
    } else {
        None
    };
    tokio::select! {
        biased;
        outcome = attached_until_end(client, name, &attached, end) => outcome,
        failure = stream::forward(client, name, signals) => Err(failure),
    }
}

async fn attached_until_end(
    client: &Client,
    name: &str,
    attached: &Attached,
    end: Response<'_>,
) -> Outcome {
    let hijacked = open(client, name, attached).await?;
    // Between the first look and the attach it may have stopped, and nothing would ever arrive.
    running(client, name).await?;
    let whole = async {
        if stream::pump(hijacked, attached).await? == End::Detached {
            return Err(stream::detached_failure());
        }
        let answer: ContainerWaitResponse = end.json().await?;
        match (answer.error, answer.status_code) {
            (Some(error), _) => Err(Failure::new(error.message)),
            (None, 0) => Ok(()),
            (None, status) => Err(Failure::silent(i32::try_from(status).unwrap_or(125))),
        }
    };
    if !(attached.tty && terminal::stdout_is_terminal()) {
        return whole.await;
    }
    redraw(client, name).await;
    tokio::select! {
        biased;
        outcome = whole => outcome,
        () = stream::follow_size(client, Resized::Container, name) => Ok(()),
    }
}

/// A size that is off by one and then right makes programs draw their screens again.
async fn redraw(client: &Client, name: &str) {
    let Some((rows, columns)) = terminal::size() else {
        return;
    };
    let request = Request::post(path("containers", name, "resize"))
        .query("h", (u32::from(rows) + 1).to_string())
        .query("w", (u32::from(columns) + 1).to_string());
    if let Ok(answer) = client.send(request).await {
        let _ = answer.discard().await;
    }
}

/// The container, if it runs.
async fn running(client: &Client, name: &str) -> Outcome<Value> {
    let container = Value::from_json(&inspect(client, name, false).await?)?;
    let state = container.get("State");
    if !state.get("Running").bool() {
        return Err(Failure::new(
            "You cannot attach to a stopped container, start it first",
        ));
    }
    if state.get("Paused").bool() {
        return Err(Failure::new(
            "You cannot attach to a paused container, unpause it first",
        ));
    }
    if state.get("Restarting").bool() {
        return Err(Failure::new(
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    Ok(container)
}
