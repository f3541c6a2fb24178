//! The registry that both daemons pull from: `gantry registry serve` on loopback, with the image in it.

use super::content::{Content, Kind};
use crate::bench::own::signal;
use gantry_testkit::registry::ask;
use rustix::process::Signal;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "bench/store";
const START_MAX: Duration = Duration::from_secs(15);

/// Stopped when dropped.
pub(super) struct Registry {
    address: SocketAddr,
    process: Child,
}

impl Registry {
    pub(super) fn start(gantry: &Path, work: &Path, content: &Content) -> Result<Self, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|e| format!("there is no free port: {e}"))?;
        let process = Command::new(gantry)
            .args(["registry", "serve", "--no-access-log", "--addr"])
            .arg(address.to_string())
            .arg("--root")
            .arg(work.join("registry"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", gantry.display()))?;
        let registry = Self { address, process };
        let began = Instant::now();
        while ask(address, "GET /v2/", &[], b"").is_err() {
            if began.elapsed() > START_MAX {
                return Err("the registry does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        registry.fill(content)?;
        Ok(registry)
    }

    /// As it stands in references.
    pub(super) fn repository(&self) -> String {
        format!("{}/{NAME}", self.address)
    }

    fn fill(&self, content: &Content) -> Result<(), String> {
        for kind in [Kind::Gzip, Kind::Zstd] {
            for layer in &content.layers {
                let blob = layer.blob(kind);
                self.put_blob(&blob.digest, || {
                    std::fs::read(&blob.path)
                        .map_err(|e| format!("cannot read {}: {e}", blob.path.display()))
                })?;
            }
            self.put_blob(&content.image_id(), || Ok(content.config.clone()))?;
            let kind_of = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");
            let request = format!("PUT /v2/{NAME}/manifests/{}", kind.name());
            self.ask(&request, &[kind_of], &content.manifest(kind))?;
        }
        Ok(())
    }

    fn put_blob(
        &self,
        digest: &str,
        read: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<(), String> {
        if self
            .ask(&format!("HEAD /v2/{NAME}/blobs/{digest}"), &[], b"")
            .is_ok()
        {
            return Ok(());
        }
        let octets = ("Content-Type", "application/octet-stream");
        let request = format!("POST /v2/{NAME}/blobs/uploads/?digest={digest}");
        self.ask(&request, &[octets], &read()?)
    }

    fn ask(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(), String> {
        let answer =
            ask(self.address, request, headers, body).map_err(|e| format!("{request}: {e}"))?;
        if answer.status < 300 {
            return Ok(());
        }
        Err(format!("{request}: {} {}", answer.status, answer.text()))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        signal(&self.process, Signal::TERM);
        drop(self.process.wait());
    }
}
