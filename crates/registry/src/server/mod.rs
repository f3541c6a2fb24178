//! A registry: the server side of the distribution protocol over content files and rows of its own.
//!
//! Start reading at [`Server::start`]; `route` turns requests into calls of `storage`, which keeps files and the rows of
//! `catalog` in step. Knows no daemon. Source: OCI distribution-spec 1.1.

mod auth;
mod body;
mod catalog;
mod connection;
mod failure;
mod manifest;
mod name;
mod range;
mod route;
mod storage;
mod tls;
mod upload;
mod upstream;

pub use auth::{AuthOptions, TokenOptions};
pub use tls::TlsOptions;
pub use upstream::UpstreamOptions;

use auth::Auth;
use catalog::{GarbageAge, GarbageManifests};
use connection::Lifetime;
use failure::Failure;
use gantry_base::Result;
use hyper::StatusCode;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tls::Tls;
use upload::{BodyLimits, Uploads};
use upstream::Upstream;

/// How often certificate files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(10);

/// Everything that can be chosen.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where content and rows are kept. One server at a time.
    pub root: PathBuf,
    /// Where to listen; port 0 chooses one.
    pub addresses: Vec<SocketAddr>,
    /// TLS, or plain HTTP.
    pub tls: Option<TlsOptions>,
    /// Who may do what.
    pub auth: AuthOptions,
    /// The registry of which this one is a cache; nothing can be pushed then.
    pub upstream: Option<UpstreamOptions>,
    /// Whether nothing can be pushed.
    pub is_read_only: bool,
    /// Whether tags, manifests and blobs can be deleted.
    pub allow_deletion: bool,
    /// Whether an index may name manifests that are not there.
    pub allow_sparse_indexes: bool,
    /// The largest manifest.
    pub manifest_bytes_max: usize,
    /// The largest blob.
    pub blob_bytes_max: u64,
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// How long a client may neither send nor take anything.
    pub stall_timeout: Duration,
    /// How long an upload is kept to which nothing is added.
    pub upload_timeout: Duration,
    /// How often garbage is collected; zero is never.
    pub collect_interval: Duration,
    /// How long a blob is kept after a client was told that it is there.
    pub lease: Duration,
    /// Whether manifests without a tag are garbage.
    pub collect_untagged: bool,
    /// Whether each request gets a line in the log.
    pub access_log: bool,
}

impl Options {
    /// Serves `root` on `addresses`, openly.
    pub fn new(root: impl Into<PathBuf>, addresses: Vec<SocketAddr>) -> Self {
        Self {
            root: root.into(),
            addresses,
            tls: None,
            auth: AuthOptions::Open,
            upstream: None,
            is_read_only: false,
            allow_deletion: true,
            allow_sparse_indexes: false,
            manifest_bytes_max: 4 << 20,
            blob_bytes_max: 256 << 30,
            connections_max: 10_000,
            stall_timeout: Duration::from_mins(1),
            upload_timeout: Duration::from_hours(24),
            collect_interval: Duration::from_hours(1),
            lease: Duration::from_hours(24),
            collect_untagged: false,
            access_log: true,
        }
    }
}

/// What all requests share.
struct App {
    options: Options,
    storage: Storage,
    uploads: Uploads,
    auth: Auth,
    upstream: Option<Upstream>,
}

impl App {
    fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            blob_bytes_max: self.options.blob_bytes_max,
            stall: self.options.stall_timeout,
        }
    }

    fn check_writing(&self) -> Result<(), Failure> {
        if self.upstream.is_some() {
            return Err(refuse("this registry is a cache of another one"));
        }
        if self.options.is_read_only {
            return Err(refuse("this registry is read-only"));
        }
        Ok(())
    }

    fn check_deletion(&self) -> Result<(), Failure> {
        self.check_writing()?;
        if !self.options.allow_deletion {
            return Err(refuse("deletion is disabled"));
        }
        Ok(())
    }
}

fn refuse(message: &str) -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        crate::error_document::code::UNSUPPORTED,
        message,
    )
}

