//! A container's ends of its networks: what the kernel is to make of the claims, which of them has the default routes, and how
//! reads show them. Pure.

use super::dataplane::{DefaultRoutes, EndpointLink};
use super::names::{Names, Scope};
use super::record::{Network, Pool};
use super::{Claims, Networks, as_v4, as_v6};
use crate::container::config::{Attachment, Config};
use crate::container::view::EndpointView;
use gantry_base::ContainerId;
use gantry_network::MacAddress;
use gantry_network::endpoint::Endpoint;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What one container holds on one network.
#[derive(Debug, Clone)]
pub(crate) struct EndpointClaim {
    pub(crate) id: String,
    pub(crate) network: Arc<Network>,
    /// Name of the interface in the container.
    pub(crate) interface: String,
    pub(crate) mac: MacAddress,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
    pub(crate) asked: Attachment,
}

impl EndpointClaim {
    /// Name of the end on the host.
    pub(super) fn host_name(&self) -> String {
        host_name_of(&self.id)
    }

    pub(super) fn link(&self) -> EndpointLink {
        if self.network.child.is_some() {
            let interface = self.interface.clone();
            return EndpointLink::Child { interface };
        }
        let host_name = self.host_name();
        EndpointLink::Pair { host_name }
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6)).collect()
    }

    fn v4_net(&self) -> Option<Ipv4Net> {
        with_prefix(self.network.v4.as_ref(), self.v4.map(IpAddr::V4)).and_then(as_v4)
    }

    fn v6_net(&self) -> Option<Ipv6Net> {
        with_prefix(self.network.v6.as_ref(), self.v6.map(IpAddr::V6)).and_then(as_v6)
    }

    /// Whether its default routes lead to the link itself.
    fn is_routed(&self) -> bool {
        let child = self.network.child.as_ref();
        child.is_some_and(|child| child.is_routed() && !child.is_parentless)
            && !self.network.is_internal
    }

    /// Where its default route would go; none on networks that nothing leaves, unspecified to the link itself.
    fn v4_gateway(&self) -> Option<Ipv4Addr> {
        if self.is_routed() {
            return self.v4.map(|_| Ipv4Addr::UNSPECIFIED);
        }
        match self.network.v4.as_ref()?.gateway? {
            IpAddr::V4(gateway) if !self.network.is_internal && self.v4.is_some() => Some(gateway),
            _ => None,
        }
    }

    fn v6_gateway(&self) -> Option<Ipv6Addr> {
        if self.is_routed() {
            return self.v6.map(|_| Ipv6Addr::UNSPECIFIED);
        }
        match self.network.v6.as_ref()?.gateway? {
            IpAddr::V6(gateway) if !self.network.is_internal && self.v6.is_some() => Some(gateway),
            _ => None,
        }
    }

    pub(crate) fn view(&self, dns_names: Vec<String>) -> EndpointView {
        EndpointView {
            network: self.network.name.clone(),
            network_id: self.network.id.clone(),
            driver: self.network.driver.as_str(),
            endpoint_id: self.id.clone(),
            interface: self.interface.clone(),
            mac_address: match &self.network.child {
                Some(child) if child.shares_mac() => String::new(),
                _ => self.mac.to_string(),
            },
            ipv4: self.v4_net(),
            ipv6: self.v6_net(),
            gateway: self.v4_gateway().filter(|ip| !ip.is_unspecified()),
            ipv6_gateway: self.v6_gateway().filter(|ip| !ip.is_unspecified()),
            dns_names,
            asked: self.asked.clone(),
        }
    }
}

pub(super) fn host_name_of(endpoint: &str) -> String {
    format!("veth{}", endpoint.get(..7).unwrap_or(endpoint))
}

fn with_prefix(pool: Option<&Pool>, address: Option<IpAddr>) -> Option<IpNet> {
    IpNet::new(address?, pool?.subnet.prefix_len()).ok()
}

