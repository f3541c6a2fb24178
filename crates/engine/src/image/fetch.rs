//! One layer on its way here. However many pulls want it, it comes once; it is given up when the last of them is gone.

use super::transfer::Transfers;
use super::{Images, blocking};
use gantry_base::{Error, ErrorKind, Result};
use gantry_image::{Ingested, Partial};
use gantry_oci::Digest;
use gantry_oci::image::Descriptor;
use gantry_registry::client::Repository;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// How often, and how many times, is looked whether the thread of a download that was given up has let go of its file.
const RELEASE_INTERVAL: Duration = Duration::from_millis(20);
const RELEASE_ATTEMPTS: u32 = 500;

/// A layer on its way.
pub(super) struct Fetch {
    state: watch::Receiver<State>,
    arrived: Mutex<Option<Ingested>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

/// How far it is.
#[derive(Clone)]
pub(super) enum State {
    /// Nothing was done yet.
    New,
    /// Other layers come first.
    Waiting,
    /// Bytes arrive and are unpacked.
    Running(Arc<Partial>),
    /// It lies beside the store.
    Arrived,
    /// It does not come.
    Failed(ErrorKind, String),
}

impl Fetch {
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// What has arrived, for the first who asks.
    pub(super) fn take(&self) -> Option<Ingested> {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

impl Images {
    /// The fetch of this layer: the one that runs, or a new one.
    pub(super) fn fetch(
        &self,
        transfers: &Transfers,
        repository: &Repository,
        layer: &Descriptor,
    ) -> Arc<Fetch> {
        let mut fetches = transfers.fetches();
        fetches.retain(|_, fetch| fetch.strong_count() > 0);
        if let Some(fetch) = fetches.get(&layer.digest).and_then(Weak::upgrade) {
            let has_failed = matches!(&*fetch.state.borrow(), State::Failed(..));
            if !has_failed {
                return fetch;
            }
        }
        let (sender, state) = watch::channel(State::New);
        let fetch = Arc::new(Fetch {
            state,
            arrived: Mutex::default(),
            task: Mutex::default(),
        });
        let work = run(
            self.store.clone(),
            repository.clone(),
            layer.clone(),
            transfers.downloads.clone(),
            sender,
            Arc::downgrade(&fetch),
        );
        *fetch.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(work));
        fetches.insert(layer.digest.clone(), Arc::downgrade(&fetch));
        fetch
    }
}

async fn run(
    store: gantry_image::Images,
    repository: Repository,
    layer: Descriptor,
    permits: Arc<tokio::sync::Semaphore>,
    state: watch::Sender<State>,
    fetch: Weak<Fetch>,
) {
    if permits.available_permits() == 0 {
        let _ = state.send(State::Waiting);
    }
    let Ok(_permit) = permits.acquire_owned().await else {
        return;
    };
    let mut outcome = attempt(&store, &repository, &layer, &state).await;
    if matches!(&outcome, Err((_, is_inherited)) if *is_inherited) {
        // What an earlier download left was not what it should be, and is thrown away now.
        outcome = attempt(&store, &repository, &layer, &state).await;
    }
    // Nobody waits any more if these fail.
    match outcome {
        Ok(ingested) => {
            if let Some(fetch) = fetch.upgrade() {
                *fetch.arrived.lock().unwrap_or_else(PoisonError::into_inner) = Some(ingested);
            }
            let _ = state.send(State::Arrived);
        }
        Err((error, _)) => {
            let _ = state.send(State::Failed(error.kind(), error.message().to_owned()));
        }
    }
}

/// Says to the reading thread that nothing more comes, when the download is given up.
struct EndOnDrop(Arc<Partial>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end("the download was given up");
    }
}

/// With the error: whether a second attempt starts from nothing and may do better.
async fn attempt(
    store: &gantry_image::Images,
    repository: &Repository,
    layer: &Descriptor,
    state: &watch::Sender<State>,
) -> Result<Ingested, (Error, bool)> {
    let partial = open(store, &layer.digest, layer.size)
        .await
        .map_err(|error| (error, false))?;
    let _ = state.send(State::Running(partial.clone()));
    let reading = partial.clone();
    let ingest = blocking(move || {
        let ingested = reading.ingest_layer();
        // What was read whole and is no good is not kept.
        let is_whole = reading.arrived_bytes() == reading.size_bytes();
        let is_good = ingested
            .as_ref()
            .is_ok_and(|ingested| !matches!(ingested.layer, Some(Err(_))));
        if is_good {
            let ingested = ingested?;
            reading.finish(&ingested)?;
            return Ok(ingested);
        }
        if is_whole {
            reading.discard()?;
        }
        match ingested?.layer {
            Some(Err(error)) => Err(error.prefixed("failed to register layer")),
            _ => Err(Error::internal("a layer was not unpacked")),
        }
    });
    tokio::pin!(ingest);
    let guard = EndOnDrop(partial.clone());
    let download = repository.download(partial.clone());
    tokio::pin!(download);
    let is_second_worth = || partial.is_inherited();
    tokio::select! {
        // The reader ends first only where it failed, or had everything to begin with.
        ingested = &mut ingest => {
            return ingested.map_err(|error| {
                let is_damaged = error.kind() == ErrorKind::Conflict;
                (error, is_damaged && is_second_worth())
            });
        }
        downloaded = &mut download => {
            if let Err(error) = downloaded {
                drop(guard);
                // Its failure is only that nothing more came.
                drop(ingest.await);
                return Err((error, false));
            }
        }
    }
    let ingested = ingest.await;
    drop(guard);
    ingested.map_err(|error| {
        let is_damaged = error.kind() == ErrorKind::Conflict;
        let error = if is_damaged {
            Error::internal(error.message())
        } else {
            error
        };
        (error, is_damaged && is_second_worth())
    })
}

/// The file of a download; the thread of one that was given up a moment ago may still have it.
async fn open(
    store: &gantry_image::Images,
    digest: &Digest,
    size_bytes: u64,
) -> Result<Arc<Partial>> {
    for _ in 0..RELEASE_ATTEMPTS {
        let (store, digest) = (store.clone(), digest.clone());
        match blocking(move || store.partial(&digest, size_bytes)).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tokio::time::sleep(RELEASE_INTERVAL).await;
            }
            opened => return opened,
        }
    }
    Err(Error::unavailable(format!(
        "{digest} is already being downloaded"
    )))
}
