//! What speaks with registries: pull, push, search, `/auth` and `/distribution/…`.
//!
//! A failure before the first message has its status; from then on it travels as a message. A client that hangs up ends
//! the work.

use super::super::State;
use super::transfer::bar;
use crate::body::{Body, Pieces};
use crate::request::{Request, invalid};
use crate::response::{self, JSON, Response};
use base64::Engine as _;
use gantry_api::progress::{ErrorDetail, ProgressDetail, ProgressMessage};
use gantry_api::types::{
    AuthConfig, AuthResponse, DistributionInspect, OciDescriptor, OciPlatform, SearchResult,
};
use gantry_base::{Error, ErrorKind, Result};
use gantry_engine::image::types::Credentials;
use gantry_engine::image::{Asker, PullOptions, PushOptions, TransferEvent};
use gantry_oci::{Digest, Platform, Reference};
use tokio::sync::mpsc;

/// Events that may wait for the client.
const EVENTS_MAX: usize = 64;
const REGISTRY_AUTH: &str = "x-registry-auth";
/// Repositories that a search gives, as in Docker.
const SEARCH_LIMIT: i64 = 25;

/// `POST /images/create?fromImage=…`
pub(super) async fn pull(
    state: State,
    request: Request,
    platform: Option<Platform>,
) -> Result<Response> {
    let image = request.query.get("fromImage");
    let mut reference = Reference::parse(image.strip_suffix(':').unwrap_or(image))?;
    match request.query.get("tag") {
        "" => {}
        tag => match Digest::parse(tag) {
            Ok(digest) => (reference.tag, reference.digest) = (None, Some(digest)),
            Err(_) if gantry_oci::reference::tag_is_valid(tag) => {
                (reference.tag, reference.digest) = (Some(tag.to_owned()), None);
            }
            Err(_) => return Err(Error::invalid("invalid tag format")),
        },
    }
    let options = PullOptions {
        reference,
        platform,
        asker: asker(&request),
    };
    let (events, arriving) = mpsc::channel(EVENTS_MAX);
    let images = state.engine.images.clone();
    stream(arriving, async move { images.pull(options, events).await }).await
}

/// `POST /images/{name}/push`
pub(super) async fn push(state: State, request: Request) -> Result<Response> {
    let mut reference = Reference::parse(&request.name)?;
    match request.query.get("tag") {
        "" => {}
        tag if gantry_oci::reference::tag_is_valid(tag) => reference.tag = Some(tag.to_owned()),
        _ => return Err(Error::invalid("invalid tag format")),
    }
    let platform = if request.at_least(46) {
        super::transfer::json_platform(&request)?
    } else {
        None
    };
    let options = PushOptions {
        reference,
        platform,
        asker: asker(&request),
    };
    let (events, arriving) = mpsc::channel(EVENTS_MAX);
    let images = state.engine.images.clone();
    stream(arriving, async move { images.push(options, events).await }).await
}

/// Answers with the messages of some work.
async fn stream(
    mut events: mpsc::Receiver<TransferEvent>,
    work: impl Future<Output = Result<()>> + Send + 'static,
) -> Result<Response> {
    let mut work = Box::pin(work);
    let mut result = None;
    let first = tokio::select! {
        biased;
        first = events.recv() => first,
        ended = &mut work => {
            ended?;
            result = Some(Ok(()));
            events.try_recv().ok()
        }
    };
    let answer = Body::driven(move |pieces| async move {
        if let Some(event) = first
            && !send(&pieces, &message(event)).await
        {
            return;
        }
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => {
                        if !send(&pieces, &message(event)).await {
                            return;
                        }
                    }
                    // The sender is part of the work.
                    None if result.is_some() => break,
                    None => {
                        result = Some((&mut work).await);
                        break;
                    }
                },
                ended = &mut work, if result.is_none() => result = Some(ended),
                () = pieces.closed() => return,
            }
        }
        if let Some(Err(error)) = result {
            send(&pieces, &failure(&error)).await;
        }
    });
    Ok(response::stream(JSON, answer))
}

async fn send(pieces: &Pieces, message: &ProgressMessage) -> bool {
    pieces.send(Ok(message.to_line().into())).await.is_ok()
}

fn failure(error: &Error) -> ProgressMessage {
    let message = error.message().to_owned();
    let code = if error.kind() == ErrorKind::Unauthorized {
        401
    } else {
        0
    };
    ProgressMessage {
        error: message.clone(),
        error_detail: Some(ErrorDetail { code, message }),
        ..ProgressMessage::default()
    }
}

