//! The bridge of a network: made, addressed and guarded idempotently, so that boot and start can simply call it again.

use crate::endpoint::address;
use crate::link::{self, Link, MacAddress};
use crate::netlink::{Socket, allow};
use crate::sysctl;
use gantry_base::{Context as _, Error, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// What a bridge shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeConfig {
    /// Name of the interface.
    pub name: String,
    /// The host's own IPv4 address on it, with the length of the subnet's prefix: the containers' gateway.
    pub v4: Option<Ipv4Net>,
    /// The host's own IPv6 address on it. Without one IPv6 is switched off on the bridge.
    pub v6: Option<Ipv6Net>,
    /// Largest packet.
    pub mtu: u32,
    /// Its Ethernet address; none derives one that stays the same from the IPv4 address. Without a fixed address a bridge
    /// takes that of a port, and changes it under the containers' feet when that one leaves.
    pub mac: Option<MacAddress>,
    /// Whether ports may be published on the host's loopback: the kernel then takes packets from and to 127.0.0.0/8 on this
    /// interface, and [`crate::firewall`] drops those that arrive from the network.
    pub publishes_on_loopback: bool,
}

/// Whether routing was switched on by the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// The host did not route IPv4 before; see [`crate::firewall::Desired::drops_foreign_forwarding`].
    pub switched_v4_on: bool,
    /// The host did not route IPv6 before.
    pub switched_v6_on: bool,
}

/// Makes the bridge be as `config` says, whatever it was; creates it if need be. Addresses that it should not have go.
///
/// Must run in the network namespace of `socket`, since part of the settings lies in `/proc/sys`.
pub fn ensure(socket: &mut Socket, config: &BridgeConfig) -> Result<Link> {
    let name = &config.name;
    link::check_name(name)?;
    let mac = config.mac.unwrap_or_else(|| default_mac(config));
    if link::find(socket, name)?.is_none() {
        create(socket, name, mac)?;
    }
    let present = expect_bridge(socket, name)?;
    apply_sysctls(config)?;
    configure(socket, config, &present, mac)?;
    ensure_addresses(socket, config, present.index)?;
    expect_bridge(socket, name)
}

/// Deletes the bridge; false if there was none.
///
/// # Errors
/// A conflict if the link of that name is something else.
pub fn remove(socket: &mut Socket, name: &str) -> Result<bool> {
    if link::find(socket, name)?.is_none() {
        return Ok(false);
    }
    expect_bridge(socket, name)?;
    link::remove(socket, name)
}

/// The addresses of a link, without link-local ones: what a bridge that the user made brings along.
pub fn addresses(socket: &mut Socket, name: &str) -> Result<Vec<IpNet>> {
    let index = link::index(socket, name)?;
    Ok(addresses_of(socket, index)?
        .into_iter()
        .map(|(network, _)| network)
        .collect())
}

/// Switches routing on where it is off, and says so: the host then also routes between its other networks, unless told otherwise.
pub fn ensure_forwarding(with_v6: bool) -> Result<Forwarding> {
    let mut switched = Forwarding::default();
    if sysctl::get("ipv4/ip_forward")?.as_deref() != Some("1") {
        sysctl::set("ipv4/ip_forward", "1")?;
        switched.switched_v4_on = true;
    }
    if with_v6 && sysctl::get("ipv6/conf/all/forwarding")?.is_some_and(|value| value != "1") {
        sysctl::set("ipv6/conf/all/forwarding", "1")?;
        switched.switched_v6_on = true;
    }
    Ok(switched)
}

fn default_mac(config: &BridgeConfig) -> MacAddress {
    let mut tail = [0_u8; 4];
    if let Some(v4) = config.v4 {
        tail = v4.addr().octets();
    } else {
        // As stable, and as unlikely to meet itself, from the IPv6 address and the name.
        let seed = config.v6.map(|v6| v6.addr().octets()).unwrap_or_default();
        for (position, byte) in seed.iter().copied().chain(config.name.bytes()).enumerate() {
            let mixed = &mut tail[position % 4];
            *mixed = mixed.rotate_left(3) ^ byte;
        }
    }
    MacAddress([0x02, 0x42, tail[0], tail[1], tail[2], tail[3]])
}

