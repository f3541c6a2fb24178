//! The namespaces of other containers and of the host that a container asks for.

use crate::container::Shared;
use crate::container::record::ContainerRecord;
use crate::container::spec::{SharedNamespaces, Sharing};
use gantry_base::{Context, Error, Result};
use std::os::fd::OwnedFd;

/// Namespaces of other containers, opened before anything is made.
pub(super) struct JoinedNamespaces {
    pub(super) sharing: SharedNamespaces,
    pub(super) fds: Vec<(&'static str, OwnedFd)>,
}

impl JoinedNamespaces {
    pub(super) fn open(shared: &Shared, record: &ContainerRecord) -> Result<Self> {
        let config = &record.config;
        let mut fds = Vec::new();
        let mut resolve = |kind: &'static str, file: &str, mode: &str| -> Result<Sharing> {
            if mode == "host" {
                return Ok(Sharing::Host);
            }
            let Some(reference) = mode.strip_prefix("container:") else {
                return Ok(Sharing::New);
            };
            let found = shared.containers.find(reference);
            let (_, view) = match kind {
                "network" => found
                    .map_err(|error| error.prefixed("joining network namespace of container"))?,
                _ => found?,
            };
            if view.state.pid == 0 {
                return Err(Error::conflict(format!(
                    "cannot join {kind} namespace of a non running container: container {} is {}",
                    view.id,
                    view.state.status.as_str()
                )));
            }
            let path = format!("/proc/{}/ns/{file}", view.state.pid);
            let fd = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
            fds.push((kind, fd.into()));
            Ok(Sharing::Joined)
        };
        let network = if config.network.is_own() {
            // Its namespace is made by the network thread and handed over.
            Sharing::Joined
        } else {
            resolve("network", "net", &config.network.mode)?
        };
        let pid = resolve("pid", "pid", &config.namespaces.pid)?;
        let ipc = resolve("ipc", "ipc", &config.namespaces.ipc)?;
        let uts = resolve("uts", "uts", &config.namespaces.uts)?;
        Ok(Self {
            sharing: SharedNamespaces {
                network,
                pid,
                ipc,
                uts,
            },
            fds,
        })
    }
}
