//! `/containers/{name}/exec` and `/exec/…`

use super::container::head;
use super::{State, keys, route};
use crate::app::Serve;
use crate::hijack::ClientConnection;
use crate::request::Request;
use crate::response::{self, Response};
use crate::router::Router;
use gantry_api::frame::{StreamKind, header};
use gantry_api::types::{
    ExecCreateRequest, ExecInspectResponse, ExecProcessConfig, ExecStartRequest, IdResponse,
};
use gantry_base::{Error, Result};
use gantry_engine::container::ClientStream;
use gantry_engine::exec::{ExecConfig, ExecPlan, ExecStart, ExecView};
use hyper::StatusCode;
use std::io::Write as _;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, POST "/containers/{}/exec", create);
    route!(router, POST "/exec/{}/start", start);
    route!(router, POST "/exec/{}/resize", resize);
    route!(router, GET "/exec/{}/json", inspect);
}

async fn create(state: State, mut request: Request) -> Result<Response> {
    let body: ExecCreateRequest = request.json().await?;
    let cmd = body.cmd.unwrap_or_default();
    if cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    let detach_keys =
        match body.detach_keys.as_str() {
            "" => None,
            text => {
                let keys = keys::parse(text);
                Some(keys.ok_or_else(|| {
                    Error::internal(format!("Invalid escape keys ({text}) provided"))
                })?)
            }
        };
    let config = ExecConfig {
        cmd,
        env: body.env.unwrap_or_default(),
        working_dir: body.working_dir,
        user: body.user,
        tty: body.tty,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        privileged: body.privileged,
        detach_keys,
        console_size: body
            .console_size
            .filter(|_| request.at_least(42))
            .map(|[rows, columns]| (rows, columns)),
    };
    let id = state.engine.execs.create(&request.name, config).await?;
    Ok(response::json(
        StatusCode::CREATED,
        &IdResponse { id: id.to_string() },
    ))
}

async fn start(state: State, mut request: Request) -> Result<Response> {
    let body: ExecStartRequest = request.json().await?;
    let console_size = body
        .console_size
        .filter(|_| body.tty && request.at_least(42));
    let start = ExecStart {
        detach: body.detach,
        tty: body.tty,
        console_size: console_size.map(|[rows, columns]| (rows, columns)),
    };
    let plan = state.engine.execs.start(&request.name, start).await?;
    if body.detach {
        plan.run(None).await?;
        return Ok(response::status(StatusCode::OK));
    }
    let head = head(&request, plan.tty, true);
    let run = |mut connection: ClientConnection| async move {
        let started = async {
            connection.write(head.as_bytes()).await?;
            let (socket, input, relay) = connection.into_socket()?;
            let ((), ()) = tokio::join!(
                run(
                    plan,
                    ClientStream {
                        socket,
                        input,
                        head: Vec::new()
                    }
                ),
                relay
            );
            Ok::<(), Error>(())
        };
        if let Err(error) = started.await {
            tracing::debug!(?error, "exec ended");
        }
    };
    Err(request.connection.takeover.take(run).await)
}

/// Starts the process; if that fails, the reason goes to the client as output, as the answer's head is sent already.
async fn run(plan: ExecPlan, client: ClientStream) {
    let (tty, copy) = (plan.tty, client.socket.try_clone());
    let Err(error) = plan.run(Some(client)).await else {
        return;
    };
    tracing::debug!(?error, "exec did not start");
    let mut text = format!("{}\r\n", error.message()).into_bytes();
    if !tty {
        let length = u32::try_from(text.len()).unwrap_or(0);
        text.splice(0..0, header(StreamKind::Stdout, length));
    }
    if let Ok(mut socket) = copy {
        // A few bytes into an empty socket buffer; a client that is gone wants no words.
        let _ = socket.write_all(&text);
    }
}

async fn resize(state: State, request: Request) -> Result<Response> {
    let (rows, columns) = (request.size("h", "height")?, request.size("w", "width")?);
    state
        .engine
        .execs
        .resize(&request.name, rows, columns)
        .await?;
    Ok(response::status(StatusCode::OK))
}

async fn inspect(state: State, request: Request) -> Result<Response> {
    Ok(response::ok(&wire(
        &state.engine.execs.inspect(&request.name).await?,
    )))
}

fn wire(exec: &ExecView) -> ExecInspectResponse {
    use base64::Engine as _;
    let config = &exec.config;
    let keys = config.detach_keys.as_deref().unwrap_or_default();
    ExecInspectResponse {
        id: exec.id.to_string(),
        running: exec.running,
        exit_code: exec.exit_code.map(i64::from),
        process_config: ExecProcessConfig {
            tty: config.tty,
            entrypoint: config.cmd.first().cloned().unwrap_or_default(),
            arguments: config.cmd.iter().skip(1).cloned().collect(),
            privileged: Some(config.privileged),
            user: config.user.clone(),
        },
        open_stdin: config.attach_stdin,
        open_stderr: config.attach_stderr,
        open_stdout: config.attach_stdout,
        can_remove: false,
        container_id: exec.container.to_string(),
        detach_keys: base64::engine::general_purpose::STANDARD.encode(keys),
        pid: exec.pid.into(),
    }
}