fn message(event: TransferEvent) -> ProgressMessage {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match event {
        TransferEvent::Message { id, text } => ProgressMessage {
            status: text,
            id,
            ..ProgressMessage::default()
        },
        TransferEvent::Layer {
            id,
            status,
            progress,
        } => ProgressMessage {
            status,
            id,
            progress: progress.map_or_else(String::new, |(current, total)| bar(current, total)),
            progress_detail: Some(progress.map_or_else(
                ProgressDetail::default,
                |(current, total)| ProgressDetail {
                    current: number(current),
                    total: number(total),
                    ..ProgressDetail::default()
                },
            )),
            ..ProgressMessage::default()
        },
        TransferEvent::Pushed {
            tag,
            digest,
            size_bytes,
        } => ProgressMessage {
            progress_detail: Some(ProgressDetail::default()),
            aux: Some(serde_json::json!({"Tag": tag, "Digest": digest, "Size": size_bytes})),
            ..ProgressMessage::default()
        },
    }
}

/// Who asks: the credentials in `X-Registry-Auth`, where they can be read, and the headers to pass on.
fn asker(request: &Request) -> Asker {
    let header = request.headers.get(REGISTRY_AUTH);
    let text = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE
        .decode(text)
        .or_else(|_| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim_end_matches('='))
        });
    let config: Option<AuthConfig> = bytes
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok());
    let meta = request
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-meta-"));
    Asker {
        credentials: config.map(credentials),
        headers: meta
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect(),
    }
}

fn credentials(config: AuthConfig) -> Credentials {
    let (mut username, mut password) = (config.username, config.password);
    if username.is_empty() && !config.auth.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(&config.auth)
            .ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((user, secret)) = text.as_deref().and_then(|text| text.split_once(':')) {
            (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
    }
    Credentials {
        username,
        password,
        identity_token: config.identity_token,
        registry_token: config.registry_token,
    }
}

/// `POST /auth`
pub(super) async fn login(state: State, mut request: Request) -> Result<Response> {
    let config: AuthConfig = request.json().await?;
    let server = config.server_address.clone();
    let token = state
        .engine
        .images
        .login(&server, &credentials(config))
        .await?;
    Ok(response::ok(&AuthResponse {
        identity_token: token,
        status: "Login Succeeded".into(),
    }))
}

/// `GET /distribution/{name}/json`
pub(super) async fn distribution(state: State, request: Request) -> Result<Response> {
    let reference = Reference::parse(&request.name)?.with_default_tag();
    let found = state
        .engine
        .images
        .remote(&reference, asker(&request))
        .await?;
    let platform = |platform: Platform| OciPlatform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        variant: platform.variant,
    };
    Ok(response::ok(&DistributionInspect {
        descriptor: OciDescriptor {
            media_type: found.descriptor.media_type,
            digest: found.descriptor.digest.to_string(),
            size: found.descriptor.size,
        },
        platforms: found.platforms.into_iter().map(platform).collect(),
    }))
}

/// `GET /images/search`
pub(super) async fn search(state: State, request: Request) -> Result<Response> {
    let limit = match request.query.get("limit") {
        "" => 0,
        _ => request.number("limit")?.unwrap_or(0),
    };
    let filters = request.filters(&["is-automated", "is-official", "stars"])?;
    if !(0..=100).contains(&limit) {
        return Err(Error::invalid(format!(
            "limit {limit} is outside the range of [1, 100]"
        )));
    }
    let limit = if limit == 0 { SEARCH_LIMIT } else { limit };
    let official = filters.boolean("is-official").map_err(invalid)?;
    let automated = filters.boolean("is-automated").map_err(invalid)?;
    let mut stars = 0;
    for text in filters.get("stars") {
        let number: i64 = text
            .parse()
            .map_err(|_| Error::invalid(format!("invalid filter 'stars=[{text}]'")))?;
        stars = stars.max(number);
    }
    let term = request.query.get("term");
    let images = &state.engine.images;
    let found = images.search(term, limit, &asker(&request)).await?;
    let wanted = found.into_iter().filter(|result| {
        official.is_none_or(|official| result.is_official == official)
            && automated != Some(true)
            && result.star_count >= stars
    });
    let results: Vec<SearchResult> = wanted
        .map(|result| SearchResult {
            star_count: result.star_count,
            is_official: result.is_official,
            name: result.name,
            is_automated: false,
            description: result.description,
        })
        .collect();
    Ok(response::ok(&results))
}
