//! Archives in and out: load, save, import. Bodies stream through blocking threads both ways.

use super::super::{State, container};
use super::{change, repo_tag};
use crate::body::{self, Body, Pieces};
use crate::request::Request;
use crate::response::{self, JSON, Response};
use bytes::Bytes;
use gantry_api::progress::{ErrorDetail, ProgressDetail, ProgressMessage};
use gantry_base::{Error, Result};
use gantry_engine::image::types::{ImportOptions, LoadEvent, Loaded};
use gantry_oci::Platform;
use gantry_oci::image::ContainerDefaults;
use hyper::StatusCode;

/// The `platform` parameter of archives: an OCI platform as JSON.
pub(super) fn json_platform(request: &Request) -> Result<Option<Platform>> {
    if !request.at_least(48) {
        return Ok(None);
    }
    let mut given = request
        .query
        .all("platform")
        .filter(|text| !text.is_empty());
    let Some(text) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(Error::invalid("multiple platform parameters not supported"));
    }
    parse_platform(text).map(Some)
}

/// An OCI platform as JSON.
pub(super) fn parse_platform(text: &str) -> Result<Platform> {
    let platform: Platform = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("failed to parse platform: {error}")))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(Error::invalid("both OS and Architecture must be provided"));
    }
    Ok(platform)
}

/// `POST /images/load`: from the first byte on, errors are messages in the stream.
pub(super) async fn load(state: State, request: Request) -> Result<Response> {
    let platform = json_platform(&request)?;
    let quiet = request.query.flag_or("quiet", true);
    let (reader, pump) = body::reader(request.body.take());
    let answer = Body::driven(move |pieces| async move {
        let progress = pieces.clone();
        let tell = move |event: LoadEvent| {
            if !quiet {
                // The client may be gone; then reading its archive fails soon.
                let line = layer_message(&event).to_line();
                let _ = progress.blocking_send(Ok(line.into()));
            }
        };
        let work = state.engine.images.load(reader, platform, tell);
        let result = body::beside(pump, work).await;
        let messages = match &result {
            Ok(loaded) => loaded.iter().flat_map(loaded_messages).collect(),
            Err(error) => vec![failure(error)],
        };
        send(&pieces, &messages).await;
    });
    Ok(response::stream(JSON, answer))
}

async fn send(pieces: &Pieces, messages: &[ProgressMessage]) {
    for message in messages {
        if pieces.send(Ok(message.to_line().into())).await.is_err() {
            return;
        }
    }
}

fn failure(error: &Error) -> ProgressMessage {
    let message = error.message().to_owned();
    ProgressMessage {
        error: message.clone(),
        error_detail: Some(ErrorDetail { code: 0, message }),
        ..ProgressMessage::default()
    }
}

fn loaded_messages(loaded: &Loaded) -> Vec<ProgressMessage> {
    let mut messages = Vec::new();
    if let (Some(name), Some(old)) = (&loaded.reference, &loaded.replaced) {
        messages.push(ProgressMessage::stream(format!(
            "The image {name} already exists, renaming the old one with ID {old} to empty string\n"
        )));
    }
    messages.push(ProgressMessage::stream(format!("{loaded}\n")));
    messages
}

fn layer_message(event: &LoadEvent) -> ProgressMessage {
    let LoadEvent::Layer {
        id,
        current_bytes,
        total_bytes,
    } = event;
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    ProgressMessage {
        status: "Loading layer".into(),
        progress: bar(*current_bytes, *total_bytes),
        progress_detail: Some(ProgressDetail {
            current: number(*current_bytes),
            total: number(*total_bytes),
            ..ProgressDetail::default()
        }),
        id: id.clone(),
        ..ProgressMessage::default()
    }
}

/// The bar that clients of old print as it is.
pub(super) fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return format!("{:>8}", size(current));
    }
    let filled = usize::try_from(current.saturating_mul(50) / total)
        .unwrap_or(50)
        .min(50);
    let spaces = if filled < 50 { 49 - filled } else { 0 };
    let arrow = format!("[{}>{}]", "=".repeat(filled), " ".repeat(spaces));
    format!("{arrow} {:>8}/{}", size(current), size(total))
}

/// Four significant digits in units of 1000, as Go's `%.4g`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{}", UNITS[unit])
}

/// `GET /images/get`, `GET /images/{name}/get`: an error before the first byte has its status; a later one breaks the answer off.
pub(super) async fn save(state: State, request: Request) -> Result<Response> {
    let platform = json_platform(&request)?;
    let names: Vec<String> = match request.name.as_str() {
        "" => request.query.all("names").map(str::to_owned).collect(),
        name => vec![name.to_owned()],
    };
    if names.is_empty() {
        return Err(Error::invalid("no image names given"));
    }
    response::tar(
        move |writer| async move { state.engine.images.save(names, platform, writer).await },
    )
    .await
}

/// `POST /images/create`: pull, or import.
pub(super) async fn create(state: State, request: Request) -> Result<Response> {
    let platform = match request.query.get("platform") {
        text if text.is_empty() || !request.at_least(32) => None,
        text => Some(container::platform(text)?),
    };
    match (request.query.get("fromImage"), request.query.get("fromSrc")) {
        ("", "-") => import(state, request, platform).await,
        ("", _) => Err(Error::not_implemented(
            "importing from a URL is not supported yet",
        )),
        _ => super::registry::pull(state, request, platform).await,
    }
}

async fn import(state: State, request: Request, platform: Option<Platform>) -> Result<Response> {
    let reference = repo_tag(&request)?;
    let message = match request.query.get("message") {
        "" => "Imported from -".to_owned(),
        message => message.to_owned(),
    };
    let config = change::apply_all(ContainerDefaults::default(), request.query.all("changes"))?;
    let (reader, pump) = body::reader(request.body.take());
    let options = ImportOptions {
        message,
        config,
        platform,
        reference,
    };
    let id = body::beside(pump, state.engine.images.import(reader, options)).await?;
    let line: Bytes = ProgressMessage::status(id).to_line().into();
    Ok(response::full(StatusCode::OK, JSON, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_drawn_as_dockerd_draws_them() {
        assert_eq!(
            bar(8_082_432, 8_082_432),
            format!("[{}>]  8.082MB/8.082MB", "=".repeat(50))
        );
        assert_eq!(
            bar(32_768, 65_536),
            format!("[{}>{}]  32.77kB/65.54kB", "=".repeat(25), " ".repeat(24))
        );
        assert_eq!(bar(512, 0), "    512B");
        assert_eq!(size(1_000), "1kB");
        assert_eq!(size(123_456_789), "123.5MB");
    }
}
