//! Connecting a container to one more network, and disconnecting it: of a running container, the kernel follows at once.

use super::claim::{check_asked, unaddressed};
use super::endpoint::EndpointClaim;
use super::endpoint_options::free_interface;
use super::resolver::reopen_resolver;
use super::{Claims, Driver, Network, Networks};
use crate::container::config::{Attachment, Config, NetworkConfig};
use gantry_base::{ContainerId, Error, ErrorKind, Result};
use gantry_state::{Durability, sql_error};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// A running container whose networks change.
pub(crate) struct Sandboxed<'a> {
    pub(crate) id: &'a ContainerId,
    pub(crate) name: &'a str,
    /// With the networks as they are to be.
    pub(crate) config: &'a Config,
    pub(crate) namespace: OwnedFd,
}

/// Whether a container whose network is `mode` may be connected to `network` as asked, in dockerd's words.
pub(crate) fn check_connect(mode: &str, network: &Network, asked: &Attachment) -> Result<()> {
    check_mode(mode, network)?;
    check_asked(network, asked)
}

fn check_mode(mode: &str, network: &Network) -> Result<()> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::Forbidden, text));
    if network.driver == Driver::Host || mode == "host" {
        return refuse(if network.driver == Driver::Host && mode != "host" {
            "cannot connect container to host network - container must be created in host network mode"
        } else {
            "container cannot be disconnected from host network or connected to host network"
        });
    }
    if mode == "none" || network.driver == Driver::Null && !network.is_config_only {
        return refuse(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        );
    }
    if mode.starts_with("container:") {
        return refuse(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        );
    }
    if network.is_config_only {
        return refuse("cannot create endpoint on configuration-only network");
    }
    Ok(())
}

impl Networks {
    /// Checks what a container that is created asks of its networks. Networks that do not exist yet are looked for at its start, as in dockerd.
    pub(crate) fn check_attachments(&self, config: &mut NetworkConfig) -> Result<()> {
        for (position, asked) in config.attachments.iter_mut().enumerate() {
            let Ok(found) = self.find(&asked.network) else {
                continue;
            };
            asked.network.clone_from(&found.name);
            if position > 0 {
                check_mode(&config.mode, &found)?;
            }
            check_asked(&found, asked).map_err(|error| {
                error.prefixed(format!("invalid config for network {}", found.name))
            })?;
        }
        Ok(())
    }

    /// Attaches a running container; the new endpoint is added to its claims.
    pub(crate) fn connect_running(
        &self,
        sandbox: &Sandboxed<'_>,
        claims: &mut Claims,
        network: Arc<Network>,
        asked: &Attachment,
    ) -> Result<EndpointClaim> {
        let interface = free_interface(&network, asked, &claims.endpoints)?;
        let mut endpoints = vec![unaddressed(network, asked, interface)?];
        self.claim_addresses(sandbox.id, &mut endpoints, Box::new(|_| Ok(())))?;
        gantry_base::failpoint!("connect.intent");
        let endpoint = endpoints.remove(0);
        claims.endpoints.push(endpoint.clone());
        if let Err(error) = self.attach(sandbox, claims, &endpoint) {
            claims.endpoints.retain(|other| other.id != endpoint.id);
            self.delete_row(&endpoint.id)?;
            return Err(error);
        }
        gantry_base::failpoint!("connect.link");
        Ok(endpoint)
    }

    fn attach(
        &self,
        sandbox: &Sandboxed<'_>,
        claims: &mut Claims,
        endpoint: &EndpointClaim,
    ) -> Result<()> {
        let mut wanted = self.kernel_endpoint(claims, endpoint);
        // The default routes are set after it, as they may be another's now.
        (wanted.v4_gateway, wanted.v6_gateway) = (None, None);
        let routes = claims.default_routes();
        let namespace = sandbox.namespace.try_clone()?;
        self.wait(move |dataplane| dataplane.attach(namespace.as_fd(), &wanted, &routes))?;
        if claims.has_names() && !self.serves_names(sandbox.id.as_str()) {
            reopen_resolver(claims, sandbox.namespace.as_fd(), None)?;
        }
        self.announce_again(sandbox, claims)
    }

    /// Takes a running container off a network; its endpoint is removed from the claims.
    pub(crate) fn disconnect_running(
        &self,
        sandbox: &Sandboxed<'_>,
        claims: &mut Claims,
        network: &str,
    ) -> Result<()> {
        let Some(position) = claims
            .endpoints
            .iter()
            .position(|endpoint| endpoint.network.name == network)
        else {
            return Ok(());
        };
        let endpoint = claims.endpoints.remove(position);
        let addresses = endpoint.addresses();
        let (gone, kept) = std::mem::take(&mut claims.published)
            .into_iter()
            .partition(|port| addresses.contains(&port.container_ip));
        claims.published = kept;
        let (routes, link) = (claims.default_routes(), endpoint.link());
        let namespace = sandbox.namespace.try_clone()?;
        self.wait(move |dataplane| {
            dataplane.unpublish(&gone)?;
            dataplane.detach(namespace.as_fd(), &link, &routes)
        })?;
        gantry_base::failpoint!("disconnect.link");
        self.delete_row(&endpoint.id)?;
        self.names_mut()
            .remove(Some(&endpoint.network.id), sandbox.id.as_str());
        self.announce_again(sandbox, claims)
    }

    /// Removes endpoints that the configuration does not name: of a connect or disconnect that did not come to its end.
    pub(crate) fn finish_changes(
        &self,
        sandbox: &Sandboxed<'_>,
        claims: &mut Claims,
    ) -> Result<()> {
        let attachments = &sandbox.config.network.attachments;
        let unfinished: Vec<String> = claims
            .endpoints
            .iter()
            .map(|endpoint| endpoint.network.name.clone())
            .filter(|name| attachments.iter().all(|asked| asked.network != *name))
            .collect();
        for network in unfinished {
            self.disconnect_running(sandbox, claims, &network)?;
        }
        Ok(())
    }

    /// Gives back what a change had when its container ended meanwhile.
    pub(crate) fn give_back(&self, id: &ContainerId, claims: Claims) {
        for endpoint in &claims.endpoints {
            if let Err(error) = self.delete_row(&endpoint.id) {
                tracing::error!(container = %id, %error, "cannot give an address back");
            }
        }
        self.unpublish(claims.published);
    }

    /// Follows a new name of a container.
    pub(crate) fn rename(&self, id: &ContainerId, name: &str, config: &Config, claims: &Claims) {
        let mut names = self.names_mut();
        names.remove(None, id.as_str());
        claims.add_names(&mut names, id, name, config);
    }

    fn announce_again(&self, sandbox: &Sandboxed<'_>, claims: &mut Claims) -> Result<()> {
        let namespace = sandbox.namespace.try_clone()?;
        if claims.has_names() {
            self.announce(
                sandbox.id,
                sandbox.name,
                sandbox.config,
                claims,
                Some(namespace),
            );
        } else if self.serves_names(sandbox.id.as_str()) {
            // The container keeps its server, which now only says that it knows nothing, or passes on.
            let scope = claims.scope(sandbox.config, Some(Arc::new(namespace)));
            self.names_mut().set_scope(sandbox.id.as_str(), scope);
        }
        Ok(())
    }

    fn delete_row(&self, endpoint: &str) -> Result<()> {
        let id = endpoint.to_owned();
        self.inner.database.write(Durability::Normal, move |tx| {
            tx.execute("DELETE FROM endpoint WHERE id = ?1", [&id])
                .map_err(sql_error)?;
            Ok(())
        })
    }
}
