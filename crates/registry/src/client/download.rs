//! A blob on its way here: in parallel ranges, taken up again where it broke off, written as it arrives.
//!
//! The bytes go into a [`Partial`], which knows what is missing; whoever reads it checks the digest. Each range is asked
//! for until it is whole; what counts is whether an attempt brought the blob further.

use super::Repository;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::request::{Ask, next_bytes, pause};
use bytes::Bytes;
use gantry_base::{Error, Result};
use gantry_image::Partial;
use gantry_oci::Digest;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Ranges of one blob that are fetched at one time.
const RANGES_MAX: usize = 4;
/// Chunks between the network and the disk.
const QUEUE_LENGTH: usize = 16;

/// One blob's download, shared by its ranges.
struct Download {
    repository: Repository,
    partial: Arc<Partial>,
    /// The next segment that nobody has taken.
    next: AtomicUsize,
    /// Whether the registry sends the whole where a range was asked for.
    is_whole_only: AtomicBool,
}

/// What one attempt at a segment came to.
enum Step {
    /// The segment is whole.
    Done,
    /// The registry sent everything, and everything was written.
    All,
}

impl Repository {
    /// Fetches what is missing of a blob.
    ///
    /// # Errors
    /// When the registry does not have it, sends something else, or nothing for too long; what arrived is kept.
    pub async fn download(&self, partial: Arc<Partial>) -> Result<()> {
        let download = Arc::new(Download {
            repository: self.clone(),
            partial,
            next: AtomicUsize::new(0),
            is_whole_only: AtomicBool::new(false),
        });
        download.run().await.map_err(Failure::into_error)
    }
}

