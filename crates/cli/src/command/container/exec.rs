//! `docker exec`

use super::inspect::inspect;
use crate::command::{Arity, Command};
use crate::container_options::value;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::session::Session;
use crate::stream::{self, Attached, End, Resized};
use crate::terminal;
use gantry_api::client::{Client, Request, path};
use gantry_api::types::{ExecCreateRequest, ExecInspectResponse, ExecStartRequest};
use serde::Deserialize;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["exec"],
    top_level: Some("exec"),
    arguments: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    arity: Arity::AtLeast(2),
    flags,
    is_interspersed: false,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("detach", "Run the command in the background").short('d'),
        Flag::text("detach-keys", "Keys that detach from the container"),
        Flag::list("env", "Set environment variables")
            .short('e')
            .check(value::check_variable),
        Flag::list("env-file", "Read environment variables from a file"),
        Flag::boolean("interactive", "Keep STDIN open even if not attached").short('i'),
        Flag::boolean("privileged", "Give the command extended privileges"),
        Flag::boolean("tty", "Allocate a pseudo-TTY").short('t'),
        Flag::text(
            "user",
            r#"User name or ID (format: "<name|uid>[:<group|gid>]")"#,
        )
        .short('u'),
        Flag::text("workdir", "Working directory inside the container").short('w'),
    ]
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

fn run(session: &Session, given: &Given) -> Outcome {
    let is_detached = given.bool("detach");
    let expanded: Vec<String> = given
        .list("env")
        .iter()
        .map(|text| value::expand_variable(text))
        .collect();
    let variables =
        value::read_pairs(given.list("env-file"), &expanded, true).map_err(Failure::new)?;
    let detach_keys = match given.text("detach-keys") {
        "" => session.config().detach_keys.clone(),
        keys => keys.to_owned(),
    };
    let tty = given.bool("tty");
    let console_size =
        tty.then(|| terminal::size().map_or([0, 0], |(rows, columns)| [rows, columns]));
    let body = ExecCreateRequest {
        user: given.text("user").to_owned(),
        privileged: given.bool("privileged"),
        tty,
        console_size,
        attach_stdin: given.bool("interactive") && !is_detached,
        attach_stdout: !is_detached,
        attach_stderr: !is_detached,
        detach_keys,
        env: (!variables.is_empty()).then_some(variables),
        working_dir: given.text("workdir").to_owned(),
        cmd: Some(given.arguments[1..].to_vec()),
    };
    session.block_on(exec(session, &given.arguments[0], &body, is_detached))
}

async fn exec(
    session: &Session,
    name: &str,
    body: &ExecCreateRequest,
    is_detached: bool,
) -> Outcome {
    let client = session.client()?;
    // A container that does not exist is a worse mistake than an input that is no terminal.
    inspect(client, name, false).await?;
    if !is_detached {
        terminal::check_tty(body.attach_stdin, body.tty)?;
    }
    let request = Request::post(path("containers", name, "exec")).json(body)?;
    let created: Created = client.send(request).await?.json().await?;
    let start = ExecStartRequest {
        detach: is_detached,
        tty: body.tty,
        console_size: body.console_size,
    };
    let request = Request::post(path("exec", &created.id, "start")).json(&start)?;
    if is_detached {
        return Ok(client.send(request).await?.discard().await?);
    }
    let attached = Attached {
        stdin: body.attach_stdin,
        stdout: body.attach_stdout,
        stderr: body.attach_stderr,
        tty: body.tty,
        detach_keys: body.detach_keys.clone(),
    };
    let hijacked = client.hijack(request).await?;
    let whole = async {
        if stream::pump(hijacked, &attached).await? == End::Detached {
            return Err(stream::detached_failure());
        }
        exit_status(client, &created.id).await
    };
    if !(attached.tty && terminal::stdin_is_terminal()) {
        return whole.await;
    }
    tokio::select! {
        biased;
        outcome = whole => outcome,
        () = stream::follow_size(client, Resized::Exec, &created.id) => Ok(()),
    }
}

async fn exit_status(client: &Client, id: &str) -> Outcome {
    let answer: ExecInspectResponse = client
        .send(Request::get(path("exec", id, "json")))
        .await?
        .json()
        .await?;
    match answer.exit_code.unwrap_or(0) {
        0 => Ok(()),
        status => Err(Failure::silent(i32::try_from(status).unwrap_or(1))),
    }
}
