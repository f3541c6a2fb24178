//! `docker login`: asks a registry whether it takes some credentials.

use super::auth::TokenKey;
use super::failure::{Answer, BODY_BYTES_MAX, Failure};
use super::request::{bounded, read_up_to};
use super::{Access, Client, Credentials, endpoint};
use crate::challenge::Challenge;
use gantry_base::{Error, ErrorKind, Result};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};

/// The registry takes the credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoggedIn {
    /// For use in place of the password from now on; empty where the registry gives none.
    pub identity_token: String,
}

impl Client {
    /// Tries credentials at a registry.
    ///
    /// # Errors
    /// In Docker's words, when it cannot be reached or refuses them.
    pub async fn login(&self, domain: &str, credentials: &Credentials) -> Result<LoggedIn> {
        let options = &self.shared.options;
        let mut last = None;
        for endpoint in endpoint::endpoints(options, domain, Access::Push)? {
            match self.try_login(&endpoint, credentials).await {
                Err(failure @ Failure::Transport { .. }) => last = Some(failure),
                Ok(logged_in) => return Ok(logged_in),
                Err(failure) => return Err(refusal(&endpoint.base, failure)),
            }
        }
        Err(last.map_or_else(
            || Error::internal(format!("no endpoints found for {domain}")),
            Failure::into_error,
        ))
    }

    async fn try_login(
        &self,
        endpoint: &endpoint::Endpoint,
        credentials: &Credentials,
    ) -> Result<LoggedIn, Failure> {
        let client = self.shared.transports.client(&endpoint.tls)?;
        let url = &endpoint.base;
        let ask = || client.get(url.clone());
        let mut response = bounded(self.patience(), "GET", url, ask()).await?;
        let mut logged_in = LoggedIn::default();
        if response.status() == StatusCode::UNAUTHORIZED {
            let values = response.headers().get_all(WWW_AUTHENTICATE).iter();
            let texts = values.filter_map(|value| value.to_str().ok());
            let challenges: Vec<_> = texts.flat_map(Challenge::parse).collect();
            let key = TokenKey {
                endpoint: url.to_string(),
                scope: String::new(),
                credentials: Some(credentials.clone()),
            };
            let fetched = self
                .authorize(&challenges, &key, url, &endpoint.tls)
                .await?;
            logged_in.identity_token = fetched.identity_token;
            let request = ask().header(AUTHORIZATION, fetched.header);
            response = bounded(self.patience(), "GET", url, request).await?;
        }
        let status = response.status();
        if status.is_success() {
            return Ok(logged_in);
        }
        let body = read_up_to(self.patience(), &mut response, BODY_BYTES_MAX).await?;
        Err(Failure::Answer(Answer::new(status, &body, None)))
    }
}

fn refusal(base: &reqwest::Url, failure: Failure) -> Error {
    match &failure {
        Failure::Answer(answer) if answer.status == StatusCode::UNAUTHORIZED => {
            let is_said = answer
                .errors
                .first()
                .is_some_and(|item| item.message.contains("incorrect"));
            let text = if is_said {
                format!("Get \"{base}\": {failure}")
            } else {
                format!("login attempt to {base} failed with status: 401 Unauthorized")
            };
            Error::new(ErrorKind::Unauthorized, text)
        }
        Failure::Answer(answer) => Error::internal(format!(
            "login attempt to {base} failed with status: {}",
            answer.status
        )),
        _ => failure.into_error(),
    }
}
