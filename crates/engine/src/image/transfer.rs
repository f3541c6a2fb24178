//! What pulls and pushes tell while they run, and what both need: the client of registries and its bounds.

use super::Images;
use crate::settings::Settings;
use gantry_base::{Error, Result};
use gantry_registry::client::{Client, Credentials, Options};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use tokio::sync::{Semaphore, mpsc};

/// What a pull or push tells; one message of the API each.
#[derive(Debug, Clone, PartialEq)]
pub enum TransferEvent {
    /// A line, about the thing with this id if there is one.
    Message {
        /// A tag, or empty.
        id: String,
        /// Docker's words.
        text: String,
    },
    /// A layer has come to a new state.
    Layer {
        /// Twelve digits.
        id: String,
        /// Docker's word.
        status: String,
        /// Bytes done and in all, while it is on its way.
        progress: Option<(u64, u64)>,
    },
    /// A tag was pushed.
    Pushed {
        /// The tag.
        tag: String,
        /// Of the manifest.
        digest: String,
        /// Of the manifest.
        size_bytes: u64,
    },
}

/// Where events go; whoever reads them sets the pace.
pub(super) type Events = mpsc::Sender<TransferEvent>;

/// Who asks, as the request's headers say.
#[derive(Debug, Clone, Default)]
pub struct Asker {
    /// For the registry of the image.
    pub credentials: Option<Credentials>,
    /// `X-Meta-…` headers, passed on.
    pub headers: Vec<(String, String)>,
}

/// What pulls and pushes share. Made when it is first needed: a daemon that never pulls has none.
pub(super) struct Transfers {
    pub(super) client: Client,
    pub(super) downloads: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
    /// Blobs on their way, so that each comes once.
    pub(super) fetches: Mutex<HashMap<gantry_oci::Digest, Weak<super::fetch::Fetch>>>,
    /// One pull at a time takes what has arrived into the store.
    pub(super) committing: tokio::sync::Mutex<()>,
}

/// For the service's struct.
pub(super) type LazyTransfers = Arc<OnceLock<Transfers>>;

impl Images {
    pub(super) fn transfers(&self) -> Result<&Transfers> {
        let shared = self.shared.get().and_then(Weak::upgrade);
        let shared = shared.ok_or_else(|| Error::unavailable("the daemon is going down"))?;
        Ok(self
            .transfers
            .get_or_init(|| Transfers::new(&shared.settings())))
    }
}

impl Transfers {
    fn new(settings: &Settings) -> Self {
        let options = Options {
            mirrors: settings.registry_mirrors.clone(),
            insecure: settings.insecure_registries.clone(),
            hosts_directories: settings.registry_hosts_directories.clone(),
            proxies: settings.proxies.clone(),
            user_agent: concat!("gantry/", env!("CARGO_PKG_VERSION")).into(),
            patience: gantry_registry::client::Patience {
                attempts: settings.max_download_attempts,
                ..Default::default()
            },
        };
        Self {
            client: Client::new(options),
            downloads: Arc::new(Semaphore::new(settings.max_concurrent_downloads)),
            uploads: Arc::new(Semaphore::new(settings.max_concurrent_uploads)),
            fetches: Mutex::default(),
            committing: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn fetches(
        &self,
    ) -> std::sync::MutexGuard<'_, HashMap<gantry_oci::Digest, Weak<super::fetch::Fetch>>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a message; a reader that is gone ends the work by dropping it.
pub(super) async fn tell(events: &Events, id: &str, text: impl Into<String>) {
    let event = TransferEvent::Message {
        id: id.to_owned(),
        text: text.into(),
    };
    // Whoever reads the events owns the work.
    let _ = events.send(event).await;
}

pub(super) async fn tell_layer(
    events: &Events,
    id: &str,
    status: &str,
    progress: Option<(u64, u64)>,
) {
    let event = TransferEvent::Layer {
        id: id.to_owned(),
        status: status.to_owned(),
        progress,
    };
    let _ = events.send(event).await;
}
