//! One blob on its way here from another registry, and those who read it while it arrives.
//!
//! The last byte is held back until the digest is known to be right, so that nobody takes a wrong blob for a whole one.

use crate::client::{BlobStream, Repository};
use crate::server::App;
use crate::server::body::{Body, CHUNK_BYTES};
use crate::server::failure::Failure;
use crate::server::name::{RepositoryName, UploadId};
use crate::server::storage::new_upload_id;
use crate::server::upload::blocking;
use bytes::{Bytes, BytesMut};
use gantry_base::{Error, Result};
use gantry_image::content::Arriving;
use gantry_oci::ContentDigest;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 512 << 10;
/// How often in a row a broken stream is taken up again without getting further.
const ATTEMPTS_MAX: u32 = 5;
/// Chunks between the file and a reader.
const QUEUE_LENGTH: usize = 2;

/// A blob that arrives.
pub(crate) struct Fetch {
    pub(crate) digest: ContentDigest,
    pub(crate) size_bytes: u64,
    repository: RepositoryName,
    id: UploadId,
    file: Arc<File>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// This much can be read.
    Arrived(u64),
    /// There will be no more.
    Failed,
}

impl Fetch {
    pub(super) async fn begin(
        app: &Arc<App>,
        repository: &RepositoryName,
        digest: &ContentDigest,
        stream: &BlobStream,
    ) -> Result<(Self, Arriving), Failure> {
        let id = new_upload_id()?;
        let (storage, new, owner, algorithm) = (
            app.storage.clone(),
            id.clone(),
            repository.clone(),
            digest.algorithm(),
        );
        let (file, arriving) = blocking(move || {
            let arriving = storage.begin_upload(&new, &owner, algorithm)?;
            Ok((File::open(storage.upload_path(&new))?, arriving))
        })
        .await?;
        let fetch = Self {
            digest: digest.clone(),
            size_bytes: stream.size_bytes,
            repository: repository.clone(),
            id,
            file: Arc::new(file),
            progress: watch::Sender::new(Progress::Arrived(0)),
        };
        Ok((fetch, arriving))
    }

    /// Fetches to the end.
    pub(super) async fn run(
        &self,
        app: &Arc<App>,
        remote: Repository,
        stream: BlobStream,
        arriving: Arriving,
    ) {
        let received = self.receive(&remote, stream, arriving).await;
        let ended = match received {
            Ok(arriving) => self.finish(app, arriving).await,
            Err(error) => Err(error.into()),
        };
        let progress = match ended {
            Ok(()) => Progress::Arrived(self.size_bytes),
            Err(failure) => {
                tracing::warn!(digest = %self.digest, ?failure, "a blob was not fetched");
                let (storage, id) = (app.storage.clone(), self.id.clone());
                // What stays is swept with other uploads that nobody goes on with.
                drop(blocking(move || storage.cancel_upload(&id)).await);
                Progress::Failed
            }
        };
        self.progress.send_replace(progress);
    }

    async fn finish(&self, app: &Arc<App>, arriving: Arriving) -> Result<(), Failure> {
        let (storage, id, owner, digest) = (
            app.storage.clone(),
            self.id.clone(),
            self.repository.clone(),
            self.digest.clone(),
        );
        blocking(move || storage.finish_upload(&id, arriving, &owner, &digest)).await
    }

    async fn receive(
        &self,
        remote: &Repository,
        stream: BlobStream,
        mut arriving: Arriving,
    ) -> Result<Arriving> {
        let mut stream = Some(stream);
        let mut attempts = 0;
        while arriving.size_bytes() < self.size_bytes {
            let before = arriving.size_bytes();
            let opened = match stream.take() {
                Some(stream) => Ok(stream),
                None => remote.stream(&self.digest, before).await,
            };
            let broken = match opened {
                Ok(stream) => {
                    let (back, outcome) = self.pump(stream, arriving).await?;
                    arriving = back;
                    outcome.err()
                }
                Err(error) => Some(error),
            };
            attempts = if arriving.size_bytes() > before {
                0
            } else {
                attempts + 1
            };
            if attempts >= ATTEMPTS_MAX {
                return Err(broken.unwrap_or_else(|| Error::internal("a blob ends too soon")));
            }
            if arriving.size_bytes() < self.size_bytes {
                tokio::time::sleep(Duration::from_millis(200 << attempts)).await;
            }
        }
        Ok(arriving)
    }

    /// Writes what a stream brings; what came before a failure is written all the same.
    async fn pump(
        &self,
        mut stream: BlobStream,
        mut arriving: Arriving,
    ) -> Result<(Arriving, Result<()>)> {
        let mut batch = BytesMut::new();
        loop {
            let next = stream.next().await;
            let is_end = !matches!(next, Ok(Some(_)));
            if let Ok(Some(chunk)) = &next {
                batch.extend_from_slice(chunk);
            }
            if batch.len() >= WRITE_BYTES || is_end {
                arriving = self.write(arriving, batch.split().freeze()).await?;
            }
            if is_end {
                return Ok((arriving, next.map(|_| ())));
            }
        }
    }

    async fn write(&self, mut arriving: Arriving, mut bytes: Bytes) -> Result<Arriving> {
        // More than was announced is not taken; the digest tells whether the rest is right.
        let room = self.size_bytes - arriving.size_bytes();
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        let written = tokio::task::spawn_blocking(move || {
            arriving.write(&bytes)?;
            Ok::<_, Error>(arriving)
        });
        let arriving = written
            .await
            .map_err(|error| Error::internal("a write has panicked").with_source(error))??;
        let shown = arriving.size_bytes().min(self.size_bytes.saturating_sub(1));
        self.progress.send_replace(Progress::Arrived(shown));
        Ok(arriving)
    }

    /// A body of the bytes from `start` to before `end`, as they arrive.
    pub(crate) fn body(self: &Arc<Self>, start: u64, end: u64) -> Body {
        let (chunks, receiver) = mpsc::channel(QUEUE_LENGTH);
        let fetch = self.clone();
        tokio::spawn(async move { fetch.follow(start, end, chunks).await });
        Body::Channel(receiver, end - start)
    }

    async fn follow(&self, mut start: u64, end: u64, chunks: mpsc::Sender<io::Result<Bytes>>) {
        let mut progress = self.progress.subscribe();
        while start < end {
            let arrived = progress
                .wait_for(
                    |progress| !matches!(progress, Progress::Arrived(arrived) if *arrived <= start),
                )
                .await
                .map(|progress| *progress);
            let chunk = match arrived {
                Ok(Progress::Arrived(arrived)) => self.read(start, arrived.min(end)).await,
                Ok(Progress::Failed) | Err(_) => Err(io::Error::other("the blob was not fetched")),
            };
            let is_failed = chunk.is_err();
            start += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if chunks.send(chunk).await.is_err() || is_failed {
                return;
            }
        }
    }

    async fn read(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let length = usize::try_from((end - start).min(CHUNK_BYTES)).map_err(io::Error::other)?;
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; length];
            file.read_exact_at(&mut chunk, start)?;
            Ok(Bytes::from(chunk))
        });
        read.await.map_err(io::Error::other)?
    }
}
