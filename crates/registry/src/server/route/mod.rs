//! From a request to its answer: which endpoint, who asks, and the function that does it.

mod blob;
mod listing;
mod manifest;
mod upload;

use super::App;
use super::auth::{Access, Action};
use super::body::{Body, Response};
use super::failure::Failure;
use super::name::{Endpoint, Query};
use super::upload::blocking;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use std::sync::Arc;

/// `Docker-Content-Digest`
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A request after its head was read.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Request {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
    fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.parse().ok()
    }
    fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }
}

/// What the access log says beside what it sees itself.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) account: String,
}

/// Answers a request. Never fails: a refusal is an answer too.
pub(crate) async fn answer(
    app: &Arc<App>,
    request: hyper::Request<Incoming>,
    outcome: &mut Outcome,
) -> Response {
    let answered = dispatch(app, request, outcome).await;
    let mut response = answered.unwrap_or_else(Failure::into_response);
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("docker-distribution-api-version"),
        HeaderValue::from_static("registry/2.0"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

async fn dispatch(
    app: &Arc<App>,
    request: hyper::Request<Incoming>,
    outcome: &mut Outcome,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let endpoint = Endpoint::parse(parts.uri.path())?;
    if endpoint == Endpoint::Health {
        return health(app, &parts.method).await;
    }
    let access = access(&endpoint, &parts.method);
    outcome.account = app.auth.check(&parts.headers, &access).await?;
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let request = Request {
        method: parts.method,
        query,
        headers: parts.headers,
        body,
    };
    match endpoint {
        Endpoint::Base => base(&request),
        Endpoint::Catalog => listing::repositories(app, &request).await,
        Endpoint::Tags(name) => listing::tags(app, &request, name).await,
        Endpoint::Referrers(name, digest) => listing::referrers(app, &request, name, digest).await,
        Endpoint::Blob(name, digest) => blob::answer(app, &request, name, digest).await,
        Endpoint::Manifest(name, wanted) => manifest::answer(app, request, name, wanted).await,
        Endpoint::Uploads(name) => upload::begin(app, request, name).await,
        Endpoint::Upload(name, id) => upload::go_on(app, request, name, id).await,
        Endpoint::Health => Err(Failure::no_such_page()),
    }
}

/// What an endpoint needs. Looking at an upload is a part of pushing.
fn access(endpoint: &Endpoint, method: &Method) -> Access {
    let is_upload = matches!(endpoint, Endpoint::Uploads(_) | Endpoint::Upload(..));
    let action = match *method {
        _ if is_upload => Action::Push,
        Method::GET | Method::HEAD => Action::Pull,
        Method::DELETE => Action::Delete,
        _ => Action::Push,
    };
    match endpoint.repository() {
        Some(name) => Access::Repository(name.clone(), action),
        None if *endpoint == Endpoint::Catalog => Access::Catalog,
        None => Access::Known,
    }
}

fn base(request: &Request) -> Result<Response, Failure> {
    only_reading(&request.method)?;
    Ok(json(request, b"{}".to_vec()))
}

/// Whether rows and files can be reached.
async fn health(app: &Arc<App>, method: &Method) -> Result<Response, Failure> {
    only_reading(method)?;
    let storage = app.storage.clone();
    blocking(move || storage.probe()).await?;
    Ok(Response::new(Body::full("ok\n")))
}

fn only_reading(method: &Method) -> Result<(), Failure> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Failure::method_not_allowed("GET, HEAD")),
    }
}

/// A JSON document, or to HEAD its length.
fn json(request: &Request, bytes: Vec<u8>) -> Response {
    let length = HeaderValue::from(bytes.len());
    let body = if request.is_head() {
        Body::Empty
    } else {
        Body::full(bytes)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Sets a header whose value is made of what was checked before.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Whether the client has this content already.
fn is_unmodified(request: &Request, etag: &str) -> bool {
    let known = request.header(&header::IF_NONE_MATCH).unwrap_or_default();
    known
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}