/// The names by which others of a network find a container, in dockerd's order; none on networks without names.
pub(crate) fn dns_names(
    network: &Network,
    asked: &Attachment,
    name: &str,
    id: &str,
    config: &Config,
) -> Vec<String> {
    if !network.has_names() {
        return Vec::new();
    }
    let aliases = asked.aliases.iter().flatten().map(String::as_str);
    let all = std::iter::once(name)
        .chain(aliases)
        .chain([&id[..12], config.hostname.as_str()]);
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

impl Claims {
    /// Makes the container known by its names on every network of its own.
    pub(super) fn add_names(
        &self,
        names: &mut Names,
        id: &ContainerId,
        name: &str,
        config: &Config,
    ) {
        for endpoint in &self.endpoints {
            let own = dns_names(
                &endpoint.network,
                &endpoint.asked,
                name,
                id.as_str(),
                config,
            );
            names.add(&endpoint.network, id.as_str(), &own, &endpoint.addresses());
        }
    }

    /// Endpoints in the order in which they may have the default route: by priority, then by the network's name, as in dockerd.
    fn by_preference(&self) -> Vec<&EndpointClaim> {
        let mut sorted: Vec<&EndpointClaim> = self.endpoints.iter().collect();
        sorted.sort_by(|one, other| {
            other
                .asked
                .gateway_priority
                .cmp(&one.asked.gateway_priority)
                .then_with(|| one.network.name.cmp(&other.network.name))
        });
        sorted
    }

    /// The endpoint with the default route of a family.
    pub(super) fn gateway_endpoint(&self, is_v6: bool) -> Option<&EndpointClaim> {
        self.by_preference().into_iter().find(|endpoint| {
            if is_v6 {
                endpoint.v6_gateway().is_some()
            } else {
                endpoint.v4_gateway().is_some()
            }
        })
    }

    pub(super) fn default_routes(&self) -> DefaultRoutes {
        let v4 = self.gateway_endpoint(false);
        let v6 = self.gateway_endpoint(true);
        DefaultRoutes {
            v4: v4.and_then(|end| Some((end.v4_gateway()?, end.interface.clone()))),
            v6: v6.and_then(|end| Some((end.v6_gateway()?, end.interface.clone()))),
        }
    }

    /// Whether a name server answers the container.
    pub(crate) fn has_names(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.network.has_names())
    }

    /// All addresses, in the order of interfaces.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.endpoints
            .iter()
            .flat_map(EndpointClaim::addresses)
            .collect()
    }

    /// Whether the container has IPv6 besides its loopback.
    pub(crate) fn has_v6(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.v6.is_some())
    }

    /// The host's address on the network with the default route.
    pub(crate) fn host_address(&self) -> Option<IpAddr> {
        let v4 = self
            .gateway_endpoint(false)
            .and_then(EndpointClaim::v4_gateway);
        let v6 = || {
            self.gateway_endpoint(true)
                .and_then(EndpointClaim::v6_gateway)
        };
        let address = v4.map(IpAddr::V4).or_else(|| v6().map(IpAddr::V6));
        address.filter(|ip| !ip.is_unspecified())
    }

    /// What the container's name server needs to know of it.
    pub(super) fn scope(&self, config: &Config, namespace: Option<Arc<OwnedFd>>) -> Scope {
        let preferred = self.by_preference();
        let links = preferred.iter().flat_map(|endpoint| {
            endpoint.asked.links.iter().flatten().map(|link| {
                let (target, alias) = link.split_once(':').unwrap_or((link, link));
                let lower = str::to_ascii_lowercase;
                (endpoint.network.id.clone(), lower(alias), lower(target))
            })
        });
        Scope {
            links: links.collect(),
            networks: preferred
                .iter()
                .map(|endpoint| endpoint.network.id.clone())
                .collect(),
            host: self.host_address(),
            may_forward: self.gateway_endpoint(false).is_some()
                || self.gateway_endpoint(true).is_some(),
            servers: config.network.dns.clone(),
            has_v6: self.has_v6(),
            namespace,
        }
    }
}

impl Networks {
    pub(super) fn kernel_endpoint(&self, claims: &Claims, endpoint: &EndpointClaim) -> Endpoint {
        let options = endpoint.network.bridge.as_ref();
        let child = endpoint.network.child.as_ref();
        let is_gateway =
            |is_v6| claims.gateway_endpoint(is_v6).map(|end| &end.id) == Some(&endpoint.id);
        Endpoint {
            host_name: endpoint.host_name(),
            container_name: endpoint.interface.clone(),
            mac: endpoint.mac,
            uplink: options
                .map(|options| options.interface.clone())
                .or_else(|| child.map(|child| child.parent.clone()))
                .unwrap_or_default(),
            mtu: self.mtu_of(&endpoint.network),
            v4: endpoint.v4_net(),
            v4_gateway: endpoint.v4_gateway().filter(|_| is_gateway(false)),
            v6: endpoint.v6_net(),
            v6_gateway: endpoint.v6_gateway().filter(|_| is_gateway(true)),
            is_isolated: options.is_some_and(|options| !options.allows_inter_container),
            hairpin: true,
            child: child.map(|options| options.child),
            link_local: endpoint.link_local(),
            sysctls: endpoint.sysctls(),
        }
    }

    pub(super) fn kernel_endpoints(&self, claims: &Claims) -> Vec<Endpoint> {
        claims
            .endpoints
            .iter()
            .map(|endpoint| self.kernel_endpoint(claims, endpoint))
            .collect()
    }
}
