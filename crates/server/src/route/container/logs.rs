//! `GET /containers/{name}/logs`

use super::super::State;
use crate::body::Body;
use crate::request::Request;
use crate::response::{self, Response};
use crate::time;
use bytes::Bytes;
use gantry_api::frame::{MULTIPLEXED_STREAM, RAW_STREAM, StreamKind, header};
use gantry_base::{Error, Result};
use gantry_engine::container::LogsOptions;
use hyper::header::HeaderValue;

pub(super) async fn logs(state: State, request: Request) -> Result<Response> {
    let query = &request.query;
    let options = LogsOptions {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        since_ns: time::unix(query.get("since"), Error::internal)?.filter(|time| *time != 0),
        until_ns: time::unix(query.get("until"), Error::internal)?.filter(|time| *time != 0),
        // Whatever is no number means all, and so do negative numbers.
        tail: query.get("tail").parse().ok(),
    };
    if !options.stdout && !options.stderr {
        return Err(Error::invalid(
            "Bad parameters: you must choose at least one stream",
        ));
    }
    let mut log = state
        .engine
        .containers
        .logs(super::reference(&request)?, options)
        .await?;
    let tty = log.tty;
    let kind = if !tty && request.at_least(42) {
        MULTIPLEXED_STREAM
    } else {
        RAW_STREAM
    };
    let body = Body::driven(|pieces| async move {
        while let Some(chunk) = log.chunks.recv().await {
            let bytes = chunk.unwrap_or_else(|error| failure(&error, tty));
            if pieces.send(Ok(bytes)).await.is_err() {
                return;
            }
        }
    });
    let body = if options.follow {
        body.until(&request.connection.stop)
    } else {
        body
    };
    Ok(response::stream(HeaderValue::from_static(kind), body))
}

/// An error in the stream, as the status is sent already.
fn failure(error: &Error, tty: bool) -> Bytes {
    let text = format!("Error grabbing logs: {}\n", error.message());
    if tty {
        return text.into();
    }
    let mut frame = header(
        StreamKind::SystemError,
        u32::try_from(text.len()).unwrap_or(0),
    )
    .to_vec();
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}
