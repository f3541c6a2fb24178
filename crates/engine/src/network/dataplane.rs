//! What the kernel has of our networks: bridges, links and the daemon's table, as the network thread holds them.

use super::record::{Network, Pool};
use super::{BridgeFacts, as_v4, as_v6};
use crate::settings::Settings;
use gantry_base::{Context, Error, Result};
use gantry_network::bridge::{self, BridgeConfig};
use gantry_network::endpoint::{self, Endpoint, Sandbox};
use gantry_network::firewall::{
    BridgeRules, Desired, Firewall, GatewayMode, PublishedPort, render, with_direct,
};
use gantry_network::netlink::Socket;
use gantry_network::{child, conntrack, ipam, link, route};
use ipnet::{IpNet, Ipv4Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

/// Docker's first choice for the default bridge.
const PREFERRED: &str = "172.17.0.1/16";

pub(super) struct Dataplane {
    route: Socket,
    netfilter: Option<Socket>,
    firewall: Option<Firewall>,
    /// Name of the table, which is made with the first bridge.
    table: String,
    settings: Settings,
    desired: Desired,
    bridges: Vec<KeptBridge>,
}

/// A bridge that is made again if somebody deletes it.
struct KeptBridge {
    /// Id of the network.
    network: String,
    config: BridgeConfig,
    is_isolated: bool,
}

/// The default routes of a namespace: gateway and interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DefaultRoutes {
    pub(super) v4: Option<(Ipv4Addr, String)>,
    pub(super) v6: Option<(Ipv6Addr, String)>,
}

/// What connects a namespace to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndpointLink {
    Pair { host_name: String },
    Child { interface: String },
}

impl Dataplane {
    /// `table` carries something of this daemon, so that several of one host do not touch each other's.
    pub(super) fn open(settings: &Settings, table: String) -> Result<Self> {
        let netfilter = if settings.firewall {
            Socket::netfilter().ok()
        } else {
            None
        };
        Ok(Self {
            route: Socket::route()?,
            netfilter,
            firewall: None,
            table,
            settings: settings.clone(),
            desired: Desired::default(),
            bridges: Vec::new(),
        })
    }

    /// Makes the default bridge; its rules are rendered by the caller.
    pub(super) fn ensure_default_bridge(&mut self, network: &str) -> Result<BridgeFacts> {
        let settings = self.settings.clone();
        let name = settings.bridge.clone();
        let address = choose_address(&mut self.route, &settings)?;
        let mtu = self.mtu(settings.mtu)?;
        if !settings.bridge_is_foreign {
            let config = BridgeConfig {
                name: name.clone(),
                v4: Some(address),
                v6: None,
                mtu,
                mac: None,
                publishes_on_loopback: settings.firewall,
            };
            bridge::ensure(&mut self.route, &config)
                .with_context(|| format!("cannot make bridge {name}"))?;
            self.bridges.push(KeptBridge {
                network: network.to_owned(),
                config,
                is_isolated: !settings.inter_container_communication,
            });
        }
        self.ensure_forwarding(false)?;
        self.desired.bridges.push(BridgeRules {
            name: name.clone(),
            v4: Some(address.trunc()),
            masquerades: settings.masquerade,
            allows_inter_container: settings.inter_container_communication,
            ..BridgeRules::default()
        });
        Ok(BridgeFacts {
            name,
            subnet: address.trunc(),
            range: settings.fixed_cidr.unwrap_or(address.trunc()),
            gateway: address.addr(),
            mtu,
        })
    }

    /// What the host reaches by other ways than our own bridges.
    pub(super) fn host_routes(&mut self) -> Result<Vec<IpNet>> {
        let own: Vec<u32> = self
            .desired
            .bridges
            .iter()
            .filter_map(|bridge| link::find(&mut self.route, &bridge.name).ok().flatten())
            .map(|link| link.index)
            .collect();
        Ok(route::list(&mut self.route)?
            .into_iter()
            .filter(|route| route.link_index.is_none_or(|index| !own.contains(&index)))
            .map(|route| route.destination)
            .collect())
    }

    /// Whether there is a link of this name.
    pub(super) fn has_link(&mut self, name: &str) -> Result<bool> {
        Ok(link::find(&mut self.route, name)?.is_some())
    }