/// A registry that runs. Dropping it stops nothing.
pub struct Server {
    addresses: Vec<SocketAddr>,
    life: Lifetime,
    tls: Option<Arc<Tls>>,
    app: Arc<App>,
}

impl Server {
    /// Opens the storage and serves it from now on, in tasks of the current tokio runtime.
    ///
    /// # Errors
    /// When a file named by the options cannot be read, the storage not be opened, or an address not be had.
    pub async fn start(options: Options) -> Result<Self> {
        let auth = Auth::open(&options.auth)?;
        let tls = options
            .tls
            .clone()
            .map(Tls::open)
            .transpose()?
            .map(Arc::new);
        let root = options.root.clone();
        let storage = tokio::task::spawn_blocking(move || Storage::open(&root))
            .await
            .map_err(|error| gantry_base::Error::internal(error.to_string()))??;
        let mut listeners = Vec::new();
        for address in &options.addresses {
            listeners.push(connection::bind(*address).await?);
        }
        let upstream = options.upstream.clone().map(Upstream::new);
        let app = Arc::new(App {
            upstream,
            options,
            storage,
            uploads: Uploads::default(),
            auth,
        });
        let life = Lifetime::default();
        let mut addresses = Vec::new();
        for listener in listeners {
            addresses.push(listener.local_addr()?);
            let accepting = connection::accept(app.clone(), listener, tls.clone(), life.clone());
            life.tasks.spawn(accepting);
        }
        let server = Self {
            addresses,
            life,
            tls,
            app,
        };
        server.spawn_chores();
        Ok(server)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads the certificate again, if it has changed.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.refresh();
        }
    }

    /// Removes garbage now.
    ///
    /// # Errors
    /// When rows or files cannot be removed.
    pub async fn collect(&self) -> Result<()> {
        collect(&self.app).await
    }

    /// Stops listening, lets requests finish, and breaks off those that take longer than `grace`.
    pub async fn shutdown(self, grace: Duration) {
        self.life.stop.cancel();
        self.life.tasks.close();
        if tokio::time::timeout(grace, self.life.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.life.tasks.len(),
                "requests were broken off"
            );
            self.life.abort.cancel();
            self.life.tasks.wait().await;
        }
    }

    fn spawn_chores(&self) {
        if let Some(tls) = self.tls.clone() {
            self.every(CERTIFICATE_INTERVAL, move || {
                let tls = tls.clone();
                async move { tls.refresh() }
            });
        }
        if !self.app.options.collect_interval.is_zero() {
            let app = self.app.clone();
            self.every(app.options.collect_interval, move || {
                let app = app.clone();
                async move {
                    if let Err(error) = collect(&app).await {
                        tracing::error!(%error, "garbage was not collected");
                    }
                }
            });
        }
    }

    fn every<F: Future<Output = ()> + Send>(
        &self,
        interval: Duration,
        chore: impl Fn() -> F + Send + 'static,
    ) {
        let stop = self.life.stop.clone();
        self.life.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(interval) => chore().await,
                }
            }
        });
    }
}

/// Lets go of what nothing keeps, and of uploads that nobody goes on with.
async fn collect(app: &Arc<App>) -> Result<()> {
    let lease_s = i64::try_from(app.options.lease.as_secs()).unwrap_or(i64::MAX);
    let age = GarbageAge {
        leased_before_s: storage::now_s().saturating_sub(lease_s),
        manifests: match (&app.upstream, app.options.collect_untagged) {
            (Some(_), _) => GarbageManifests::Unused,
            (None, true) => GarbageManifests::Untagged,
            (None, false) => GarbageManifests::None,
        },
    };
    let (worker, upload_timeout) = (app.clone(), app.options.upload_timeout);
    let work = move || {
        let collected = worker.storage.collect(age)?;
        let idle = worker.storage.idle_uploads(upload_timeout)?;
        for id in &idle {
            worker.uploads.remove(id);
            worker.storage.cancel_upload(id)?;
        }
        tracing::info!(
            links = collected.links,
            blobs = collected.blobs,
            uploads = idle.len(),
            "garbage was collected"
        );
        Ok(())
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| gantry_base::Error::internal(error.to_string()))?
}
