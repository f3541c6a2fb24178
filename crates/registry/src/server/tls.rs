//! The server's certificate and key, read again when the files change.

use gantry_base::{Context, Error, Result};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// Files of PEM.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What new connections are accepted with.
pub(crate) struct Tls {
    options: TlsOptions,
    current: RwLock<(Stamp, Arc<ServerConfig>)>,
}

/// When the files were changed last.
type Stamp = [Option<SystemTime>; 2];

impl Tls {
    pub(crate) fn open(options: TlsOptions) -> Result<Self> {
        let read = (stamp(&options), Arc::new(read(&options)?));
        Ok(Self {
            options,
            current: RwLock::new(read),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self
            .current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        current.1.clone().into()
    }

    /// Reads the files again if they have changed. What cannot be used is told to the log, and the old certificate stays.
    pub(crate) fn refresh(&self) {
        let stamp = stamp(&self.options);
        let current = self
            .current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0;
        if stamp == current {
            return;
        }
        match read(&self.options) {
            Ok(config) => {
                *self
                    .current
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = (stamp, Arc::new(config));
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the certificate was not read again"),
        }
    }
}

fn stamp(options: &TlsOptions) -> Stamp {
    [&options.certificate, &options.key].map(|path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    })
}

fn read(options: &TlsOptions) -> Result<ServerConfig> {
    let (certificate, key) = (options.certificate.display(), options.key.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&options.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| Error::invalid(format!("cannot read {certificate}: {error}")))?;
    let private = PrivateKeyDer::from_pem_file(&options.key)
        .map_err(|error| Error::invalid(format!("cannot read {key}: {error}")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| Error::invalid(error.to_string()))
        .with_context(|| format!("cannot use {certificate} with {key}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
