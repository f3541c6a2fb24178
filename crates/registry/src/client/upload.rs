//! A blob on its way to a registry: found there, mounted from another repository, or sent; what broke off is taken up again.
//!
//! Source: OCI distribution-spec 1.1, "Pushing blobs". The whole blob is sent in one PATCH, as Docker does, since some
//! registries bound the length of chunks; after a break the registry says how much it has, and the rest follows.

use super::Repository;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::request::{Ask, pause};
use bytes::Bytes;
use gantry_base::{Error, Result};
use gantry_oci::Digest;
use gantry_oci::image::Descriptor;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use std::io::SeekFrom;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bytes handed to the network at one time.
const PIECE_BYTES: usize = 256 << 10;
const QUEUE_LENGTH: usize = 4;
const OCTETS: &str = "application/octet-stream";

/// How a blob came to be in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Exists,
    /// It was in another repository of the registry.
    Mounted(String),
    /// It was sent.
    Sent,
}

/// A blob that is here.
pub trait Content: std::io::Read + std::io::Seek + Send {}

impl<T: std::io::Read + std::io::Seek + Send> Content for T {}

/// Opens a blob that is here; called again after a break.
pub type Source = Arc<dyn Fn() -> Result<Box<dyn Content>> + Send + Sync>;

impl Repository {
    /// Whether the registry has a blob here.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let found = self
            .ask(|endpoint| async move {
                let endpoint = &*endpoint;
                let url = endpoint.url(&format!("{}/blobs/{}", self.path, descriptor.digest))?;
                match self
                    .send_patiently(endpoint, &Ask::new(Method::HEAD, url))
                    .await
                {
                    Ok(response) => {
                        let length = response.headers().get(CONTENT_LENGTH);
                        let length =
                            length.and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
                        Ok(length.is_none_or(|length| length == descriptor.size))
                    }
                    Err(failure) if failure.is_not_found() => Ok(false),
                    Err(failure) => Err(failure),
                }
            })
            .await;
        found.map_err(Failure::into_error)
    }

    /// Brings a blob to the registry; `sent` counts the bytes that went.
    ///
    /// # Errors
    /// When the registry refuses it, or takes nothing for too long.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        mount_from: &[String],
        source: Source,
        sent: &Arc<AtomicU64>,
    ) -> Result<Uploaded> {
        let source = &source;
        let found = self
            .ask(|endpoint| async move {
                let endpoint = &*endpoint;
                let digest = &descriptor.digest;
                let mut location = None;
                for from in mount_from {
                    match self.begin(endpoint, Some((digest, from))).await? {
                        None => return Ok(Uploaded::Mounted(from.clone())),
                        Some(url) => location = Some(url),
                    }
                }
                let mut upload = Upload {
                    repository: self,
                    endpoint,
                    descriptor,
                    source,
                    sent,
                };
                upload.run(location).await?;
                Ok(Uploaded::Sent)
            })
            .await;
        found.map_err(Failure::into_error)
    }

    /// Makes a blob of another repository of the registry one of this, unless it is; gives whether it is here now.
    ///
    /// # Errors
    /// When the registry cannot be asked, or refuses.
    pub async fn mount(&self, descriptor: &Descriptor, from: &str) -> Result<bool> {
        if self.has_blob(descriptor).await? {
            return Ok(true);
        }
        let digest = &descriptor.digest;
        let begun = self
            .ask(|endpoint| async move { self.begin(&endpoint, Some((digest, from))).await })
            .await;
        // An upload that began instead ends by itself.
        begun
            .map(|location| location.is_none())
            .map_err(Failure::into_error)
    }

    /// Begins an upload and gives its URL; none if the blob was mounted instead.
    async fn begin(
        &self,
        endpoint: &Endpoint,
        mount: Option<(&Digest, &str)>,
    ) -> Result<Option<Url>, Failure> {
        let mut url = endpoint.url(&format!("{}/blobs/uploads/", self.path))?;
        if let Some((digest, from)) = mount {
            url.query_pairs_mut()
                .append_pair("from", from)
                .append_pair("mount", digest.as_str());
        }
        let ask = Ask::new(Method::POST, url.clone()).header(CONTENT_LENGTH, "0");
        let response = self.send_patiently(endpoint, &ask).await?;
        if mount.is_some() && response.status() == StatusCode::CREATED {
            return Ok(None);
        }
        location_of(&url, &response, endpoint).map(Some)
    }

    /// Puts a manifest or index under a tag or its digest.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub async fn put_manifest(&self, name: &str, media_type: &str, bytes: &Bytes) -> Result<()> {
        let put = self
            .ask(|endpoint| async move {
                let endpoint = &*endpoint;
                let url = endpoint.url(&format!("{}/manifests/{name}", self.path))?;
                let body = || reqwest::Body::from(bytes.clone());
                let mut ask = Ask::new(Method::PUT, url).header(CONTENT_TYPE, media_type);
                ask.body = Some(&body);
                self.send_patiently(endpoint, &ask).await.map(drop)
            })
            .await;
        put.map_err(Failure::into_error)
    }
}

struct Upload<'a> {
    repository: &'a Repository,
    endpoint: &'a Endpoint,
    descriptor: &'a Descriptor,
    source: &'a Source,
    sent: &'a Arc<AtomicU64>,
}

