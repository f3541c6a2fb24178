//! `POST /containers/{name}/attach`: the client's connection becomes the container's stdio.

use super::super::{State, keys};
use crate::app::connection_headers;
use crate::hijack::ClientConnection;
use crate::request::Request;
use crate::response::{self, Response};
use gantry_api::frame::{MULTIPLEXED_STREAM, RAW_STREAM};
use gantry_base::{Error, Result};
use gantry_engine::container::{AttachOptions, ClientStream};
use hyper::header::{HeaderValue, UPGRADE};

pub(super) async fn attach(state: State, request: Request) -> Result<Response> {
    let plan = match options(&request).and_then(|options| {
        super::reference(&request).and_then(|name| state.engine.containers.attach(name, options))
    }) {
        Ok(plan) => plan,
        Err(error) => return Ok(refusal(&error)),
    };
    let head = head(&request, plan.tty, false);
    let run = |connection: ClientConnection| async move {
        let attached = async {
            let (socket, input, relay) = connection.into_socket()?;
            let head = head.into_bytes();
            let client = ClientStream {
                socket,
                input,
                head,
            };
            let (attached, ()) = tokio::join!(plan.run(client), relay);
            attached
        };
        if let Err(error) = attached.await {
            tracing::debug!(?error, "attach ended");
        }
    };
    Err(request.connection.takeover.take(run).await)
}

fn options(request: &Request) -> Result<AttachOptions> {
    let query = &request.query;
    let detach_keys = match query.get("detachKeys") {
        "" => None,
        text => Some(
            keys::parse(text)
                .ok_or_else(|| Error::invalid(format!("Invalid detach keys ({text}) provided")))?,
        ),
    };
    Ok(AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        detach_keys,
    })
}

/// Errors of attach are plain text, whatever the version.
fn refusal(error: &Error) -> Response {
    let kind = HeaderValue::from_static(RAW_STREAM);
    response::full(
        response::status_of(error.kind()),
        kind,
        format!("{}\r\n", error.message()),
    )
}

/// What is sent before the raw stream: 101 to clients that ask for an upgrade, 200 to others.
pub(in crate::route) fn head(request: &Request, tty: bool, with_headers: bool) -> String {
    let multiplexed = !tty && request.at_least(42);
    let more = if with_headers {
        connection_headers()
    } else {
        String::new()
    };
    if request.headers.contains_key(UPGRADE) {
        let kind = if multiplexed {
            MULTIPLEXED_STREAM
        } else {
            RAW_STREAM
        };
        format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{more}\r\n"
        )
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {RAW_STREAM}\r\n{more}\r\n")
    }
}
