//! The client: what pull, push, login and inspection of remote images are made of.
//!
//! [`Client`] holds connections, tokens and settings and is cheap to clone; nothing is opened before the first request.
//! [`Repository`] is one repository with the credentials for it: manifests in [`manifest`], blobs in [`download`] and
//! [`upload`]. Which hosts are asked, and how, is decided in [`endpoint`]; every request goes through [`request`].

mod auth;
mod download;
mod endpoint;
mod failure;
mod hosts_toml;
mod login;
mod manifest;
mod patience;
mod proxy;
mod request;
mod resolve;
mod search;
mod signature;
mod stream;
mod tags;
mod transport;
mod upload;

pub use auth::Credentials;
pub use login::LoggedIn;
pub use manifest::RemoteDocument;
pub use patience::Patience;
pub use proxy::Proxies;
pub use search::SearchResult;
pub use stream::BlobStream;
pub use upload::{Content, Source, Uploaded};

use endpoint::Endpoint;
use failure::Failure;
use gantry_oci::Reference;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// URLs of mirrors of Docker Hub, asked in this order before it.
    pub mirrors: Vec<String>,
    /// Hosts, `host:port`, or networks that need no TLS, or none that can be verified. Loopback is always among them.
    pub insecure: Vec<String>,
    /// Directories with one directory per host, as `/etc/docker/certs.d`.
    pub hosts_directories: Vec<PathBuf>,
    /// Proxies.
    pub proxies: Proxies,
    /// `User-Agent` of each request.
    pub user_agent: String,
    /// How long is waited for what.
    pub patience: Patience,
}

/// A client of registries. Clones share everything.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    transports: transport::Transports,
    tokens: Mutex<auth::Tokens>,
    /// Which of a host's endpoints answered last.
    working: Mutex<HashMap<String, String>>,
}

/// One repository, and who asks.
#[derive(Clone)]
pub struct Repository {
    client: Client,
    /// `docker.io`
    domain: String,
    /// `library/busybox`
    path: String,
    credentials: Option<Credentials>,
    /// What tokens are asked for: `pull` or `pull,push`.
    actions: &'static str,
    /// `X-Meta-…` headers of the user's request.
    headers: Vec<(String, String)>,
    endpoints: Vec<Arc<Endpoint>>,
}

/// What shall be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Mirrors may serve it.
    Pull,
    /// The registry itself.
    Push,
}

impl Client {
    /// A client that has not opened anything yet.
    pub fn new(options: Options) -> Self {
        let transports = transport::Transports::new(&options);
        Self {
            shared: Arc::new(Shared {
                options,
                transports,
                tokens: Mutex::default(),
                working: Mutex::default(),
            }),
        }
    }

    /// The repository of a reference.
    ///
    /// # Errors
    /// When the settings of its host cannot be read.
    pub fn repository(
        &self,
        reference: &Reference,
        access: Access,
        credentials: Option<Credentials>,
        headers: Vec<(String, String)>,
    ) -> gantry_base::Result<Repository> {
        let endpoints = endpoint::endpoints(&self.shared.options, &reference.domain, access)?;
        Ok(Repository {
            client: self.clone(),
            domain: reference.domain.clone(),
            path: reference.path.clone(),
            credentials: credentials.filter(|credentials| !credentials.is_empty()),
            actions: match access {
                Access::Pull => "pull",
                Access::Push => "pull,push",
            },
            headers,
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
        })
    }

    fn patience(&self) -> &Patience {
        &self.shared.options.patience
    }
}

impl Repository {
    /// `library/busybox`
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The endpoints, the one that answered last first.
    fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let working = lock(&self.client.shared.working).get(&self.key()).cloned();
        let mut endpoints = self.endpoints.clone();
        if let Some(base) = working {
            // The order among the others is kept.
            endpoints.sort_by_key(|endpoint| endpoint.base.as_str() != base);
        }
        endpoints
    }

    /// Remembers that this endpoint answers.
    fn prefer(&self, endpoint: &Endpoint) {
        lock(&self.client.shared.working).insert(self.key(), endpoint.base.to_string());
    }

    fn key(&self) -> String {
        format!("{} {}", self.actions, self.domain)
    }

    /// Asks one endpoint after the other until one answers, or says what no other can say better.
    async fn ask<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<T, Failure> {
        let mut last = None;
        for endpoint in self.endpoints() {
            match question(endpoint.clone()).await {
                Ok(answer) => {
                    self.prefer(&endpoint);
                    return Ok(answer);
                }
                Err(failure) if failure.permits_next(endpoint.is_mirror) => {
                    tracing::debug!(endpoint = %endpoint.base, %failure, "trying the next endpoint");
                    // What a registry answered says more than that the next one cannot be reached.
                    let keeps =
                        last.as_ref().is_some_and(Failure::is_answer) && !failure.is_answer();
                    if !keeps {
                        last = Some(failure);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last
            .unwrap_or_else(|| Failure::refused(format!("no endpoints found for {}", self.domain))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
