//! One request with all that may come between it and its answer: tokens, redirects, pauses, repetition.
//!
//! Nothing waits without bound, a 401 is answered once with a fresh token, and neither credentials nor tokens nor the
//! headers of a host are sent to another one than they are for.

use super::auth::TokenKey;
use super::endpoint::Endpoint;
use super::failure::{Answer, BODY_BYTES_MAX, Failure};
use super::transport::{Tls, with_causes};
use super::{Patience, Repository, lock};
use crate::challenge::Challenge;
use reqwest::header::{
    AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Redirects followed.
const REDIRECTS_MAX: usize = 5;
/// Answers 401 to one request: with no token or an old one, then with a fresh one.
const CHALLENGES_MAX: usize = 2;

/// What is asked for. The body, if any, is made anew for each attempt.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<&'a (dyn Fn() -> reqwest::Body + Send + Sync)>,
}

impl Ask<'_> {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
        }
    }
    pub(super) fn header(mut self, name: reqwest::header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }
}

impl Repository {
    /// Sends until a registry has answered with success, as long as failures are of a passing kind.
    pub(super) async fn send_patiently(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
    ) -> Result<Response, Failure> {
        let patience = self.client.patience();
        let mut attempt = 1;
        loop {
            let failure = match self.send(endpoint, ask).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            // A host that cannot be connected to is not asked again: there may be another one.
            let is_connect = matches!(
                failure,
                Failure::Transport {
                    is_connect: true,
                    ..
                }
            );
            if !failure.is_passing() || is_connect || attempt >= patience.attempts {
                return Err(failure);
            }
            pause(patience, attempt, &failure).await?;
            attempt += 1;
        }
    }

    /// Sends once; a success is an answer with status 2xx.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
    ) -> Result<Response, Failure> {
        let key = self.token_key(endpoint);
        let mut authorization = lock(&self.client.shared.tokens).get(&key);
        let mut challenges = 0;
        loop {
            let mut response = self.follow(endpoint, ask, authorization.as_ref()).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let challenge = challenges_of(response.headers());
            let is_challenge = status == StatusCode::UNAUTHORIZED && !challenge.is_empty();
            if !is_challenge || challenges + 1 >= CHALLENGES_MAX {
                return Err(self.refusal(&mut response).await);
            }
            challenges += 1;
            drop(response);
            let fetched = self
                .client
                .authorize(&challenge, &key, &endpoint.base, &endpoint.tls)
                .await
                .map_err(|failure| at(&ask.method, &ask.url, failure))?;
            authorization = Some(fetched.header);
        }
    }

    /// The credentials of the user are for the registry, not for what stands in for it.
    pub(super) fn token_key(&self, endpoint: &Endpoint) -> TokenKey {
        TokenKey {
            endpoint: endpoint.base.to_string(),
            scope: format!("repository:{}:{}", self.path, self.actions),
            credentials: self.credentials.clone().filter(|_| !endpoint.is_mirror),
        }
    }

    async fn follow(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let patience = self.client.patience();
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_own = is_same_origin(&url, &endpoint.base);
            let tls = if is_own {
                endpoint.tls.clone()
            } else {
                Tls::default()
            };
            let client = self.client.shared.transports.client(&tls)?;
            let mut request = client.request(ask.method.clone(), url.clone());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if is_own {
                for (name, value) in self.headers.iter().chain(&endpoint.headers) {
                    request = request.header(name, value);
                }
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization);
                }
            }
            if let Some(body) = ask.body {
                request = request.body(body());
            }
            let response = bounded(patience, ask.method.as_str(), &url, request).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirected(&url, &response, endpoint, &ask.method)?;
        }
        Err(Failure::refused(format!(
            "stopped after {REDIRECTS_MAX} redirects"
        )))
    }

    /// Reads what the registry says about its refusal.
    async fn refusal(&self, response: &mut Response) -> Failure {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        // The status says enough if the body breaks off.
        let body = read_up_to(self.client.patience(), response, BODY_BYTES_MAX)
            .await
            .unwrap_or_default();
        Failure::Answer(Answer::new(status, &body, retry_after))
    }
}

