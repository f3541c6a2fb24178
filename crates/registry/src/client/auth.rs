//! Credentials, and the tokens that registries give for them.
//!
//! A challenge says where tokens are had (`realm`) and what for (`scope`). Tokens are kept until shortly before they end,
//! in memory only, apart for each user. Source: the `distribution` project, docs "token" and "oauth".

use super::failure::{Answer, BODY_BYTES_MAX, Failure};
use super::{Client, lock};
use crate::challenge::Challenge;
use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What a token lives if the registry does not say, and at least.
const LIFE_S_MIN: u64 = 60;
/// Before its end a token is not used any more: a request takes time.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens kept.
const TOKENS_MAX: usize = 256;
const TOKEN_BYTES_MAX: usize = 64 << 10;
const CLIENT_ID: &str = "docker";

/// Who somebody is at a registry. Never shown, never written.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// An OAuth2 refresh token in place of a password.
    pub identity_token: String,
    /// A token that is sent as it is.
    pub registry_token: String,
}

impl Credentials {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// The tokens of a client.
#[derive(Default)]
pub(super) struct Tokens {
    known: HashMap<TokenKey, Token>,
}

/// What a token is for. The endpoint is part of it: a token is never sent where it was not asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) endpoint: String,
    pub(super) scope: String,
    pub(super) credentials: Option<Credentials>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What a token server answers.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: u64,
    #[serde(default)]
    refresh_token: String,
}

/// A token with what came beside it.
pub(super) struct Fetched {
    pub(super) header: HeaderValue,
    /// For use in place of the password from now on.
    pub(super) identity_token: String,
}

impl Tokens {
    pub(super) fn get(&self, key: &TokenKey) -> Option<HeaderValue> {
        let token = self.known.get(key)?;
        (Instant::now() < token.until).then(|| token.header.clone())
    }

    fn put(&mut self, key: TokenKey, token: Token) {
        if self.known.len() >= TOKENS_MAX {
            let now = Instant::now();
            self.known.retain(|_, token| now < token.until);
        }
        if self.known.len() >= TOKENS_MAX {
            self.known.clear();
        }
        self.known.insert(key, token);
    }
}

impl Client {
    /// Does what a challenge asks for; the outcome is the value of `Authorization`.
    pub(super) async fn authorize(
        &self,
        challenges: &[Challenge],
        key: &TokenKey,
        endpoint: &Url,
        tls: &super::transport::Tls,
    ) -> Result<Fetched, Failure> {
        let credentials = key.credentials.as_ref();
        let of_scheme = |scheme: &str| challenges.iter().find(|known| known.scheme == scheme);
        if let Some(challenge) = of_scheme("bearer") {
            let fetched = self
                .fetch_token(challenge, &key.scope, credentials, endpoint, tls)
                .await?;
            let (header, life_s, identity_token) = fetched;
            let until = Instant::now() + Duration::from_secs(life_s).saturating_sub(MARGIN);
            let token = Token {
                header: header.clone(),
                until,
            };
            lock(&self.shared.tokens).put(key.clone(), token);
            return Ok(Fetched {
                header,
                identity_token,
            });
        }
        if of_scheme("basic").is_some() {
            let credentials = credentials
                .filter(|credentials| !credentials.username.is_empty())
                .ok_or_else(|| Failure::Auth("no basic auth credentials".into()))?;
            return Ok(Fetched {
                header: basic(credentials)?,
                identity_token: String::new(),
            });
        }
        Err(Failure::Auth(
            "unauthorized: the registry asks for no kind of authentication that is supported"
                .into(),
        ))
    }

    async fn fetch_token(
        &self,
        challenge: &Challenge,
        scope: &str,
        credentials: Option<&Credentials>,
        endpoint: &Url,
        tls: &super::transport::Tls,
    ) -> Result<(HeaderValue, u64, String), Failure> {
        if let Some(credentials) = credentials
            && !credentials.registry_token.is_empty()
        {
            let header = bearer(&credentials.registry_token)?;
            return Ok((header, LIFE_S_MIN, String::new()));
        }
        let realm = realm(challenge.parameter("realm"), endpoint)?;
        // Settings are a host's own: client certificates of the registry are not for a server that it names.
        let is_same_host = realm.host_str() == endpoint.host_str();
        let tls = if is_same_host {
            tls.clone()
        } else {
            super::transport::Tls::default()
        };
        let client = self.shared.transports.client(&tls)?;
        let service = challenge.parameter("service");
        let scope = match scope {
            "" => challenge.parameter("scope"),
            scope => scope,
        };
        let request = token_request(&client, &realm, service, scope, credentials)?;
        let answer = self.token_answer(request, &realm).await?;
        let token = match answer.token.as_str() {
            "" => &answer.access_token,
            token => token,
        };
        if token.is_empty() {
            return Err(Failure::Auth(
                "authorization server did not include a token in the response".into(),
            ));
        }
        let header = bearer(token)?;
        Ok((
            header,
            answer.expires_in.max(LIFE_S_MIN),
            answer.refresh_token,
        ))
    }

