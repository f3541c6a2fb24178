//! Uploads in progress: whose turn it is to add to one, and how a request's body becomes a file.
//!
//! One request at a time adds to an upload, and the newest has the right of way: a client that lost its connection comes back
//! before we notice that the old one is dead. Whatever arrived stays, so a client goes on from there; also after a restart.

use super::failure::Failure;
use super::name::{RepositoryName, UploadId};
use super::storage::Storage;
use crate::error_document::code;
use bytes::{Bytes, BytesMut};
use gantry_base::{Error, Result};
use gantry_image::content::Arriving;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinHandle;

/// Bytes gathered for one write. Two such buffers are held for each client that uploads.
const WRITE_BYTES: usize = 512 << 10;
/// How long a request waits for the one before it to let go.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// All uploads that this process has seen.
#[derive(Default)]
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<UploadId, Arc<Session>>>,
}

struct Session {
    repository: RepositoryName,
    /// None once it has ended.
    arriving: Arc<tokio::sync::Mutex<Option<Arriving>>>,
    /// The number of the newest request.
    newest: watch::Sender<u64>,
}

/// The right to add to an upload.
pub(crate) struct Turn {
    arriving: OwnedMutexGuard<Option<Arriving>>,
    number: u64,
    newest: watch::Receiver<u64>,
}

impl Uploads {
    fn sessions(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Session>>> {
        self.sessions
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, id: UploadId, repository: RepositoryName, arriving: Arriving) {
        let session = Session::new(repository, arriving);
        self.sessions().insert(id, Arc::new(session));
    }

    pub(crate) fn remove(&self, id: &UploadId) {
        self.sessions().remove(id);
    }

    /// Waits until nobody else adds to the upload.
    pub(crate) async fn turn(
        &self,
        storage: &Storage,
        id: &UploadId,
        repository: &RepositoryName,
    ) -> Result<Turn, Failure> {
        let known = self.sessions().get(id).cloned();
        let session = match known {
            Some(session) => session,
            None => self.resume(storage, id, repository).await?,
        };
        if session.repository != *repository {
            return Err(Failure::upload_unknown());
        }
        let mut number = 0;
        session.newest.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let newest = session.newest.subscribe();
        let locked = tokio::time::timeout(TURN_TIMEOUT, session.arriving.clone().lock_owned());
        let arriving = locked.await.map_err(|_| superseded())?;
        if arriving.is_none() {
            return Err(Failure::upload_unknown());
        }
        Ok(Turn {
            arriving,
            number,
            newest,
        })
    }

    async fn resume(
        &self,
        storage: &Storage,
        id: &UploadId,
        repository: &RepositoryName,
    ) -> Result<Arc<Session>, Failure> {
        let (storage, wanted, owner) = (storage.clone(), id.clone(), repository.clone());
        let resumed = blocking(move || storage.resume_upload(&wanted, &owner)).await?;
        let arriving = resumed.ok_or_else(Failure::upload_unknown)?;
        let session = Arc::new(Session::new(repository.clone(), arriving));
        // Two requests may get here at a time; both take the session that was first.
        Ok(self.sessions().entry(id.clone()).or_insert(session).clone())
    }
}

impl Session {
    fn new(repository: RepositoryName, arriving: Arriving) -> Self {
        Self {
            repository,
            arriving: Arc::new(tokio::sync::Mutex::new(Some(arriving))),
            newest: watch::Sender::new(0),
        }
    }
}

/// Waits for a request that came after this one.
async fn newer(newest: &mut watch::Receiver<u64>, number: u64) {
    // It fails only when the session is gone, which the turn itself keeps; then nobody else can come.
    if newest.wait_for(|newest| *newest > number).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn superseded() -> Failure {
    Failure::upload_invalid("another request goes on with this upload")
}

/// Bounds of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Of the whole blob.
    pub(crate) blob_bytes_max: u64,
    /// Between two pieces.
    pub(crate) stall: Duration,
}

impl Turn {
    /// How much has arrived.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.arriving.as_ref().map_or(0, Arriving::size_bytes)
    }

    /// Ends the upload, and gives what has arrived.
    pub(crate) fn take(&mut self) -> Result<Arriving, Failure> {
        self.arriving.take().ok_or_else(Failure::upload_unknown)
    }

    /// Adds a request's body. Whatever came before a failure stays.
    pub(crate) async fn receive(
        &mut self,
        body: &mut Incoming,
        limits: BodyLimits,
    ) -> Result<(), Failure> {
        let mut writer = Writer {
            arriving: Some(self.take()?),
            writing: None,
        };
        let received = self.pump(&mut writer, body, limits).await;
        let written = writer.settle().await;
        if let Some(arriving) = &mut writer.arriving {
            arriving.pause();
        }
        *self.arriving = writer.arriving;
        received.and(written.map_err(Failure::from))
    }

    async fn pump(
        &mut self,
        writer: &mut Writer,
        body: &mut Incoming,
        limits: BodyLimits,
    ) -> Result<(), Failure> {
        let mut total = writer.size_bytes();
        let mut batch = BytesMut::new();
        let number = self.number;
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(limits.stall, body.frame()) => frame,
                () = newer(&mut self.newest, number) => {
                    writer.write(batch.freeze()).await?;
                    return Err(superseded());
                }
            };
            let chunk = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    writer.write(batch.freeze()).await?;
                    tracing::debug!(%error, "an upload broke off");
                    return Err(Failure::upload_invalid("the request's body broke off"));
                }
                Err(_) => {
                    writer.write(batch.freeze()).await?;
                    return Err(Failure::upload_invalid("the request's body has stalled"));
                }
            };
            total += chunk.len() as u64;
            if total > limits.blob_bytes_max {
                return Err(Failure::too_large(
                    code::SIZE_INVALID,
                    limits.blob_bytes_max,
                ));
            }
            batch.extend_from_slice(&chunk);
            if batch.len() >= WRITE_BYTES {
                writer.write(batch.split().freeze()).await?;
            }
        }
        writer.write(batch.freeze()).await?;
        Ok(())
    }
}

/// Writes one piece on a thread while the next one is gathered.
struct Writer {
    arriving: Option<Arriving>,
    writing: Option<JoinHandle<(Arriving, Result<()>)>>,
}

impl Writer {
    fn size_bytes(&self) -> u64 {
        self.arriving.as_ref().map_or(0, Arriving::size_bytes)
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.settle().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut arriving = self
            .arriving
            .take()
            .ok_or_else(|| Error::internal("an upload's file was lost"))?;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = arriving.write(&bytes);
            (arriving, written)
        }));
        Ok(())
    }

    /// Waits for the write on its way.
    async fn settle(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        let (arriving, written) = writing
            .await
            .map_err(|error| Error::internal("a write has panicked").with_source(error))?;
        self.arriving = Some(arriving);
        written
    }
}

/// Runs what blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Error::internal("a thread has panicked").with_source(error));
    Ok(done.flatten()?)
}
