//! `docker run`: create, attach, wait for the end, start; in this order, so that nothing is missed.

use super::create::{create, read_request, with_help};
use crate::command::{Arity, Command};
use crate::container_options;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use crate::stream::{self, Attached, End, Resized, Signals};
use crate::terminal;
use gantry_api::client::{Client, Hijacked, Request, Response, path};
use gantry_api::types::{ContainerConfig, ContainerWaitResponse};

const NOT_FOUND_STATUS: i32 = 127;
const NOT_EXECUTABLE_STATUS: i32 = 126;
const FAILED_STATUS: i32 = 125;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["run"],
    top_level: Some("run"),
    arguments: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: false,
    run,
};

fn flags() -> Vec<Flag> {
    let mut flags = container_options::flags();
    flags.extend([
        Flag::boolean(
            "detach",
            "Run the container in the background and print its ID",
        )
        .short('d'),
        Flag::text("detach-keys", "Keys that detach from the container"),
        Flag::boolean("sig-proxy", "Pass received signals on to the process").default("true"),
    ]);
    flags
}

fn run(session: &Session, given: &Given) -> Outcome {
    let mut request = read_request(session, given, "run")?;
    let config = &mut request.config;
    if given.bool("detach") {
        if !given.list("attach").is_empty() {
            let message = "conflicting options: cannot specify both --attach and --detach";
            return Err(Failure::new(message));
        }
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        terminal::check_tty(config.attach_stdin, config.tty)?;
    }
    let config = config.clone();
    session.block_on(async {
        let id = create(session, given, request)
            .await
            .map_err(|failure| graded(session, failure))?;
        if !(config.attach_stdin || config.attach_stdout || config.attach_stderr) {
            output::print_line(&id);
            return start_detached(session, given, &id).await;
        }
        let signals = if given.bool_or("sig-proxy", true) {
            Some(Signals::catch()?)
        } else {
            None
        };
        let client = session.client()?;
        tokio::select! {
            biased;
            outcome = run_attached(session, given, &config, &id) => outcome,
            failure = stream::forward(client, &id, signals) => Err(failure),
        }
    })
}

async fn start_detached(session: &Session, given: &Given, id: &str) -> Outcome {
    let client = session.client()?;
    let Err(failure) = start(client, id).await else {
        return Ok(());
    };
    if given.bool("rm")
        && let Ok(end) = begin_wait(client, id, "removed").await
    {
        // The command line is done when the container is gone.
        let _ = exit_status(end).await;
    }
    Err(graded(session, failure))
}

async fn run_attached(
    session: &Session,
    given: &Given,
    config: &ContainerConfig,
    id: &str,
) -> Outcome {
    let client = session.client()?;
    let detach_keys = match given.text("detach-keys") {
        "" => session.config().detach_keys.clone(),
        keys => keys.to_owned(),
    };
    let attached = Attached {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        tty: config.tty,
        detach_keys,
    };
    let hijacked = attach(client, id, &attached).await?;
    let is_removed = given.bool("rm");
    let end = begin_wait(client, id, if is_removed { "removed" } else { "next-exit" }).await?;
    if let Err(failure) = start(client, id).await {
        if is_removed {
            // The command line is done when the container is gone.
            let _ = exit_status(end).await;
        }
        return Err(graded(session, failure));
    }
    follow(client, id, hijacked, &attached, end).await
}

/// Copies streams and follows the terminal's size until the end, and ends as the container did.
pub(super) async fn follow(
    client: &Client,
    id: &str,
    hijacked: Hijacked,
    attached: &Attached,
    end: Response<'_>,
) -> Outcome {
    let whole = async {
        if stream::pump(hijacked, attached).await? == End::Detached {
            return Ok(());
        }
        match exit_status(end).await {
            0 => Ok(()),
            status => Err(Failure::silent(status)),
        }
    };
    if attached.tty && terminal::stdout_is_terminal() {
        tokio::select! {
            biased;
            outcome = whole => outcome,
            () = stream::follow_size(client, Resized::Container, id) => Ok(()),
        }
    } else {
        whole.await
    }
}

/// Opens the streams of a container.
pub(super) async fn attach(client: &Client, id: &str, attached: &Attached) -> Outcome<Hijacked> {
    let request = Request::post(path("containers", id, "attach"))
        .query("stream", "1")
        .query_if(attached.stdin, "stdin", "1")
        .query_if(attached.stdout, "stdout", "1")
        .query_if(attached.stderr, "stderr", "1")
        .query_if(
            !attached.detach_keys.is_empty(),
            "detachKeys",
            &attached.detach_keys,
        );
    Ok(client.hijack(request).await?)
}

/// Asks for the exit status; the daemon sends the head of its answer at once, and the rest at the end.
pub(super) async fn begin_wait<'a>(
    client: &'a Client,
    id: &str,
    condition: &str,
) -> Outcome<Response<'a>> {
    let request = Request::post(path("containers", id, "wait")).query_if(
        !condition.is_empty(),
        "condition",
        condition,
    );
    Ok(client.send(request).await?)
}

/// The exit status, or 125 where there is none.
pub(super) async fn exit_status(end: Response<'_>) -> i32 {
    match end.json::<ContainerWaitResponse>().await {
        Ok(ContainerWaitResponse {
            error: Some(error), ..
        }) => {
            output::print_error_line(&format!("Error waiting for container: {}", error.message));
            FAILED_STATUS
        }
        Ok(answer) => i32::try_from(answer.status_code).unwrap_or(FAILED_STATUS),
        Err(error) => {
            output::print_error_line(&format!("error waiting for container: {error}"));
            FAILED_STATUS
        }
    }
}

/// Starts a container.
pub(super) async fn start(client: &Client, id: &str) -> Outcome {
    Ok(client
        .send(Request::post(path("containers", id, "start")))
        .await?
        .discard()
        .await?)
}

/// The exit status that Docker reads from the text of an error.
fn graded(session: &Session, failure: Failure) -> Failure {
    let says = |text: &str| failure.message.contains(text);
    let status = if says("executable file not found")
        || says("no such file or directory")
        || says("system cannot find the file specified")
    {
        NOT_FOUND_STATUS
    } else if says("permission denied") || says("is a directory") {
        NOT_EXECUTABLE_STATUS
    } else {
        FAILED_STATUS
    };
    Failure {
        status,
        message: with_help(session, &failure.message, "run"),
    }
}
