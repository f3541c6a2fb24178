//! `/containers/…`: the verbs that are one call. Longer ones have files of their own.

mod archive;
mod attach;
mod commit;
mod create;
mod filter;
mod host_config;
mod inspect;
mod list;
mod logs;
mod stats;

pub(super) use list::usage;

use super::{State, route};
use crate::app::Serve;
use crate::body::Body;
use crate::request::{Request, quoted};
use crate::response::{self, JSON, Response};
use crate::router::Router;
use crate::time;
pub(super) use attach::head;
pub(super) use create::{attachment, check_stop_signal, platform};
use gantry_api::types::{
    ContainerTopResponse, ContainerWaitExitError, ContainerWaitResponse, ContainersPruneReport,
};
use gantry_base::{Error, Result};
use gantry_engine::container::view::ContainerView;
use gantry_engine::container::{RemoveOptions, Start, Stop, StopOptions, WaitCondition};
use hyper::StatusCode;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/containers/json", list::list);
    route!(router, POST "/containers/create", create::create);
    route!(router, POST "/containers/prune", prune);
    route!(router, GET "/containers/{}/json", inspect::inspect);
    route!(router, GET "/containers/{}/top", top);
    route!(router, GET "/containers/{}/logs", logs::logs);
    route!(router, POST "/containers/{}/start", start);
    route!(router, POST "/containers/{}/stop", stop);
    route!(router, POST "/containers/{}/restart", restart);
    route!(router, POST "/containers/{}/kill", kill);
    route!(router, POST "/containers/{}/pause", pause);
    route!(router, POST "/containers/{}/unpause", unpause);
    route!(router, POST "/containers/{}/update", create::update);
    route!(router, POST "/containers/{}/wait", wait);
    route!(router, POST "/containers/{}/resize", resize);
    route!(router, POST "/containers/{}/attach", attach::attach);
    route!(router, POST "/containers/{}/rename", rename);
    route!(router, HEAD "/containers/{}/archive", archive::stat);
    route!(router, GET "/containers/{}/archive", archive::get);
    route!(router, PUT "/containers/{}/archive", archive::put);
    route!(router, GET "/containers/{}/export", archive::export);
    route!(router, GET "/containers/{}/changes", commit::changes);
    route!(router, POST "/commit", commit::commit);
    route!(router, GET "/containers/{}/stats", stats::stats);
    route!(router, DELETE "/containers/{}", remove);
}

/// The container that the path names.
fn reference(request: &Request) -> Result<&str> {
    match request.name.as_str() {
        "" => Err(Error::invalid("invalid name or ID supplied: \"\"")),
        name => Ok(name),
    }
}

async fn start(state: State, request: Request) -> Result<Response> {
    // A JSON object with a member has at least 7 bytes; bodies of unknown length are chunked ones.
    if request.body.length.is_none_or(|length| length > 7) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !request.query.get("checkpoint").is_empty() {
        return Err(Error::invalid(
            "checkpoint is only supported in experimental mode",
        ));
    }
    match state.engine.containers.start(reference(&request)?).await? {
        Start::Started => Ok(response::no_content()),
        Start::AlreadyRunning => Ok(response::status(StatusCode::NOT_MODIFIED)),
    }
}

fn stop_options(request: &Request) -> Result<StopOptions> {
    let signal = request.query.get("signal");
    let signal = (request.at_least(42) && !signal.is_empty()).then(|| signal.to_owned());
    Ok(StopOptions {
        signal,
        timeout_s: request.number("t")?,
    })
}

async fn stop(state: State, request: Request) -> Result<Response> {
    let options = stop_options(&request)?;
    match state
        .engine
        .containers
        .stop(reference(&request)?, options)
        .await?
    {
        Stop::Stopped => Ok(response::no_content()),
        Stop::AlreadyStopped => Ok(response::status(StatusCode::NOT_MODIFIED)),
    }
}

async fn restart(state: State, request: Request) -> Result<Response> {
    let options = stop_options(&request)?;
    state
        .engine
        .containers
        .restart(reference(&request)?, options)
        .await?;
    Ok(response::no_content())
}