/// Sends with bounds on connecting and on the head of the answer. A body that is a stream is bounded by who sends it.
pub(super) async fn bounded(
    patience: &Patience,
    method: &str,
    url: &Url,
    request: RequestBuilder,
) -> Result<Response, Failure> {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| Failure::refused(with_causes(&error)))?;
    let is_stream = request.body().is_some_and(|body| body.as_bytes().is_none());
    let sent = client.execute(request);
    let outcome = if is_stream {
        sent.await
    } else {
        let limit = patience.connect + patience.answer;
        let late = |_| {
            let text = "net/http: timeout awaiting response headers";
            at_url(method, url, text, false)
        };
        tokio::time::timeout(limit, sent).await.map_err(late)?
    };
    outcome.map_err(|error| transport_failure(method, url, &error))
}

/// The next bytes of a body; none at its end.
pub(super) async fn next_bytes(
    patience: &Patience,
    response: &mut Response,
) -> Result<Option<bytes::Bytes>, Failure> {
    match tokio::time::timeout(patience.stall, response.chunk()).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let text = with_causes(&error);
            let is_short = text.contains("end of file") || text.contains("incomplete");
            Err(Failure::broken(if is_short {
                "unexpected EOF".to_owned()
            } else {
                text
            }))
        }
        Err(_) => Err(Failure::broken(format!(
            "no data arrived for {} seconds",
            patience.stall.as_secs()
        ))),
    }
}

/// A body of at most so many bytes; what is longer is cut off.
pub(super) async fn read_up_to(
    patience: &Patience,
    response: &mut Response,
    most: usize,
) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let until = tokio::time::Instant::now() + patience.answer + patience.stall;
    while body.len() < most {
        let next = tokio::time::timeout_at(until, next_bytes(patience, response)).await;
        let next = next.map_err(|_| Failure::broken("the answer arrives too slowly"))??;
        let Some(bytes) = next else { break };
        body.extend_from_slice(&bytes[..bytes.len().min(most - body.len())]);
    }
    Ok(body)
}

/// Waits before the next attempt: as long as the registry asks for, or longer each time.
pub(super) async fn pause(
    patience: &Patience,
    attempt: u32,
    failure: &Failure,
) -> Result<(), Failure> {
    let asked = match failure {
        Failure::Answer(answer) => answer.retry_after,
        _ => None,
    };
    let pause = match asked {
        Some(asked) if asked > patience.retry_after_max => {
            return Err(Failure::refused(format!(
                "{failure}: the registry asks to wait for {} seconds",
                asked.as_secs()
            )));
        }
        Some(asked) => asked,
        None => patience.pause(attempt),
    };
    tracing::debug!(?pause, %failure, "trying again");
    tokio::time::sleep(pause).await;
    Ok(())
}

/// `Retry-After`: seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    let seconds = u64::try_from(date.timestamp().as_second()).unwrap_or(0);
    Some(Duration::from_secs(seconds.saturating_sub(now.as_secs())))
}

fn challenges_of(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(Challenge::parse)
        .collect()
}

fn redirected(
    from: &Url,
    response: &Response,
    endpoint: &Endpoint,
    method: &Method,
) -> Result<Url, Failure> {
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let status = response.status();
    let refuse =
        |why: &str| Failure::refused(format!("the registry redirects {}: {why}", shown(from)));
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(refuse(&format!("{method} is not repeated elsewhere")));
    }
    let location = location.ok_or_else(|| refuse(&format!("{status} without a location")))?;
    let url = from
        .join(location)
        .map_err(|_| refuse("to what is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("to what is no HTTP server"));
    }
    if from.scheme() == "https" && url.scheme() == "http" && !endpoint.tls.skip_verify {
        return Err(refuse("away from TLS"));
    }
    if !may_be_sent_to(&url, &endpoint.base) {
        return Err(refuse("to an address that only this machine reaches"));
    }
    Ok(url)
}

