//! From an HTTP request to its handler: path, version, origin; and from the handler's result to the answer.

use crate::hijack::{BoxFuture, Takeover};
use crate::request::{Request, RequestBody};
use crate::response::{self, Response};
use crate::router::{self, Router};
use crate::{body::Body, origin};
use gantry_api::query::{Query, decode};
use gantry_api::{ApiVersion, MAX_VERSION, MIN_VERSION};
use gantry_base::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue, LOCATION, SERVER};
use hyper::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

/// Serves one route.
pub(crate) type Serve<S> = fn(S, Request) -> BoxFuture<Result<Response>>;

/// The routes, with what their handlers work on.
pub(crate) struct App<S> {
    pub router: Router<Serve<S>>,
    pub state: S,
    /// Host names by which TCP clients may ask for this daemon.
    pub host_names: Vec<String>,
}

/// What a request knows of its connection.
#[derive(Clone)]
pub(crate) struct Connection {
    pub takeover: Takeover,
    pub is_tcp: bool,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
}

impl<S: Clone> App<S> {
    pub(crate) async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        connection: Connection,
    ) -> Response {
        let mut response = self.route(request, connection).await;
        let headers = response.headers_mut();
        headers.insert(API_VERSION, HeaderValue::from_static(MAX_VERSION_TEXT));
        headers.insert(EXPERIMENTAL, HeaderValue::from_static("false"));
        headers.insert(OSTYPE, HeaderValue::from_static("linux"));
        headers.insert(SERVER, HeaderValue::from_static(SERVER_TEXT));
        response
    }

    async fn route(&self, request: hyper::Request<Incoming>, connection: Connection) -> Response {
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body);
        if connection.is_tcp
            && let Err(error) = origin::check(&head.headers, &self.host_names)
        {
            return response::error(MAX_VERSION, &error);
        }
        let Some(path) = decode(head.uri.path(), false) else {
            return response::full(StatusCode::BAD_REQUEST, response::TEXT, "400 Bad Request");
        };
        if let Some(path) = router::cleaned(&path) {
            return moved(&path, head.uri.query());
        }
        let (version_text, path) = router::split_version(&path);
        let Some(found) = self.router.find(&head.method, path) else {
            return response::page_not_found();
        };
        let version = version_text.map_or(MAX_VERSION, version_of);
        if let Err(error) = check_version(version, version_text.unwrap_or_default()) {
            return response::error(version, &error);
        }
        let request = Request {
            version,
            name: found.name.to_owned(),
            query: Query::parse(head.uri.query().unwrap_or_default()),
            headers: head.headers,
            body: body.clone(),
            connection,
        };
        let result = (found.target)(self.state.clone(), request).await;
        body.drain().await;
        match result {
            Ok(response) => response,
            Err(error) => {
                log(&head.method, path, &error);
                response::error(version, &error)
            }
        }
    }
}

const API_VERSION: HeaderName = HeaderName::from_static("api-version");
const EXPERIMENTAL: HeaderName = HeaderName::from_static("docker-experimental");
const OSTYPE: HeaderName = HeaderName::from_static("ostype");
const MAX_VERSION_TEXT: &str = "1.55";
const SERVER_TEXT: &str = concat!("Gantry/", env!("CARGO_PKG_VERSION"), " (linux)");

/// The headers of every answer, for answers that are written by hand.
pub(crate) fn connection_headers() -> String {
    format!(
        "Api-Version: {MAX_VERSION_TEXT}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: {SERVER_TEXT}\r\n"
    )
}

fn log(method: &Method, path: &str, error: &Error) {
    if matches!(error.kind(), ErrorKind::Internal) {
        tracing::error!(%method, path = ?path, error = ?error, "request failed");
    } else {
        tracing::debug!(%method, path = ?path, error = ?error, "request refused");
    }
}

/// The first two numbers count, and a missing one is 0, as in dockerd's comparison.
fn version_of(text: &str) -> ApiVersion {
    let mut numbers = text.split('.').map(|part| match part.parse::<u16>() {
        Ok(number) => number,
        Err(_) if part.is_empty() => 0,
        Err(_) => u16::MAX,
    });
    let major = numbers.next().unwrap_or_default();
    ApiVersion::new(major, numbers.next().unwrap_or_default())
}

fn check_version(version: ApiVersion, text: &str) -> Result<()> {
    if version < MIN_VERSION {
        return Err(Error::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {MIN_VERSION}, please upgrade your client to a newer version"
        )));
    }
    if version > MAX_VERSION {
        return Err(Error::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {MAX_VERSION}"
        )));
    }
    Ok(())
}

fn moved(path: &str, query: Option<&str>) -> Response {
    let mut target: String = path
        .split('/')
        .map(gantry_api::query::encode)
        .collect::<Vec<_>>()
        .join("/");
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(target) = HeaderValue::from_str(&target) {
        response.headers_mut().insert(LOCATION, target);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_version_is_the_newest() {
        assert_eq!(MAX_VERSION.to_string(), MAX_VERSION_TEXT);
    }

    #[test]
    fn versions_out_of_range_are_refused_in_dockers_words() {
        let check = |text: &str| check_version(version_of(text), text).map_err(|e| e.to_string());
        assert_eq!(check("1.12"), Ok(()));
        assert_eq!(check("1.55"), Ok(()));
        assert_eq!(
            check("1.56"),
            Err("client version 1.56 is too new. Maximum supported API version is 1.55".into())
        );
        assert_eq!(check("1.11").expect_err("is too old").split('.').count(), 4);
        for bad in ["1", "0.99", "2.0", "1.99999999", "9"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
