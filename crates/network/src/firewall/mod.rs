//! The one nftables table: masquerading, published ports, and what may pass between bridges and the outside.
//!
//! [`render`] is a pure function from what is wanted to a [`Ruleset`]; [`Firewall::apply`] replaces the whole table in one
//! transaction, and [`Firewall::add_port`] and [`Firewall::remove_port`] change single map elements, which costs the same
//! with ten ports as with ten thousand. Speaks netlink itself: no `nft`, no `iptables`, no counters.
//! `docs/networking.md` draws the chains.

mod apply;
mod encode;
mod expression;
mod foreign;
mod intact;
mod port_map;
mod render;
mod ruleset;

pub use apply::Firewall;
pub use foreign::ForeignDrop;
pub use render::{render, resolver_rules, with_direct};
pub use ruleset::Ruleset;

use ipnet::{Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::IpAddr;

/// Everything that the table shall express.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The bridges, in any order; the rendering does not depend on it.
    pub bridges: Vec<BridgeRules>,
    /// The published ports.
    pub ports: Vec<PublishedPort>,
    /// Drops what is routed between interfaces that are not ours. For hosts that did not route before we switched it on.
    pub drops_foreign_forwarding: bool,
}

/// The rules of one bridge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BridgeRules {
    /// Name of the interface.
    pub name: String,
    /// IPv4 subnet, any address in it.
    pub v4: Option<Ipv4Net>,
    /// IPv6 subnet, any address in it.
    pub v6: Option<Ipv6Net>,
    /// Gives what leaves by other interfaces the host's address.
    pub masquerades: bool,
    /// Whether endpoints of this bridge may speak to each other.
    pub allows_inter_container: bool,
    /// Nothing passes between this bridge and any other interface.
    pub is_internal: bool,
    /// How its IPv4 addresses are seen from outside.
    pub mode_v4: GatewayMode,
    /// How its IPv6 addresses are seen from outside.
    pub mode_v6: GatewayMode,
    /// Interfaces from which the containers' own addresses are reachable at published ports.
    pub trusted_interfaces: Vec<String>,
}

/// How the addresses of a bridge are seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GatewayMode {
    /// By published ports only.
    #[default]
    Nat,
    /// Translated too, but who has a route reaches every port.
    NatUnprotected,
    /// Nothing is translated; who has a route reaches the published ports.
    Routed,
    /// The host has no address on the bridge.
    Isolated,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishedPort {
    /// TCP, UDP or SCTP.
    pub protocol: PortProtocol,
    /// The host's address that it answers on; the unspecified address means all of that family.
    pub host_ip: IpAddr,
    /// The port on the host.
    pub host_port: u16,
    /// The address behind it; of the same family as `host_ip`.
    pub container_ip: IpAddr,
    /// The port behind it.
    pub container_port: u16,
}

impl PublishedPort {
    /// A port of a container that is reachable at the container's own address, without translation.
    pub fn direct(protocol: PortProtocol, container_ip: IpAddr, container_port: u16) -> Self {
        Self {
            protocol,
            host_ip: container_ip,
            host_port: container_port,
            container_ip,
            container_port,
        }
    }

    /// Whether nothing is translated: see [`PublishedPort::direct`].
    pub fn is_direct(&self) -> bool {
        self.host_ip == self.container_ip && self.host_port == self.container_port
    }
}

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortProtocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl PortProtocol {
    /// The protocol's number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}