async fn kill(state: State, request: Request) -> Result<Response> {
    let signal = match request.query.get("signal") {
        "" => "KILL",
        signal => signal,
    };
    let name = reference(&request)?;
    state.engine.containers.kill(name, signal).await?;
    Ok(response::no_content())
}

async fn pause(state: State, request: Request) -> Result<Response> {
    state.engine.containers.pause(reference(&request)?).await?;
    Ok(response::no_content())
}

async fn unpause(state: State, request: Request) -> Result<Response> {
    state
        .engine
        .containers
        .unpause(reference(&request)?)
        .await?;
    Ok(response::no_content())
}

async fn rename(state: State, request: Request) -> Result<Response> {
    let name = request.query.get("name");
    if request.name.is_empty() || name.is_empty() {
        return Err(Error::invalid("Neither old nor new names may be empty"));
    }
    state.engine.containers.rename(&request.name, name).await?;
    Ok(response::no_content())
}

async fn remove(state: State, request: Request) -> Result<Response> {
    let options = RemoveOptions {
        force: request.query.flag("force"),
        volumes: request.query.flag("v"),
        link: request.query.flag("link"),
    };
    state
        .engine
        .containers
        .remove(reference(&request)?, options)
        .await?;
    Ok(response::no_content())
}

async fn resize(state: State, request: Request) -> Result<Response> {
    let (rows, columns) = (request.size("h", "height")?, request.size("w", "width")?);
    state
        .engine
        .containers
        .resize(reference(&request)?, rows, columns)
        .await?;
    Ok(response::status(StatusCode::OK))
}

async fn top(state: State, request: Request) -> Result<Response> {
    let arguments = match request.query.get("ps_args") {
        "" => "-ef",
        arguments => arguments,
    };
    let top = state
        .engine
        .containers
        .top(reference(&request)?, arguments)
        .await?;
    Ok(response::ok(&ContainerTopResponse {
        processes: top.processes,
        titles: top.titles,
    }))
}

/// Sends the headers once the wait is registered, as clients start the container only then.
async fn wait(state: State, request: Request) -> Result<Response> {
    let condition = match request.query.get("condition") {
        _ if !request.at_least(30) => WaitCondition::NotRunning,
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => {
            return Err(Error::invalid(format!(
                "invalid condition: {}",
                quoted(other)
            )));
        }
    };
    let ended = state
        .engine
        .containers
        .wait(reference(&request)?, condition)
        .await?;
    let silent = condition == WaitCondition::Removed && !request.at_least(34);
    let document = async move {
        let answer = match ended.await {
            Ok(status) => ContainerWaitResponse {
                status_code: status.code.into(),
                error: status
                    .error
                    .map(|message| ContainerWaitExitError { message }),
            },
            Err(error) => {
                let message = error.message().to_owned();
                ContainerWaitResponse {
                    status_code: -1,
                    error: Some(ContainerWaitExitError { message }),
                }
            }
        };
        // Clients of old took an empty answer for a failed removal.
        (!silent || answer.error.is_none()).then(|| {
            let mut text = serde_json::to_vec(&answer).expect("has only string keys");
            text.push(b'\n');
            text
        })
    };
    if !request.at_least(30) {
        let text = document.await.unwrap_or_default();
        return Ok(response::full(StatusCode::OK, JSON, text));
    }
    let body = Body::driven(|pieces| async move {
        if let Some(text) = document.await {
            // The client may be gone.
            let _ = pieces.send(Ok(text.into())).await;
        }
    });
    Ok(response::stream(JSON, body.until(&request.connection.stop)))
}

async fn prune(state: State, request: Request) -> Result<Response> {
    let filters = request.filters(&["label", "label!", "until"])?;
    let until = time::until_filter(&filters)?;
    let wanted = |view: &ContainerView| {
        let label = |key: &str| view.config.labels.get(key).map(String::as_str);
        until.is_none_or(|until| view.created_ns <= until) && filters.passes_labels(label)
    };
    let pruned = state.engine.containers.prune(wanted).await?;
    let ids: Vec<String> = pruned.ids.iter().map(ToString::to_string).collect();
    Ok(response::ok(&ContainersPruneReport {
        containers_deleted: (!ids.is_empty()).then_some(ids),
        space_reclaimed: pruned.space_reclaimed_bytes,
    }))
}
