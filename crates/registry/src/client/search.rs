//! `docker search`: the search of Docker Hub, which some other registries have too.

use super::failure::Failure;
use super::request::{bounded, read_up_to};
use super::transport::Tls;
use super::{Access, Client, Credentials, endpoint};
use base64::Engine as _;
use gantry_base::{Error, Result};
use gantry_oci::reference::DEFAULT_DOMAIN;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

const INDEX: &str = "https://index.docker.io/v1/search";
const BODY_BYTES_MAX: usize = 4 << 20;

/// One repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// Its name.
    pub name: String,
    /// What it is said to be.
    pub description: String,
    /// How many like it.
    pub star_count: i64,
    /// Whether Docker looks after it.
    pub is_official: bool,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    results: Vec<SearchResult>,
}

impl Client {
    /// Searches for a term, which may begin with a registry's host.
    ///
    /// # Errors
    /// When the registry cannot be reached or has no search.
    pub async fn search(
        &self,
        term: &str,
        limit: i64,
        credentials: Option<&Credentials>,
        headers: &[(String, String)],
    ) -> Result<Vec<SearchResult>> {
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (domain, term) = match term.split_once('/') {
            Some((host, rest)) if is_host(host) => (host, rest),
            _ => (DEFAULT_DOMAIN, term),
        };
        let mut places = Vec::new();
        if domain == DEFAULT_DOMAIN {
            places.push((INDEX.to_owned(), Tls::default()));
        } else {
            for endpoint in endpoint::endpoints(&self.shared.options, domain, Access::Push)? {
                let scheme = endpoint.base.scheme();
                places.push((format!("{scheme}://{domain}/v1/search"), endpoint.tls));
            }
        }
        let mut last = None;
        for (place, tls) in places {
            let mut url = Url::parse(&place).map_err(|error| Error::invalid(error.to_string()))?;
            url.query_pairs_mut()
                .append_pair("q", term)
                .append_pair("n", &limit.to_string());
            match self.search_at(&url, &tls, credentials, headers).await {
                Err(failure @ Failure::Transport { .. }) => last = Some(failure),
                answer => return answer.map_err(Failure::into_error),
            }
        }
        Err(last.map_or_else(
            || Error::internal("no place to search in"),
            Failure::into_error,
        ))
    }

    async fn search_at(
        &self,
        url: &Url,
        tls: &Tls,
        credentials: Option<&Credentials>,
        headers: &[(String, String)],
    ) -> Result<Vec<SearchResult>, Failure> {
        let client = self.shared.transports.client(tls)?;
        let mut request = client.get(url.clone()).header("X-Docker-Token", "true");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(credentials) = credentials.filter(|given| !given.username.is_empty()) {
            let pair = format!("{}:{}", credentials.username, credentials.password);
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            request = request.header(AUTHORIZATION, format!("Basic {encoded}"));
        }
        let mut response = bounded(self.patience(), "GET", url, request).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure::refused(format!(
                "Unexpected status code {}",
                status.as_u16()
            )));
        }
        let body = read_up_to(self.patience(), &mut response, BODY_BYTES_MAX).await?;
        let found: Found = serde_json::from_slice(&body).map_err(|error| {
            Failure::refused(format!("error decoding registry search results: {error}"))
        })?;
        Ok(found.results)
    }
}