fn expect_bridge(socket: &mut Socket, name: &str) -> Result<Link> {
    match link::find(socket, name)? {
        Some(link) if link.kind.as_deref() == Some("bridge") => Ok(link),
        Some(_) => Err(Error::conflict(format!(
            "existing interface {name} is not a bridge"
        ))),
        None => Err(Error::not_found(format!("bridge {name} does not exist"))),
    }
}

fn create(socket: &mut Socket, name: &str, mac: MacAddress) -> Result<()> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
    ];
    socket
        .request(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map_err(|refusal| match refusal.errno {
            libc::EOPNOTSUPP => {
                Error::not_implemented("this kernel has no bridges (CONFIG_BRIDGE)")
            }
            _ => refusal.into(),
        })
        .with_context(|| format!("cannot create bridge {name}"))
}

/// Before the bridge is up, so that nothing is ever learned from a router advertisement that a container sends.
fn apply_sysctls(config: &BridgeConfig) -> Result<()> {
    let name = &config.name;
    let has_no_v6 = if config.v6.is_none() { "1" } else { "0" };
    sysctl::set_if_present(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    // Its address is ours alone; while it was being probed, nothing could be forwarded to the containers.
    sysctl::set_if_present(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
    sysctl::set_if_present(&format!("ipv6/conf/{name}/disable_ipv6"), has_no_v6)?;
    let takes_loopback = if config.publishes_on_loopback {
        "1"
    } else {
        "0"
    };
    sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), takes_loopback)
}

fn configure(
    socket: &mut Socket,
    config: &BridgeConfig,
    present: &Link,
    mac: MacAddress,
) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = present.index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    if present.mac != Some(mac) {
        message
            .attributes
            .push(LinkAttribute::Address(mac.0.to_vec()));
    }
    // Also when it is right by chance: an MTU that was set no longer follows that of the ports.
    message.attributes.push(LinkAttribute::Mtu(config.mtu));
    socket
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .with_context(|| {
            format!(
                "cannot set up bridge {} with an MTU of {}",
                config.name, config.mtu
            )
        })
}

fn ensure_addresses(socket: &mut Socket, config: &BridgeConfig, index: u32) -> Result<()> {
    let wanted: Vec<IpNet> = config
        .v4
        .map(IpNet::V4)
        .into_iter()
        .chain(config.v6.map(IpNet::V6))
        .collect();
    for (present, message) in addresses_of(socket, index)? {
        if !wanted.contains(&present) {
            allow(
                socket.request(RouteNetlinkMessage::DelAddress(message), 0),
                &[libc::EADDRNOTAVAIL],
            )
            .with_context(|| {
                format!(
                    "cannot remove address {present} from bridge {}",
                    config.name
                )
            })?;
        }
    }
    for network in wanted {
        let message = RouteNetlinkMessage::NewAddress(address(index, network));
        socket
            .request(message, NLM_F_CREATE | NLM_F_REPLACE)
            .with_context(|| format!("cannot give address {network} to bridge {}", config.name))?;
    }
    Ok(())
}

fn addresses_of(socket: &mut Socket, index: u32) -> Result<Vec<(IpNet, AddressMessage)>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Unspec;
    request.header.index = index;
    let found = socket
        .dump(RouteNetlinkMessage::GetAddress(request))
        .context("cannot list addresses")?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                Some((network_of(&message)?, message))
            }
            _ => None,
        })
        .collect())
}

fn network_of(message: &AddressMessage) -> Option<IpNet> {
    if message.header.scope != AddressScope::Universe {
        return None;
    }
    let find = |local: bool| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(address) if local => Some(*address),
                AddressAttribute::Address(address) if !local => Some(*address),
                _ => None,
            })
    };
    IpNet::new(
        find(true).or_else(|| find(false))?,
        message.header.prefix_len,
    )
    .ok()
}