impl Download {
    async fn run(self: Arc<Self>) -> Result<(), Failure> {
        // The first range alone shows whether ranges are understood.
        let Some(first) = self.take() else {
            return Ok(());
        };
        if let Step::All = self.segment(first).await? {
            return Ok(());
        }
        let mut ranges = JoinSet::new();
        for _ in 0..RANGES_MAX.min(self.partial.segment_count().saturating_sub(1)) {
            let this = self.clone();
            ranges.spawn(async move {
                while let Some(index) = this.take() {
                    if let Step::All = this.segment(index).await? {
                        break;
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = ranges.join_next().await {
            // The others are cancelled with the set.
            ended.map_err(|_| Failure::refused("a download ended unexpectedly"))??;
        }
        Ok(())
    }

    /// The next segment with something missing.
    fn take(&self) -> Option<usize> {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.partial.segment_count() {
                return None;
            }
            if !self.partial.segment(index).missing.is_empty() {
                return Some(index);
            }
        }
    }

    async fn segment(&self, index: usize) -> Result<Step, Failure> {
        let patience = self.repository.client.patience().clone();
        let (mut attempt, mut resumptions) = (1, 0);
        loop {
            let before = self.partial.arrived_bytes();
            let failure = match self.attempt(index).await {
                Ok(step) => return Ok(step),
                Err(failure) => failure,
            };
            if self.partial.segment(index).missing.is_empty() {
                return Ok(Step::Done);
            }
            let progress = self.partial.arrived_bytes() - before;
            resumptions += 1;
            if progress
                >= patience
                    .slow_bytes
                    .min(self.partial.size_bytes() / 8)
                    .max(1)
            {
                attempt = 0;
            }
            if !failure.is_passing()
                || attempt >= patience.attempts
                || resumptions > patience.resumptions
            {
                return Err(failure);
            }
            if attempt > 0 {
                pause(&patience, attempt, &failure).await?;
            }
            attempt += 1;
        }
    }

    async fn attempt(&self, index: usize) -> Result<Step, Failure> {
        let repository = &self.repository;
        let missing = &self.partial.segment(index).missing;
        let size = self.partial.size_bytes();
        let is_ranged = missing.start > 0 || missing.end < size;
        let response = repository
            .ask(|endpoint| async move { self.request(&endpoint, missing, is_ranged).await })
            .await?;
        let digest = self.partial.digest();
        if response.status() == StatusCode::PARTIAL_CONTENT {
            check_range(&response, missing, size, digest)?;
            let segments = index..index + 1;
            self.receive(response, segments, missing.start).await?;
            return Ok(Step::Done);
        }
        if let Some(length) = response.content_length().filter(|length| *length != size) {
            return Err(wrong_size(digest, length, size));
        }
        if is_ranged && self.is_whole_only.swap(true, Ordering::AcqRel) {
            // One stream is enough.
            return Err(Failure::broken("the registry does not send ranges"));
        }
        let segments = 0..self.partial.segment_count();
        self.receive(response, segments, 0).await?;
        Ok(Step::All)
    }

    async fn request(
        &self,
        endpoint: &Endpoint,
        missing: &Range<u64>,
        is_ranged: bool,
    ) -> Result<Response, Failure> {
        let (repository, digest) = (&self.repository, self.partial.digest());
        let url = endpoint.url(&format!("{}/blobs/{digest}", repository.path))?;
        let mut ask = Ask::new(Method::GET, url).header(ACCEPT_ENCODING, "identity");
        if is_ranged {
            let range = format!("bytes={}-{}", missing.start, missing.end - 1);
            ask = ask.header(RANGE, &range);
        }
        repository.send(endpoint, &ask).await
    }

    /// Writes a body that begins at `position` into the segments that it covers, leaving out what is here.
    async fn receive(
        &self,
        mut response: Response,
        segments: Range<usize>,
        position: u64,
    ) -> Result<(), Failure> {
        let (chunks, arriving) = mpsc::channel::<Bytes>(QUEUE_LENGTH);
        let partial = self.partial.clone();
        let writer =
            tokio::task::spawn_blocking(move || write_all(&partial, segments, position, arriving));
        let outcome = self.pump(&mut response, chunks).await;
        let written = writer
            .await
            .map_err(|_| Failure::refused("a download's writer ended unexpectedly"))?;
        // A full disk is the cause where both failed.
        let is_whole = written.map_err(Failure::Refused)?;
        outcome?;
        if is_whole {
            Ok(())
        } else {
            Err(Failure::broken("unexpected EOF"))
        }
    }

    async fn pump(
        &self,
        response: &mut Response,
        chunks: mpsc::Sender<Bytes>,
    ) -> Result<(), Failure> {
        let patience = self.repository.client.patience();
        let (mut since, mut arrived) = (Instant::now(), 0);
        while let Some(bytes) = next_bytes(patience, response).await? {
            arrived += bytes.len() as u64;
            if since.elapsed() >= patience.slow {
                if arrived < patience.slow_bytes {
                    return Err(Failure::broken(format!(
                        "the registry sends too slowly: {arrived} bytes in {} seconds",
                        since.elapsed().as_secs()
                    )));
                }
                (since, arrived) = (Instant::now(), 0);
            }
            // The writer is gone once it has all, or has failed.
            if chunks.send(bytes).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Gives whether all segments are whole.
fn write_all(
    partial: &Partial,
    segments: Range<usize>,
    mut position: u64,
    mut arriving: mpsc::Receiver<Bytes>,
) -> Result<bool> {
    let mut index = segments.start;
    let is_last = |index: usize| index + 1 >= segments.end;
    while let Some(mut bytes) = arriving.blocking_recv() {
        while !bytes.is_empty() {
            let missing = partial.segment(index).missing;
            if position >= missing.end {
                if is_last(index) {
                    // More than was asked for: the digest will tell whether it is the right thing.
                    return Ok(true);
                }
                index += 1;
                continue;
            }
            let until = if position < missing.start {
                missing.start
            } else {
                missing.end
            };
            let length = usize::try_from(until - position)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let part = bytes.split_to(length);
            if position >= missing.start {
                partial.write(index, &part)?;
            }
            position += length as u64;
        }
    }
    Ok(segments
        .into_iter()
        .all(|index| partial.segment(index).missing.is_empty()))
}

fn check_range(
    response: &Response,
    missing: &Range<u64>,
    size: u64,
    digest: &Digest,
) -> Result<(), Failure> {
    let header = response.headers().get(CONTENT_RANGE);
    let text = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let parsed = text.strip_prefix("bytes ").and_then(|range| {
        let (range, total) = range.split_once('/')?;
        let (start, _) = range.split_once('-')?;
        Some((start.parse::<u64>().ok()?, total))
    });
    match parsed {
        Some((start, total)) if start == missing.start => match total.parse::<u64>() {
            Ok(total) if total != size => Err(wrong_size(digest, total, size)),
            _ => Ok(()),
        },
        _ => Err(Failure::refused(format!(
            "the registry answers with the range {text:?} of {digest} where bytes {}-{} were asked for",
            missing.start,
            missing.end - 1
        ))),
    }
}

fn wrong_size(digest: &Digest, found: u64, size: u64) -> Failure {
    Failure::Refused(Error::internal(format!(
        "{digest} has {found} bytes in the registry, but its manifest says {size}"
    )))
}
