//! What is asked of registries without moving an image: log in, search, inspect a remote image.

use super::Images;
use super::transfer::Asker;
use gantry_base::{Error, Result};
use gantry_oci::image::{Descriptor, ImageConfig, Index, Manifest};
use gantry_oci::reference::DEFAULT_DOMAIN;
use gantry_oci::{Platform, Reference};
use gantry_registry::client::{Access, Credentials, SearchResult};
use gantry_registry::media_type;

/// Names of Docker Hub in configuration files.
const HUB_NAMES: [&str; 3] = [
    "https://index.docker.io/v1/",
    "index.docker.io",
    "docker.io",
];

/// A manifest or index in a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteImage {
    /// It.
    pub descriptor: Descriptor,
    /// The platforms that it has images for.
    pub platforms: Vec<Platform>,
}

impl Images {
    /// Tries credentials; gives the identity token, which may be empty.
    ///
    /// # Errors
    /// In Docker's words, when the registry refuses them.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<String> {
        let domain = if server.is_empty() || HUB_NAMES.contains(&server) {
            DEFAULT_DOMAIN
        } else {
            let bare = server
                .trim_start_matches("https://")
                .trim_start_matches("http://");
            bare.split('/').next().unwrap_or_default()
        };
        if domain.is_empty() {
            return Err(Error::invalid(format!(
                "invalid registry address {server:?}"
            )));
        }
        let client = &self.transfers()?.client;
        Ok(client.login(domain, credentials).await?.identity_token)
    }

    /// Searches a registry.
    ///
    /// # Errors
    /// When it cannot be reached or has no search.
    pub async fn search(&self, term: &str, limit: i64, asker: &Asker) -> Result<Vec<SearchResult>> {
        let client = &self.transfers()?.client;
        client
            .search(term, limit, asker.credentials.as_ref(), &asker.headers)
            .await
    }

    /// What a reference stands for in its registry.
    ///
    /// # Errors
    /// In Docker's words, when it is not there.
    pub async fn remote(&self, reference: &Reference, asker: Asker) -> Result<RemoteImage> {
        let client = &self.transfers()?.client;
        let repository =
            client.repository(reference, Access::Pull, asker.credentials, asker.headers)?;
        let document = repository.manifest(reference).await?;
        let descriptor = document.descriptor();
        let parsed = |error: serde_json::Error| Error::invalid(error.to_string());
        let platforms = if media_type::is_index(&document.media_type) {
            let index: Index = serde_json::from_slice(&document.bytes).map_err(parsed)?;
            index
                .manifests
                .into_iter()
                .filter_map(|manifest| manifest.platform)
                .collect()
        } else {
            let manifest: Manifest = serde_json::from_slice(&document.bytes).map_err(parsed)?;
            let config = repository.small_blob(&manifest.config).await?;
            let config: ImageConfig = serde_json::from_slice(&config).map_err(parsed)?;
            vec![Platform {
                os: config.os,
                architecture: config.architecture,
                variant: config.variant,
                ..Platform::default()
            }]
        };
        Ok(RemoteImage {
            descriptor,
            platforms,
        })
    }
}