/// Registries name other hosts; they may not name those that only the daemon's machine can speak with.
pub(super) fn may_be_sent_to(url: &Url, endpoint: &Url) -> bool {
    let address = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        host.trim_matches(['[', ']']).parse::<IpAddr>().ok()
    };
    let is_local = |url: &Url| {
        let is_named = url
            .host_str()
            .is_some_and(|host| host == "localhost" || host.ends_with(".localhost"));
        is_named
            || address(url).is_some_and(|address| address.is_loopback() || address.is_unspecified())
    };
    let is_link_local = address(url).is_some_and(|address| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address
                    .to_ipv4_mapped()
                    .is_some_and(|v4| v4.is_link_local() || v4.is_loopback())
        }
    });
    !is_link_local && (!is_local(url) || is_local(endpoint))
}

fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// What a request without an answer is told as.
fn transport_failure(method: &str, url: &Url, error: &reqwest::Error) -> Failure {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let text = with_causes(error);
    let is_connect = error.is_connect();
    let why = if let Some(io) = io_cause(error) {
        match io.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                format!("dial tcp {host}:{port}: connect: connection refused")
            }
            std::io::ErrorKind::TimedOut => format!("dial tcp {host}:{port}: i/o timeout"),
            _ if is_connect && text.contains("InvalidContentType") => {
                "http: server gave HTTP response to HTTPS client".to_owned()
            }
            _ if text.contains("UnknownIssuer") => {
                "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                    .to_owned()
            }
            _ => innermost(error),
        }
    } else if error.is_timeout() {
        format!("dial tcp {host}:{port}: i/o timeout")
    } else {
        innermost(error)
    };
    at_url(method, url, &why, is_connect)
}

/// The URL without query: signed addresses are credentials of a kind.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// In the form of Go's `url.Error`: `Get "https://…": why`.
fn at_url(method: &str, url: &Url, why: &str, is_connect: bool) -> Failure {
    let lower = method.to_ascii_lowercase();
    let mut characters = lower.chars();
    let method: String = characters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(characters)
        .collect();
    // Docker asks for /v2/ first, so that this is what its users know from a registry that cannot be reached.
    let url = match url.path().find("/v2/") {
        Some(at) if is_connect => {
            let mut base = url.clone();
            base.set_path(&url.path()[..at + 4]);
            shown(&base)
        }
        _ => shown(url),
    };
    let method = if is_connect { "Get".to_owned() } else { method };
    Failure::Transport {
        text: format!("{method} \"{url}\": {why}"),
        is_connect,
    }
}

fn at(method: &Method, url: &Url, failure: Failure) -> Failure {
    match failure {
        Failure::Auth(why) => match at_url(method.as_str(), url, &why, false) {
            Failure::Transport { text, .. } => Failure::Auth(text),
            other => other,
        },
        other => other,
    }
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut cause = Some(error);
    let mut found = None;
    while let Some(error) = cause {
        found = error.downcast_ref::<std::io::Error>().or(found);
        cause = error.source();
    }
    found
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_hosts_may_be_named_but_not_this_machine() {
        let url = |text: &str| Url::parse(text).expect("is a URL");
        let far = url("https://registry.example/v2/");
        let near = url("http://127.0.0.1:5000/v2/");
        assert!(may_be_sent_to(&url("https://cdn.example/x"), &far));
        assert!(may_be_sent_to(&url("http://127.0.0.1:9/x"), &near));
        for bad in [
            "http://127.0.0.1/x",
            "http://localhost:2375/x",
            "http://169.254.169.254/latest",
            "http://[::1]/x",
            "http://[fe80::1]/x",
            "http://[::ffff:169.254.169.254]/x",
            "http://0.0.0.0/x",
        ] {
            assert!(!may_be_sent_to(&url(bad), &far), "{bad}");
        }
        assert!(!may_be_sent_to(
            &url("http://169.254.169.254/latest"),
            &near
        ));
    }

    #[test]
    fn pauses_are_read_as_seconds_and_as_dates() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("is valid"));
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn secrets_in_urls_are_not_shown() {
        let url = Url::parse("https://u:p@h/v2/x?X-Amz-Signature=s").expect("is a URL");
        let Failure::Transport { text, .. } = at_url("HEAD", &url, "no", false) else {
            panic!("is of the transport")
        };
        assert_eq!(text, "Head \"https://h/v2/x\": no");
    }
}
