//! A blob as it comes, for those who hand it on while it arrives.
//!
//! Nothing is verified here: whoever takes the bytes checks the digest.

use super::failure::Failure;
use super::request::{Ask, next_bytes};
use super::{Patience, Repository};
use bytes::Bytes;
use gantry_base::{Error, Result};
use gantry_oci::ContentDigest;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

/// The rest of a blob, from a position on.
pub struct BlobStream {
    /// Of the whole blob.
    pub size_bytes: u64,
    response: Response,
    patience: Patience,
}

impl Repository {
    /// Asks for a blob from `position` on.
    ///
    /// # Errors
    /// When the registry does not have it, or does not go on at that position.
    pub async fn stream(&self, digest: &ContentDigest, position: u64) -> Result<BlobStream> {
        let response = self
            .ask(|endpoint| async move {
                let url = endpoint.url(&format!("{}/blobs/{digest}", self.path))?;
                let mut ask = Ask::new(Method::GET, url).header(ACCEPT_ENCODING, "identity");
                if position > 0 {
                    ask = ask.header(RANGE, &format!("bytes={position}-"));
                }
                self.send_patiently(&endpoint, &ask).await
            })
            .await
            .map_err(Failure::into_error)?;
        let size = if position == 0 && response.status() == StatusCode::OK {
            response.content_length()
        } else {
            total(&response, position)
        };
        let size_bytes = size.ok_or_else(|| {
            Error::internal(format!("the registry does not say how long {digest} is"))
        })?;
        Ok(BlobStream {
            size_bytes,
            response,
            patience: self.client.patience().clone(),
        })
    }
}

/// The length of all, if the answer begins where it was asked to.
fn total(response: &Response, position: u64) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    (first.parse() == Ok(position))
        .then(|| total.parse().ok())
        .flatten()
}

impl BlobStream {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When the connection breaks, or nothing comes for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        next_bytes(&self.patience, &mut self.response)
            .await
            .map_err(Failure::into_error)
    }
}
