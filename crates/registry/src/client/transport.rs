//! Connections: one HTTP client per set of TLS settings, made when it is first needed.
//!
//! HTTP/1.1 only: a registry's blobs come faster over several plain connections than over one with streams in it.
//! Redirects are followed by [`super::request`], which knows whose credentials are whose.

use super::failure::Failure;
use super::{Options, lock, resolve};
use reqwest::redirect::Policy;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Idle connections kept per host: as many as a pull of three layers with ranges has.
const IDLE_MAX: usize = 12;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A file with certificates or a key.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How a host's certificate is judged and what is shown to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    /// Whether any certificate will do.
    pub(super) skip_verify: bool,
    /// Files with further roots.
    pub(super) roots: Vec<PathBuf>,
    /// Certificate and key, in one or two files.
    pub(super) client: Option<(PathBuf, Option<PathBuf>)>,
}

/// All clients.
pub(super) struct Transports {
    clients: Mutex<HashMap<Tls, reqwest::Client>>,
    resolver: Arc<resolve::Resolver>,
    proxies: super::Proxies,
    user_agent: String,
    connect: Duration,
}

impl Transports {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            clients: Mutex::default(),
            resolver: Arc::default(),
            proxies: options.proxies.clone(),
            user_agent: options.user_agent.clone(),
            connect: options.patience.connect,
        }
    }

    /// The client for these settings. Its files are read once; another daemon start reads them again.
    pub(super) fn client(&self, tls: &Tls) -> Result<reqwest::Client, Failure> {
        if let Some(client) = lock(&self.clients).get(tls) {
            return Ok(client.clone());
        }
        let client = self.build(tls)?;
        lock(&self.clients).insert(tls.clone(), client.clone());
        Ok(client)
    }

    fn build(&self, tls: &Tls) -> Result<reqwest::Client, Failure> {
        let unusable = |error: reqwest::Error| Failure::refused(with_causes(&error));
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_keepalive(Duration::from_secs(15))
            .dns_resolver(self.resolver.clone())
            .tls_danger_accept_invalid_certs(tls.skip_verify);
        if !self.user_agent.is_empty() {
            builder = builder.user_agent(&self.user_agent);
        }
        builder = self.proxies.apply(builder).map_err(unusable)?;
        let mut roots = Vec::new();
        for path in &tls.roots {
            let found = reqwest::Certificate::from_pem_bundle(&read(path)?);
            roots.extend(found.map_err(|error| of_file(path, &error))?);
        }
        if !roots.is_empty() {
            builder = builder.tls_certs_merge(roots);
        }
        if let Some((certificate, key)) = &tls.client {
            let mut pem = read(certificate)?;
            if let Some(key) = key {
                pem.push(b'\n');
                pem.extend(read(key)?);
            }
            let identity = reqwest::Identity::from_pem(&pem);
            builder = builder.identity(identity.map_err(|error| of_file(certificate, &error))?);
        }
        builder.build().map_err(unusable)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| {
            let error = gantry_base::Error::from(error);
            Failure::refused(format!("open {}: {error}", path.display()))
        })?;
    Ok(bytes)
}

fn of_file(path: &Path, error: &reqwest::Error) -> Failure {
    Failure::refused(format!("{}: {}", path.display(), with_causes(error)))
}

/// An error with all that it came from: the causes say what the outermost text does not.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