    /// Makes the bridge of a network and takes up its rules, which the caller renders.
    pub(super) fn add_network(&mut self, network: &Network) -> Result<()> {
        if let Some(options) = network.child.as_ref().filter(|_| network.owns_parent) {
            return child::ensure_parent(&mut self.route, &options.parent, &options.new_parent()?);
        }
        let Some(options) = &network.bridge else {
            return Ok(());
        };
        let mtu = self.mtu(options.mtu.or(self.settings.mtu))?;
        let has_no_v4 = options.inhibits_ipv4 || options.mode_v4 == GatewayMode::Isolated;
        let has_no_v6 = options.mode_v6 == GatewayMode::Isolated;
        let host_address = |pool: &Pool| IpNet::new(pool.gateway?, pool.subnet.prefix_len()).ok();
        let v4 = network.v4.as_ref().filter(|_| !has_no_v4);
        let v6 = network.v6.as_ref().filter(|_| !has_no_v6);
        let config = BridgeConfig {
            name: options.interface.clone(),
            v4: v4.and_then(host_address).and_then(as_v4),
            v6: v6.and_then(host_address).and_then(as_v6),
            mtu,
            mac: None,
            publishes_on_loopback: self.settings.firewall && network.v4.is_some(),
        };
        bridge::ensure(&mut self.route, &config)
            .with_context(|| format!("cannot make bridge {}", options.interface))?;
        self.ensure_forwarding(network.v6.is_some())?;
        self.forget(&options.interface);
        self.bridges.push(KeptBridge {
            network: network.id.clone(),
            config,
            is_isolated: !options.allows_inter_container,
        });
        let subnet = |pool: &Pool| pool.subnet;
        self.desired.bridges.push(BridgeRules {
            name: options.interface.clone(),
            v4: network.v4.as_ref().map(subnet).and_then(as_v4),
            v6: network.v6.as_ref().map(subnet).and_then(as_v6),
            masquerades: options.masquerades,
            allows_inter_container: options.allows_inter_container,
            is_internal: network.is_internal,
            mode_v4: options.mode_v4,
            mode_v6: options.mode_v6,
            trusted_interfaces: options.trusted_interfaces.clone(),
        });
        Ok(())
    }

    /// Removes the bridge of a network and its rules, which the caller renders; or the parent of its links, unless another network
    /// has it too.
    pub(super) fn remove_network(&mut self, network: &Network, has_heir: bool) -> Result<()> {
        let owned = network.owns_parent && !has_heir;
        if let Some(options) = network.child.as_ref().filter(|_| owned) {
            return child::remove_parent(&mut self.route, &options.parent, &options.new_parent()?);
        }
        let Some(options) = &network.bridge else {
            return Ok(());
        };
        self.forget(&options.interface);
        bridge::remove(&mut self.route, &options.interface).map(drop)
    }

    fn forget(&mut self, interface: &str) {
        self.desired
            .bridges
            .retain(|bridge| bridge.name != interface);
        self.bridges.retain(|kept| kept.config.name != interface);
    }

    /// The largest packet that reaches the outside.
    pub(super) fn default_mtu(&mut self) -> Result<u32> {
        self.mtu(None)
    }

    fn mtu(&mut self, chosen: Option<u32>) -> Result<u32> {
        match chosen {
            Some(mtu) => Ok(mtu),
            None => route::default_mtu(&mut self.route),
        }
    }

    fn ensure_forwarding(&mut self, with_v6: bool) -> Result<()> {
        let switched = if self.settings.ip_forward {
            bridge::ensure_forwarding(with_v6)?
        } else {
            bridge::Forwarding::default()
        };
        self.desired.drops_foreign_forwarding |= remember_forwarding(
            &self.settings,
            switched.switched_v4_on || switched.switched_v6_on,
        );
        Ok(())
    }

    pub(super) fn render(&mut self, published: &[PublishedPort]) -> Result<()> {
        if !self.settings.firewall || (self.firewall.is_none() && self.desired.bridges.is_empty()) {
            return Ok(());
        }
        if self.firewall.is_none() {
            self.firewall = Some(Firewall::open(&self.table)?);
        }
        let Some(firewall) = &mut self.firewall else {
            return Ok(());
        };
        self.desired.ports = published.to_vec();
        firewall
            .apply(&render(&self.desired))
            .context("cannot apply firewall rules")?;
        let names: Vec<&str> = self
            .desired
            .bridges
            .iter()
            .map(|bridge| bridge.name.as_str())
            .collect();
        for foreign in firewall.ensure_foreign_accepts(&names)? {
            tracing::warn!(
                table = foreign.table,
                chain = foreign.chain,
                "another program's firewall drops forwarded packets; containers may not reach the outside"
            );
        }
        Ok(())
    }

    pub(super) fn create_sandbox(
        &mut self,
        endpoints: &[Endpoint],
        ports: &[PublishedPort],
        with_resolver: bool,
    ) -> Result<Sandbox> {
        let sandbox = endpoint::create_with(&mut self.route, endpoints, with_resolver)?;
        gantry_base::failpoint!("start.veth");
        self.publish(ports)?;
        gantry_base::failpoint!("start.ports");
        Ok(sandbox)
    }

    /// Attaches a running container's namespace to one more network.
    pub(super) fn attach(
        &mut self,
        namespace: BorrowedFd<'_>,
        endpoint: &Endpoint,
        routes: &DefaultRoutes,
    ) -> Result<()> {
        endpoint::attach(&mut self.route, namespace, endpoint)?;
        set_routes(namespace, routes)
    }

    /// Takes a running container's namespace off a network.
    pub(super) fn detach(
        &mut self,
        namespace: BorrowedFd<'_>,
        link: &EndpointLink,
        routes: &DefaultRoutes,
    ) -> Result<()> {
        match link {
            EndpointLink::Pair { host_name } => endpoint::remove(&mut self.route, host_name)?,
            EndpointLink::Child { interface } => child::remove(namespace, interface)?,
        };
        set_routes(namespace, routes)
    }

