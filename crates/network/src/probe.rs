//! Asks the kernel whether it has what networks need, by trying it in a throw-away namespace.

use crate::bridge::{self, BridgeConfig};
use crate::endpoint::{self, Endpoint};
use crate::firewall::{BridgeRules, Desired, Firewall, PortProtocol, PublishedPort, render};
use crate::ipam;
use crate::netlink::Socket;
use gantry_base::Result;
use gantry_sys::netns;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

const BRIDGE: &str = "probe0";

/// What the kernel can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// Why bridges and veth pairs cannot be made; none if they can.
    pub bridge_problem: Option<String>,
    /// Why the nftables table cannot be made; none if it can.
    pub firewall_problem: Option<String>,
}

/// Tries a bridge, a veth pair and a whole table in a fresh network namespace.
///
/// # Errors
/// If not even a network namespace can be made.
pub fn probe() -> Result<Support> {
    let (_namespace, support) = netns::create_with(|| Support {
        bridge_problem: try_bridge().err().map(|error| error.to_string()),
        firewall_problem: try_firewall().err().map(|error| error.to_string()),
    })?;
    Ok(support)
}

fn try_bridge() -> Result<()> {
    let mut socket = Socket::route()?;
    let config = BridgeConfig {
        name: BRIDGE.to_owned(),
        v4: Some(network([192, 0, 2, 1])),
        v6: None,
        mtu: 1500,
        mac: None,
        publishes_on_loopback: true,
    };
    bridge::ensure(&mut socket, &config)?;
    let endpoint = Endpoint {
        host_name: "probe1".to_owned(),
        container_name: "eth0".to_owned(),
        mac: ipam::mac_from_random([0; 6]),
        uplink: BRIDGE.to_owned(),
        mtu: 1500,
        v4: Some(network([192, 0, 2, 2])),
        v4_gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
        v6: None,
        v6_gateway: None,
        is_isolated: false,
        hairpin: true,
        ..Endpoint::default()
    };
    endpoint::create(&mut socket, &[endpoint]).map(drop)
}

fn try_firewall() -> Result<()> {
    let rules = BridgeRules {
        name: BRIDGE.to_owned(),
        v4: Some(network([192, 0, 2, 1])),
        v6: None,
        masquerades: true,
        allows_inter_container: true,
        is_internal: false,
        ..BridgeRules::default()
    };
    let port = PublishedPort {
        protocol: PortProtocol::Tcp,
        host_ip: Ipv4Addr::UNSPECIFIED.into(),
        host_port: 80,
        container_ip: Ipv4Addr::new(192, 0, 2, 2).into(),
        container_port: 80,
    };
    let mut firewall = Firewall::open("gantry-probe")?;
    firewall.apply(&render(&Desired {
        bridges: vec![rules],
        ports: vec![port],
        drops_foreign_forwarding: true,
    }))
}

fn network(address: [u8; 4]) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from(address), 24)
}
