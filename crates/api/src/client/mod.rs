//! A client for the Docker Engine API over a Unix socket or TCP.
//!
//! Sends requests with the newest version it knows, and repeats one with the server's own version where the server
//! refuses; so the usual case needs no `_ping`. Keeps idle connections, needs a running tokio runtime of either flavour,
//! and knows nothing of commands or output. Start reading at [`Client`]; hijacked streams are in [`hijack`].

mod body;
mod connection;
mod endpoint;
mod hijack;
mod request;

pub use body::Body;
pub use endpoint::Endpoint;
pub use hijack::Hijacked;
pub use request::{Request, Response, path};

use connection::Connection;
use gantry_base::{Error, ErrorKind, Result};
use hyper::header::{HeaderName, HeaderValue};
use std::sync::Mutex;

/// The newest API version that this client speaks.
pub const NEWEST_VERSION: &str = "1.51";

/// How a [`Client`] is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Use exactly this version and do not negotiate (`DOCKER_API_VERSION`).
    pub pinned_version: Option<String>,
    /// Headers added to each request, as `HttpHeaders` of the configuration file.
    pub headers: Vec<(String, String)>,
    /// The value of `User-Agent`.
    pub user_agent: String,
}

/// A connection pool to one daemon.
pub struct Client {
    endpoint: Endpoint,
    version: Mutex<String>,
    is_pinned: bool,
    is_negotiated: Mutex<bool>,
    headers: Vec<(HeaderName, HeaderValue)>,
    idle: Mutex<Vec<Connection>>,
}

impl Client {
    /// Does no I/O: the first request connects.
    ///
    /// # Errors
    /// Refuses headers that HTTP cannot carry.
    pub fn new(endpoint: Endpoint, options: Options) -> Result<Self> {
        let mut headers = Vec::with_capacity(options.headers.len() + 1);
        let own = [("User-Agent".to_owned(), options.user_agent)];
        for (name, value) in own.into_iter().chain(options.headers) {
            if value.is_empty() && name == "User-Agent" {
                continue;
            }
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::invalid(format!("invalid HTTP header name {name:?}")))?;
            let value = HeaderValue::from_str(&value).map_err(|_| {
                Error::invalid(format!("invalid value of the HTTP header {name:?}"))
            })?;
            headers.push((header, value));
        }
        Ok(Self {
            endpoint,
            is_pinned: options.pinned_version.is_some(),
            version: Mutex::new(
                options
                    .pinned_version
                    .unwrap_or_else(|| NEWEST_VERSION.to_owned()),
            ),
            is_negotiated: Mutex::new(false),
            headers,
            idle: Mutex::new(Vec::new()),
        })
    }
    /// Where the daemon listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
    /// The version that requests carry at this moment.
    pub fn version(&self) -> String {
        lock(&self.version).clone()
    }
    /// Sends one request and reads the head of the answer.
    ///
    /// # Errors
    /// No connection, or an error answer: the daemon's message after `Error response from daemon: `, with the kind of its status.
    pub async fn send(&self, request: Request) -> Result<Response<'_>> {
        if request.body.is_streamed() {
            self.negotiate().await?;
        }
        let Some(again) = request.duplicate() else {
            return self.send_once(request).await;
        };
        let asked = self.version();
        match self.send_once(request).await {
            Err(error) if self.version() != asked && is_version_refusal(&error) => {
                self.send_once(again).await
            }
            answer => answer,
        }
    }
    /// Sends a request that turns its connection into a raw stream (`attach`, `exec/start`).
    ///
    /// # Errors
    /// As [`Client::send`]; also where the daemon answers without switching protocols.
    pub async fn hijack(&self, request: Request) -> Result<Hijacked> {
        hijack::open(self, request).await
    }
    /// Learns the daemon's version by `HEAD /_ping`, unless a version is pinned or known already.
    ///
    /// # Errors
    /// No connection.
    pub async fn negotiate(&self) -> Result<()> {
        if self.is_pinned || *lock(&self.is_negotiated) {
            return Ok(());
        }
        let mut request = Request::head("/_ping");
        request.is_unversioned = true;
        self.send_once(request).await?.discard().await
    }

    async fn send_once(&self, request: Request) -> Result<Response<'_>> {
        let (response, connection) = self.exchange(request).await?;
        if response.status().is_success() || response.status() == hyper::StatusCode::NOT_MODIFIED {
            return Ok(Response::new(self, response, connection));
        }
        let status = response.status();
        let is_json = response
            .headers()
            .get(hyper::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let body = Response::new(self, response, connection).bytes().await?;
        Err(request::error_answer(status, is_json, &body))
    }

    /// Sends `request` on an idle or new connection. A connection that turns out to be closed is replaced once.
    async fn exchange(
        &self,
        request: Request,
    ) -> Result<(hyper::Response<hyper::body::Incoming>, Connection)> {
        let mut http =
            request.into_http(&self.prefix(), self.endpoint.host_header(), &self.headers)?;
        loop {
            let kept = lock(&self.idle).pop();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&self.endpoint).await?,
            };
            match connection.send(http).await {
                Ok(response) => {
                    self.learn_version(&response);
                    return Ok((response, connection));
                }
                Err((_, Some(unsent))) if is_kept => http = unsent,
                Err((error, _)) => {
                    let message = format!("error during connect: {}: {error}", self.endpoint);
                    return Err(Error::new(ErrorKind::Unavailable, message).with_source(error));
                }
            }
        }
    }

    fn prefix(&self) -> String {
        format!("/v{}", lock(&self.version))
    }

    fn learn_version(&self, response: &hyper::Response<hyper::body::Incoming>) {
        let Some(theirs) = response
            .headers()
            .get("api-version")
            .and_then(|value| value.to_str().ok())
        else {
            return;
        };
        let mut negotiated = lock(&self.is_negotiated);
        if self.is_pinned || *negotiated {
            return;
        }
        *negotiated = true;
        let mut ours = lock(&self.version);
        if is_older(theirs, &ours) {
            theirs.clone_into(&mut ours);
        }
    }

    fn keep(&self, connection: Connection) {
        if connection.is_open() {
            lock(&self.idle).push(connection);
        }
    }
}

/// Whether version `a` is older than version `b`; what is not `number.number` is never older.
pub fn is_older(a: &str, b: &str) -> bool {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a < b)
}

fn is_version_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::InvalidParameter && error.message().contains("is too new")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_older("1.9", "1.51"));
        assert!(!is_older("1.51", "1.51"));
        assert!(!is_older("1.55", "1.51"));
        assert!(!is_older("nonsense", "1.51"));
    }

    #[test]
    fn headers_that_http_cannot_carry_are_refused() {
        let endpoint = Endpoint::parse("unix:///run/x.sock").expect("is valid");
        let options = Options {
            headers: vec![("a b".into(), "c".into())],
            ..Options::default()
        };
        let error = Client::new(endpoint, options).err().expect("is refused");
        assert_eq!(error.message(), "invalid HTTP header name \"a b\"");
    }
}