impl Upload<'_> {
    async fn run(&mut self, mut location: Option<Url>) -> Result<(), Failure> {
        let patience = self.repository.client.patience();
        let (mut attempt, mut best) = (1, 0);
        let mut offset = 0;
        loop {
            let failure = match self.attempt(&mut location, &mut offset).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if !failure.is_passing() && !failure.is_not_found() || attempt >= patience.attempts {
                return Err(failure);
            }
            pause(patience, attempt, &failure).await?;
            // How much it has; where it has forgotten the upload, a new one begins.
            let known = match &location {
                Some(url) => self.status(url).await,
                None => None,
            };
            (location, offset) = known.map_or((None, 0), |(url, has)| (Some(url), has));
            attempt = if offset > best { 1 } else { attempt + 1 };
            best = best.max(offset);
        }
    }

    async fn attempt(&self, location: &mut Option<Url>, offset: &mut u64) -> Result<(), Failure> {
        let mut url = match location.take() {
            Some(url) => url,
            None => self
                .repository
                .begin(self.endpoint, None)
                .await?
                .ok_or_else(|| Failure::refused("an upload began as a mount"))?,
        };
        *location = Some(url.clone());
        if *offset < self.descriptor.size {
            let response = self.patch(&url, *offset).await?;
            url = location_of(&url, &response, self.endpoint)?;
            *location = Some(url.clone());
            *offset = self.descriptor.size;
        }
        url.query_pairs_mut()
            .append_pair("digest", self.descriptor.digest.as_str());
        let ask = Ask::new(Method::PUT, url)
            .header(CONTENT_LENGTH, "0")
            .header(CONTENT_TYPE, OCTETS);
        self.repository.send(self.endpoint, &ask).await.map(drop)
    }

    /// Sends everything from `offset` on.
    async fn patch(&self, url: &Url, offset: u64) -> Result<Response, Failure> {
        let size = self.descriptor.size;
        self.sent.store(offset, Ordering::Relaxed);
        let body = || {
            let (source, sent) = (self.source.clone(), self.sent.clone());
            reqwest::Body::wrap(FileBody::new(source, offset, size, sent))
        };
        let mut ask = Ask::new(Method::PATCH, url.clone())
            .header(CONTENT_TYPE, OCTETS)
            .header(CONTENT_LENGTH, &(size - offset).to_string());
        if offset > 0 {
            let range = format!("{offset}-{}", size.saturating_sub(1));
            ask = ask.header(CONTENT_RANGE, &range);
        }
        ask.body = Some(&body);
        let sending = self.repository.send(self.endpoint, &ask);
        tokio::pin!(sending);
        let patience = self.repository.client.patience();
        let (mut seen, mut since) = (offset, Instant::now());
        loop {
            tokio::select! {
                response = &mut sending => return response,
                () = tokio::time::sleep(patience.stall / 8) => {}
            }
            let now = self.sent.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            let limit = if now >= size {
                patience.answer
            } else {
                patience.stall
            };
            if since.elapsed() > limit {
                return Err(Failure::broken(format!(
                    "the registry took no data for {} seconds",
                    limit.as_secs()
                )));
            }
        }
    }

    /// Where an upload goes on, and how much of it the registry has.
    async fn status(&self, url: &Url) -> Option<(Url, u64)> {
        let ask = Ask::new(Method::GET, url.clone());
        let response = self.repository.send(self.endpoint, &ask).await.ok()?;
        let range = response.headers().get(RANGE)?.to_str().ok()?;
        let range = range.strip_prefix("bytes=").unwrap_or(range);
        let last: u64 = range.split_once('-')?.1.parse().ok()?;
        // `0-0` is what registries say of an upload that has nothing.
        let has = if last == 0 { 0 } else { last + 1 };
        let url = location_of(url, &response, self.endpoint).unwrap_or_else(|_| url.clone());
        (has <= self.descriptor.size).then_some((url, has))
    }
}

/// The `Location` of an answer. It may lead elsewhere, but then without the user's token.
fn location_of(from: &Url, response: &Response, endpoint: &Endpoint) -> Result<Url, Failure> {
    let header = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let url = header.and_then(|text| from.join(text).ok());
    let url =
        url.ok_or_else(|| Failure::refused("the registry began an upload without a location"))?;
    let is_down = from.scheme() == "https" && url.scheme() == "http";
    let is_allowed = matches!(url.scheme(), "http" | "https")
        && (!is_down || endpoint.tls.skip_verify)
        && super::request::may_be_sent_to(&url, &endpoint.base);
    if is_allowed {
        Ok(url)
    } else {
        Err(Failure::refused(
            "the registry sends an upload to a place that is not safe",
        ))
    }
}

/// The rest of a file as a request's body, read on a thread of its own.
struct FileBody {
    pieces: mpsc::Receiver<Result<Bytes>>,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl FileBody {
    fn new(source: Source, offset: u64, size: u64, sent: Arc<AtomicU64>) -> Self {
        let (sender, pieces) = mpsc::channel(QUEUE_LENGTH);
        tokio::task::spawn_blocking(move || {
            let read = || -> Result<()> {
                let mut file = source()?;
                file.seek(SeekFrom::Start(offset))?;
                loop {
                    let mut piece = vec![0; PIECE_BYTES];
                    let mut length = 0;
                    while length < piece.len() {
                        match file.read(&mut piece[length..])? {
                            0 => break,
                            count => length += count,
                        }
                    }
                    piece.truncate(length);
                    if length == 0 || sender.blocking_send(Ok(piece.into())).is_err() {
                        return Ok(());
                    }
                }
            };
            if let Err(error) = read() {
                // Whoever sent the body may be gone.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self {
            pieces,
            left: size - offset,
            sent,
        }
    }
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| {
            let piece = piece?;
            Some(piece.map(|bytes| {
                let length = bytes.len() as u64;
                self.left = self.left.saturating_sub(length);
                self.sent.fetch_add(length, Ordering::Relaxed);
                hyper::body::Frame::data(bytes)
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.left)
    }
}