    async fn token_answer(
        &self,
        request: reqwest::RequestBuilder,
        realm: &Url,
    ) -> Result<TokenAnswer, Failure> {
        let method = "token";
        let mut answer = super::request::bounded(self.patience(), method, realm, request).await?;
        let status = answer.status();
        let most = if status.is_success() {
            TOKEN_BYTES_MAX
        } else {
            BODY_BYTES_MAX
        };
        let body = super::request::read_up_to(self.patience(), &mut answer, most).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                Failure::Auth(format!("unable to decode token response: {error}"))
            });
        }
        let answer = Answer::new(status, &body, None);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if answer.errors.is_empty() => {
                Failure::Answer(Answer {
                    status: StatusCode::UNAUTHORIZED,
                    errors: vec![crate::error_document::ErrorItem {
                        code: crate::error_document::code::UNAUTHORIZED.into(),
                        message: "incorrect username or password".into(),
                        ..Default::default()
                    }],
                    ..answer
                })
            }
            _ => Failure::Answer(answer),
        })
    }
}

/// With an identity token as OAuth2 has it, else as the registries' own protocol does.
fn token_request(
    client: &reqwest::Client,
    realm: &Url,
    service: &str,
    scope: &str,
    credentials: Option<&Credentials>,
) -> Result<reqwest::RequestBuilder, Failure> {
    let refresh = credentials.filter(|credentials| !credentials.identity_token.is_empty());
    if let Some(credentials) = refresh {
        let form = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", CLIENT_ID),
            ("access_type", "offline"),
            ("scope", scope),
            ("refresh_token", credentials.identity_token.as_str()),
        ];
        return Ok(client
            .post(realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(encoded(&form)));
    }
    let mut url = realm.clone();
    let mut query = url.query_pairs_mut();
    if !service.is_empty() {
        query.append_pair("service", service);
    }
    for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
        query.append_pair("scope", scope);
    }
    if let Some(credentials) = credentials {
        query.append_pair("account", &credentials.username);
        query.append_pair("client_id", CLIENT_ID);
        query.append_pair("offline_token", "true");
    }
    drop(query);
    let request = client.get(url);
    Ok(match credentials {
        Some(credentials) => request.header(AUTHORIZATION, basic(credentials)?),
        None => request,
    })
}

/// Where tokens are had. Credentials go there, so that it may not be less safe than the registry itself.
fn realm(text: &str, endpoint: &Url) -> Result<Url, Failure> {
    let url = Url::parse(text)
        .map_err(|_| Failure::Auth(format!("invalid token auth challenge realm: {text:?}")))?;
    let is_allowed = match url.scheme() {
        "https" => true,
        "http" => endpoint.scheme() == "http",
        _ => false,
    };
    if !is_allowed || url.host_str().is_none() || !super::request::may_be_sent_to(&url, endpoint) {
        return Err(Failure::Auth(format!(
            "the registry names {text:?} as the place to get tokens from, which is not safe"
        )));
    }
    Ok(url)
}

fn basic(credentials: &Credentials) -> Result<HeaderValue, Failure> {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    sensitive(&format!("Basic {encoded}"))
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Failure::Auth("a token or password has characters that cannot be sent".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `application/x-www-form-urlencoded`
fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("is a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_fetched_from_less_safe_places() {
        let safe = Url::parse("https://r.example/v2/").expect("is a URL");
        let plain = Url::parse("http://127.0.0.1:5000/v2/").expect("is a URL");
        assert!(realm("https://auth.example/token", &safe).is_ok());
        assert!(realm("http://auth.example/token", &plain).is_ok());
        for bad in [
            "http://auth.example/token",
            "file:///etc/passwd",
            "",
            "https://169.254.169.254/t",
        ] {
            assert!(realm(bad, &safe).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let credentials = Credentials {
            username: "me".into(),
            password: "secret".into(),
            ..Credentials::default()
        };
        assert!(!format!("{credentials:?}").contains("secret"));
        let header = basic(&credentials).expect("is valid");
        assert!(!format!("{header:?}").contains("bWU6"));
    }
}
