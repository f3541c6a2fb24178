//! `GET /events`: what happened since, then what happens, one JSON document after the other.

use super::{State, route};
use crate::app::Serve;
use crate::body::Body;
use crate::request::{Request, invalid};
use crate::response::{self, Response};
use crate::router::Router;
use crate::time;
use crate::version::Lowered as _;
use bytes::Bytes;
use gantry_api::ApiVersion;
use gantry_api::filters::Filters;
use gantry_api::types::{EventActor, EventMessage};
use gantry_base::{Error, Result};
use gantry_engine::event::Event;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, HeaderValue};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/events", events);
}

async fn events(state: State, request: Request) -> Result<Response> {
    let (since, until) = (request.query.get("since"), request.query.get("until"));
    let since_ns = time::unix(since, Error::internal)?;
    let until_ns = time::unix(until, Error::internal)?;
    if until_ns.is_some_and(|until_ns| until_ns < since_ns.unwrap_or(0)) {
        let text = format!("`since` time ({since}) cannot be after `until` time ({until})");
        return Err(Error::invalid(text));
    }
    let filters = Filters::parse(request.query.get("filters")).map_err(invalid)?;
    let format = Format::negotiated(request.version, &request.headers);
    let version = request.version;
    let (past, mut live) = state.engine.events.subscribe(since_ns, until_ns);
    let remaining = until_ns.map(|until| until.saturating_sub(time::now_ns()));
    let body = Body::driven(move |pieces| async move {
        let text =
            |event: &Event| matches(&filters, event, version).then(|| format.text(event, version));
        let follow = async {
            for event in past {
                if let Some(text) = text(&event)
                    && pieces.send(Ok(text)).await.is_err()
                {
                    return;
                }
            }
            if remaining.is_some_and(|remaining| remaining <= 0) {
                return;
            }
            loop {
                match live.recv().await {
                    Ok(event) => {
                        if let Some(text) = text(&event)
                            && pieces.send(Ok(text)).await.is_err()
                        {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a client of events was too slow");
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        };
        match remaining
            .and_then(|ns| u64::try_from(ns).ok())
            .filter(|ns| *ns > 0)
        {
            // The end of the time is the end of the answer.
            Some(ns) => drop(tokio::time::timeout(Duration::from_nanos(ns), follow).await),
            None => follow.await,
        }
    });
    Ok(response::stream(
        format.content_type(),
        body.until(&request.connection.stop),
    ))
}

/// How documents are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    JsonLines,
    NdJson,
    JsonSequence,
}

impl Format {
    fn negotiated(version: ApiVersion, headers: &HeaderMap) -> Self {
        let accepted = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let kinds = accepted.flat_map(|value| value.split(','));
        let known = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let asked = known.filter_map(|kind| match kind {
            "application/jsonl" => Some(Self::JsonLines),
            "application/x-ndjson" => Some(Self::NdJson),
            "application/json-seq" => Some(Self::JsonSequence),
            _ => None,
        });
        let default = if version < ApiVersion::new(1, 52) {
            Self::Json
        } else {
            Self::JsonLines
        };
        asked.into_iter().next().unwrap_or(default)
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/jsonl",
            Self::NdJson => "application/x-ndjson",
            Self::JsonSequence => "application/json-seq",
        })
    }

    fn text(self, event: &Event, version: ApiVersion) -> Bytes {
        let mut text = Vec::with_capacity(512);
        if self == Self::JsonSequence {
            text.push(0x1e);
        }
        let message = wire(event).lowered(version);
        serde_json::to_writer(&mut text, &message).expect("has only string keys");
        text.push(b'\n');
        text.into()
    }
}

fn wire(event: &Event) -> EventMessage {
    let attributes = event
        .attributes
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    EventMessage {
        status: None,
        id: None,
        from: None,
        kind: event.kind.to_owned(),
        action: event.action.clone(),
        actor: EventActor {
            id: event.actor_id.clone(),
            attributes,
        },
        scope: "local".into(),
        time: event.time_ns / 1_000_000_000,
        time_nano: event.time_ns,
    }
}

/// Filters that name things by a prefix of their id or name.
const NOUNS: [&str; 9] = [
    "container",
    "plugin",
    "volume",
    "network",
    "daemon",
    "service",
    "node",
    "secret",
    "config",
];

fn matches(filters: &Filters, event: &Event, version: ApiVersion) -> bool {
    if event.kind == "image" && event.action == "create" && version < ApiVersion::new(1, 46) {
        return false;
    }
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    let noun = |noun: &&str| {
        let wanted = filters.get(noun);
        let name = attribute("name").unwrap_or_default();
        wanted.is_empty()
            || wanted
                .iter()
                .any(|w| event.actor_id.starts_with(w.as_str()) || name.starts_with(w.as_str()))
    };
    action_matches(filters, &event.action)
        && filters.matches_exactly("type", event.kind)
        && filters.matches_exactly("scope", "local")
        && NOUNS.iter().all(noun)
        && image_matches(filters, event)
        && filters.matches_labels("label", attribute)
}

/// `exec_create: sh` is found as itself and as `exec_create`.
fn action_matches(filters: &Filters, action: &str) -> bool {
    let wanted = filters.get("event");
    let short = action.split(": ").next().unwrap_or_default();
    wanted.is_empty()
        || wanted
            .iter()
            .any(|wanted| wanted == action || wanted == short)
}

fn image_matches(filters: &Filters, event: &Event) -> bool {
    let wanted = filters.get("image");
    let attribute = if event.kind == "image" {
        "name"
    } else {
        "image"
    };
    let name = event.attributes.get(attribute).map_or("", String::as_str);
    let without_tag = |text: &str| match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name.to_owned(),
        _ => text.to_owned(),
    };
    let names = [
        event.actor_id.clone(),
        name.to_owned(),
        without_tag(&event.actor_id),
        without_tag(name),
    ];
    wanted.is_empty() || wanted.iter().any(|wanted| names.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, action: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Event {
            kind,
            action: action.into(),
            actor_id: "abcdef".into(),
            attributes,
            time_ns: 1_500_000_000,
        }
    }

    #[test]
    fn filters_find_events() {
        let exec = event(
            "container",
            "exec_create: sh -c x",
            &[("name", "web"), ("image", "x:1"), ("l", "v")],
        );
        let finds = |text: &str, event: &Event| {
            matches(
                &Filters::parse(text).expect("is valid"),
                event,
                gantry_api::MAX_VERSION,
            )
        };
        for text in [
            "",
            r#"{"event":["exec_create"]}"#,
            r#"{"container":["abc"]}"#,
            r#"{"container":["we"],"type":["container"]}"#,
            r#"{"image":["x"]}"#,
            r#"{"image":["x:1"],"label":["l=v"]}"#,
        ] {
            assert!(finds(text, &exec), "{text}");
        }
        for text in [
            r#"{"event":["exec_start"]}"#,
            r#"{"container":["b"]}"#,
            r#"{"type":["image"]}"#,
            r#"{"image":["y"]}"#,
            r#"{"label":["l=w"]}"#,
            r#"{"network":["n"]}"#,
        ] {
            assert!(!finds(text, &exec), "{text}");
        }
    }

    #[test]
    fn documents_are_set_apart_as_the_client_asks() {
        let mut headers = HeaderMap::new();
        let old = ApiVersion::new(1, 51);
        assert_eq!(Format::negotiated(old, &headers), Format::Json);
        assert_eq!(
            Format::negotiated(gantry_api::MAX_VERSION, &headers),
            Format::JsonLines
        );
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/html, application/json-seq;q=1"),
        );
        assert_eq!(Format::negotiated(old, &headers), Format::JsonSequence);
        let text = Format::JsonSequence.text(&event("container", "die", &[]), old);
        let expected = concat!(
            "\u{1e}",
            r#"{"status":"die","id":"abcdef","from":"","Type":"container","Action":"die","#,
            r#""Actor":{"ID":"abcdef","Attributes":{}},"scope":"local","time":1,"timeNano":1500000000}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }
}
