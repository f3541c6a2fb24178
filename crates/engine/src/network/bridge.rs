//! The default bridge and the daemon's table, as the network thread holds them.

use super::BridgeFacts;
use crate::settings::Settings;
use gantry_base::{Context, Error, Result};
use gantry_network::bridge::{self, BridgeConfig};
use gantry_network::endpoint::{self, Endpoint};
use gantry_network::firewall::{BridgeRules, Desired, Firewall, PublishedPort, render};
use gantry_network::netlink::Socket;
use gantry_network::{conntrack, ipam, route};
use ipnet::{IpNet, Ipv4Net};
use std::os::fd::OwnedFd;

/// Docker's first choice for the default bridge.
const PREFERRED: &str = "172.17.0.1/16";

pub(super) struct Bridge {
    route: Socket,
    netfilter: Option<Socket>,
    firewall: Option<Firewall>,
    desired: Desired,
}

impl Bridge {
    pub(super) fn ensure(
        settings: &Settings,
        published: &[PublishedPort],
    ) -> Result<(Self, BridgeFacts)> {
        let mut route = Socket::route()?;
        let name = settings.bridge.clone();
        let address = choose_address(&mut route, settings)?;
        let mtu = match settings.mtu {
            Some(mtu) => mtu,
            None => route::default_mtu(&mut route)?,
        };
        if !settings.bridge_is_foreign {
            let config = BridgeConfig {
                name: name.clone(),
                v4: Some(address),
                v6: None,
                mtu,
                mac: None,
                publishes_on_loopback: settings.firewall,
            };
            bridge::ensure(&mut route, &config)
                .with_context(|| format!("cannot make bridge {name}"))?;
        }
        let forwarding = if settings.ip_forward {
            bridge::ensure_forwarding(false)?
        } else {
            bridge::Forwarding::default()
        };
        let facts = BridgeFacts {
            name: name.clone(),
            subnet: address.trunc(),
            range: settings.fixed_cidr.unwrap_or(address.trunc()),
            gateway: address.addr(),
            mtu,
        };
        let desired = desired(settings, address, forwarding.switched_v4_on);
        // The table carries the bridge's name, so that several daemons of one host do not touch each other's.
        let firewall = if settings.firewall {
            Some(Firewall::open(&format!("gantry-{name}"))?)
        } else {
            None
        };
        let netfilter = if settings.firewall {
            Socket::netfilter().ok()
        } else {
            None
        };
        let mut this = Self {
            route,
            netfilter,
            firewall,
            desired,
        };
        this.render(published)?;
        Ok((this, facts))
    }

    pub(super) fn render(&mut self, published: &[PublishedPort]) -> Result<()> {
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
        wanted: &Endpoint,
        ports: &[PublishedPort],
    ) -> Result<OwnedFd> {
        let namespace = endpoint::create(&mut self.route, std::slice::from_ref(wanted))?;
        gantry_base::failpoint!("start.veth");
        if let Some(firewall) = &mut self.firewall
            && !ports.is_empty()
        {
            firewall.add_ports(ports).context("cannot publish ports")?;
        }
        gantry_base::failpoint!("start.ports");
        Ok(namespace)
    }

    pub(super) fn unpublish(&mut self, ports: &[PublishedPort]) -> Result<()> {
        if let Some(firewall) = &mut self.firewall {
            firewall.remove_ports(ports)?;
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
        (None, None) => free_subnet(route),
    }
}

/// The rules of the bridge, without published ports.
fn desired(settings: &Settings, address: Ipv4Net, switched_forwarding_on: bool) -> Desired {
    let rules = BridgeRules {
        name: settings.bridge.clone(),
        v4: Some(address.trunc()),
        v6: None,
        masquerades: settings.masquerade,
        allows_inter_container: settings.inter_container_communication,
        is_internal: false,
    };
    Desired {
        bridges: vec![rules],
        ports: Vec::new(),
        drops_foreign_forwarding: remember_forwarding(settings, switched_forwarding_on),
    }
}

/// Docker's own choice where it is free, else the first free pool.
fn free_subnet(route: &mut Socket) -> Result<Ipv4Net> {
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
    if !used.iter().any(overlaps) {
        return Ok(preferred);
    }
    let subnet = ipam::choose_subnet(&ipam::default_pools(), &used)?;
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

impl Bridge {
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
