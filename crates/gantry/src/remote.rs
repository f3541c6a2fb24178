//! The command line's own way to registries, for the commands that do not go through the daemon.
//!
//! Host settings are those of the daemon's folders, proxies those of the environment.

use bytes::Bytes;
use gantry_base::Result;
use gantry_cli::remote::{Answer, Document, Opening, Registries, Remote};
use gantry_oci::Reference;
use gantry_oci::image::Descriptor;
use gantry_registry::client::{Access, Client, Credentials, Options, Proxies, Repository};

/// Through the client that the daemon has too.
pub(crate) struct Direct;

struct Opened(Repository);

impl Registries for Direct {
    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Remote>> {
        let insecure = opening
            .is_insecure
            .then(|| opening.reference.domain.clone());
        let client = Client::new(Options {
            insecure: insecure.into_iter().collect(),
            hosts_directories: vec!["/etc/docker/certs.d".into(), "/etc/gantry/certs.d".into()],
            proxies: Proxies::default().or_environment(|name| std::env::var(name).ok()),
            user_agent: concat!("Gantry-Client/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Options::default()
        });
        let access = if opening.is_push {
            Access::Push
        } else {
            Access::Pull
        };
        let login = opening.login.clone();
        let credentials = Credentials {
            username: login.username,
            password: login.password,
            identity_token: login.identity_token,
            registry_token: login.registry_token,
        };
        let repository =
            client.repository(opening.reference, access, Some(credentials), Vec::new())?;
        Ok(Box::new(Opened(repository)))
    }
}

impl Remote for Opened {
    fn manifest<'a>(&'a self, reference: &'a Reference) -> Answer<'a, Document> {
        Box::pin(async move {
            let found = self.0.manifest(reference).await?;
            Ok(Document {
                media_type: found.media_type,
                digest: found.digest,
                bytes: found.bytes,
            })
        })
    }
    fn config<'a>(&'a self, descriptor: &'a Descriptor) -> Answer<'a, Vec<u8>> {
        Box::pin(self.0.small_blob(descriptor))
    }
    fn mount<'a>(&'a self, blob: &'a Descriptor, from: &'a str) -> Answer<'a, bool> {
        Box::pin(self.0.mount(blob, from))
    }
    fn put<'a>(&'a self, name: &'a str, media_type: &'a str, bytes: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(async move {
            let bytes = Bytes::from(bytes);
            self.0.put_manifest(name, media_type, &bytes).await
        })
    }
}