    pub(super) fn publish(&mut self, ports: &[PublishedPort]) -> Result<()> {
        if let Some(firewall) = &mut self.firewall
            && !ports.is_empty()
        {
            firewall
                .add_ports(&with_direct(&self.desired, ports))
                .context("cannot publish ports")?;
        }
        Ok(())
    }

    pub(super) fn unpublish(&mut self, ports: &[PublishedPort]) -> Result<()> {
        if let Some(firewall) = &mut self.firewall {
            firewall.remove_ports(&with_direct(&self.desired, ports))?;
        }
        if let Some(netfilter) = &mut self.netfilter {
            for port in ports {
                // Without this a UDP client's old flow would keep leading to an address that somebody else has next.
                conntrack::flush_port(netfilter, port)?;
            }
        }
        Ok(())
    }
}

/// The configured address, else the one that the bridge has, else a free one.
fn choose_address(route: &mut Socket, settings: &Settings) -> Result<Ipv4Net> {
    let name = &settings.bridge;
    let found = bridge::addresses(route, name).unwrap_or_default();
    let own = found.iter().find_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    });
    match (settings.bridge_ip, own) {
        (Some(asked), _) => Ok(asked),
        (None, Some(own)) => Ok(own),
        (None, None) if settings.bridge_is_foreign => Err(Error::invalid(format!(
            "bridge {name} does not exist or has no IPv4 address"
        ))),
        (None, None) => free_subnet(route, settings),
    }
}

fn set_routes(namespace: BorrowedFd<'_>, routes: &DefaultRoutes) -> Result<()> {
    fn pair<T: Copy>(route: Option<&(T, String)>) -> Option<(T, &str)> {
        route.map(|(gateway, interface)| (*gateway, interface.as_str()))
    }
    endpoint::set_default_routes(
        namespace,
        pair(routes.v4.as_ref()),
        pair(routes.v6.as_ref()),
    )
}

/// Docker's own choice where it is free, else the first free pool.
fn free_subnet(route: &mut Socket, settings: &Settings) -> Result<Ipv4Net> {
    let used: Vec<IpNet> = route::list(route)?
        .into_iter()
        .map(|route| route.destination)
        .collect();
    let preferred: Ipv4Net = PREFERRED.parse().expect("a constant network");
    let overlaps = |net: &IpNet| match net {
        IpNet::V4(net) => {
            net.prefix_len() > 0 && (net.contains(&preferred) || preferred.contains(net))
        }
        IpNet::V6(_) => false,
    };
    if settings.address_pools.is_empty() && !used.iter().any(overlaps) {
        return Ok(preferred);
    }
    let subnet = ipam::choose_subnet(&settings.address_pools_v4(), &used)?;
    let first = subnet.hosts().next().unwrap_or_else(|| subnet.addr());
    Ipv4Net::new(first, subnet.prefix_len())
        .map_err(|_| Error::internal("a pool with an impossible prefix"))
}

/// Whether this boot of the machine began without routing between interfaces: then only ours is allowed. The mark lies on tmpfs, as
/// the kernel's switch too is gone after a reboot.
fn remember_forwarding(settings: &Settings, switched_on: bool) -> bool {
    let mark = settings.run_root.join("forwarding-was-off");
    if switched_on && let Err(error) = std::fs::write(&mark, "") {
        tracing::warn!(%error, "cannot remember that routing was off");
    }
    switched_on || mark.exists()
}

impl Dataplane {
    /// Makes bridges again that somebody deleted, with the links of their containers. `host_names` gives the ends on the host of the
    /// links of a network.
    pub(super) fn repair_bridges(
        &mut self,
        host_names: impl Fn(&str) -> Result<Vec<String>>,
    ) -> Result<()> {
        for kept in &self.bridges {
            let name = &kept.config.name;
            if link::find(&mut self.route, name)?.is_some() {
                continue;
            }
            tracing::warn!(bridge = name, "somebody deleted a bridge; making it again");
            bridge::ensure(&mut self.route, &kept.config)?;
            for host_name in host_names(&kept.network)? {
                let port = Endpoint {
                    host_name,
                    uplink: name.clone(),
                    is_isolated: kept.is_isolated,
                    hairpin: true,
                    ..Endpoint::default()
                };
                endpoint::rejoin(&mut self.route, &port)?;
            }
        }
        Ok(())
    }

    /// Renders again what another program changed or flushed. `published` is asked for only then.
    pub(super) fn repair(
        &mut self,
        published: impl FnOnce() -> Result<Vec<PublishedPort>>,
    ) -> Result<()> {
        let Some(firewall) = &mut self.firewall else {
            return Ok(());
        };
        if firewall.is_intact(&render(&self.desired))? {
            return Ok(());
        }
        tracing::warn!("another program changed our firewall rules; rendering them again");
        self.render(&published()?)
    }
}
