//! The connection of one network namespace to a bridge, a veth pair, or to a link of the host, a child of it; made where it ends up.
//!
//! The order matters for the speed of a start: one `NEWLINK` that makes the pair with the peer already in the namespace,
//! then one batch inside it, then a `GETLINK` of the host end, which makes the kernel's link watch run at once; without
//! it every fourth first connection loses its SYN and takes a second. No device is ever moved, and none is deleted here on
//! the way of a start or a stop: closing the namespace takes the pair with it.

use crate::announce;
use crate::child::{self, Child};
use crate::link::{self, MacAddress};
use crate::netlink::{Refusal, Socket};
use crate::{resolver, route, sysctl};
use gantry_base::{Context as _, Error, Result};
use gantry_sys::netns;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoPortData,
    InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

/// Index of `lo` in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// One link of a namespace: an end of a veth pair whose other end is on a bridge, or a child of a link of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// What shares the link `uplink`; none: the end of a veth pair on the bridge `uplink`.
    pub child: Option<Child>,
    /// Name of the end on the host; derived from an id, so that boot can find what was left. Children have none.
    pub host_name: String,
    /// Name of the end in the namespace, such as `eth0`.
    pub container_name: String,
    /// Ethernet address of the end in the namespace. An ipvlan has that of its parent.
    pub mac: MacAddress,
    /// Name of the bridge that the host end becomes a port of, or of the parent.
    pub uplink: String,
    /// Largest packet, of both ends. A child has that of its parent.
    pub mtu: u32,
    /// Address with the length of its prefix. Without one the interface has no IPv4.
    pub v4: Option<Ipv4Net>,
    /// Where the IPv4 default route goes; 0.0.0.0: to the link itself.
    pub v4_gateway: Option<Ipv4Addr>,
    /// Address with the length of its prefix. Without one IPv6 is switched off on the interface.
    pub v6: Option<Ipv6Net>,
    /// Where the IPv6 default route goes; `::`: to the link itself.
    pub v6_gateway: Option<Ipv6Addr>,
    /// Keeps the port from speaking to other isolated ports of the bridge (inter-container communication off).
    pub is_isolated: bool,
    /// Lets the bridge send a frame back out of the port it came from.
    pub hairpin: bool,
    /// Further addresses.
    pub link_local: Vec<IpNet>,
    /// Settings below `/proc/sys/net`, with their values.
    pub sysctls: Vec<(String, String)>,
}

/// What [`attach`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Index of the end in the namespace.
    pub container_index: u32,
}

/// A namespace that was made, and what was opened in it.
#[derive(Debug)]
pub struct Sandbox {
    /// It lives as long as this or a process in it.
    pub namespace: OwnedFd,
    /// Where its queries for names arrive, if that was asked for.
    pub resolver: Option<resolver::Sockets>,
}

/// A new network namespace with `lo` up and all `endpoints` attached. The namespace lives as long as the descriptor or a
/// process in it; when it goes, both ends of each pair go.
///
/// `host` is a socket of the namespace of the bridges. No endpoints make the network that has only a loopback.
pub fn create(host: &mut Socket, endpoints: &[Endpoint]) -> Result<OwnedFd> {
    create_with(host, endpoints, false).map(|sandbox| sandbox.namespace)
}

/// Like [`create`]; `with_resolver` opens the sockets of a name server in the namespace.
pub fn create_with(
    host: &mut Socket,
    endpoints: &[Endpoint],
    with_resolver: bool,
) -> Result<Sandbox> {
    for endpoint in endpoints {
        endpoint.check()?;
    }
    announce::prepare();
    netns::create_here(|| {
        let mut inside = Socket::route()?;
        let namespace = inside.namespace()?;
        if endpoints.is_empty() {
            link::set_up(&mut inside, "lo")?;
        }
        for endpoint in endpoints {
            attach_here(host, &mut inside, namespace.as_fd(), endpoint)?;
        }
        let resolver = with_resolver.then(resolver::open_here).transpose()?;
        Ok(Sandbox {
            namespace,
            resolver,
        })
    })?
}

/// Attaches one more endpoint to the network namespace `namespace`, and sets its `lo` up.
pub fn attach(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    endpoint: &Endpoint,
) -> Result<Attached> {
    endpoint.check()?;
    announce::prepare();
    netns::run_here(namespace, || {
        attach_here(host, &mut Socket::route()?, namespace, endpoint)
    })?
}

/// Makes the default routes of `namespace` go by these gateways and interfaces; those that are none go.
pub fn set_default_routes(
    namespace: BorrowedFd<'_>,
    v4: Option<(Ipv4Addr, &str)>,
    v6: Option<(Ipv6Addr, &str)>,
) -> Result<()> {
    let wanted = [
        v4.map(|(gateway, interface)| (IpAddr::V4(gateway), interface)),
        v6.map(|(gateway, interface)| (IpAddr::V6(gateway), interface)),
    ];
    netns::run_here(namespace, || {
        let mut inside = Socket::route()?;
        for (family, wanted) in [false, true].into_iter().zip(wanted) {
            route::remove_defaults(&mut inside, family)?;
            let Some((gateway, interface)) = wanted else {
                continue;
            };
            let index = link::index(&inside, interface)?;
            inside
                .request(
                    RouteNetlinkMessage::NewRoute(route::default_via(gateway, index)),
                    NLM_F_CREATE | NLM_F_EXCL,
                )
                .with_context(|| format!("cannot set the default route by {interface}"))?;
        }
        Ok(())
    })?
}

/// Deletes the pair of which `host_name` is the end on the host; false if there is none.
///
/// For what a crash left and for live disconnects only: it waits for a grace period.
pub fn remove(host: &mut Socket, host_name: &str) -> Result<bool> {
    link::remove(host, host_name)
}

/// Makes the end on the host a port of its bridge again, after that was made anew; false if there is no such link.
pub fn rejoin(host: &mut Socket, endpoint: &Endpoint) -> Result<bool> {
    let Some(found) = link::find(host, &endpoint.host_name)? else {
        return Ok(false);
    };
    let mut port = LinkMessage::default();
    port.header.index = found.index;
    port.attributes.push(LinkAttribute::Controller(link::index(
        host,
        &endpoint.uplink,
    )?));
    host.batch([
        (RouteNetlinkMessage::SetLink(port), 0),
        (
            RouteNetlinkMessage::NewLink(endpoint.port_options(false)),
            0,
        ),
    ])
    .with_context(|| {
        format!(
            "cannot make {} a port of its bridge again",
            endpoint.host_name
        )
    })?;
    Ok(true)
}

/// Names of the veth ends on the host that begin with `prefix`: what boot compares with the recorded endpoints.
pub fn list_owned(host: &mut Socket, prefix: &str) -> Result<Vec<String>> {
    let links = link::list(host)?;
    let is_ours =
        |link: &link::Link| link.kind.as_deref() == Some("veth") && link.name.starts_with(prefix);
    Ok(links
        .into_iter()
        .filter(is_ours)
        .map(|link| link.name)
        .collect())
}

impl Endpoint {
    fn has_own_mac(&self) -> bool {
        !matches!(self.child, Some(Child::Ipvlan(..)))
    }

    fn is_link_local(&self, message: &AddressMessage) -> bool {
        self.link_local.iter().any(|address| {
            let local = AddressAttribute::Local(address.addr());
            message.attributes.contains(&local)
        })
    }

    fn check(&self) -> Result<()> {
        for name in [&self.container_name, &self.uplink] {
            link::check_name(name)?;
        }
        if self.child.is_none() {
            link::check_name(&self.host_name)?;
        }
        if self.mac.0[0] & 1 != 0 {
            return Err(Error::invalid(format!(
                "{} is a multicast address, not one of an interface",
                self.mac
            )));
        }
        let reaches = |network: Option<IpNet>, gateway: IpAddr| {
            network.is_some_and(|network| network.contains(&gateway))
        };
        let gateways = [
            (self.v4.map(IpNet::V4), self.v4_gateway.map(IpAddr::V4)),
            (self.v6.map(IpNet::V6), self.v6_gateway.map(IpAddr::V6)),
        ];
        for (network, gateway) in gateways {
            let Some(gateway) = gateway else { continue };
            if !gateway.is_unspecified() && !reaches(network, gateway) {
                return Err(Error::invalid(format!(
                    "the gateway {gateway} is outside the network of {}",
                    self.container_name
                )));
            }
        }
        Ok(())
    }

    /// The message that makes the pair: the host end up and on its bridge, the other end in `namespace`.
    ///
    /// One queue in each direction saves a grace period under the lock that all network changes share.
    /// The kernel refuses to make the far end up.
    fn new_pair(&self, namespace: BorrowedFd<'_>, bridge_index: u32) -> LinkMessage {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(self.container_name.clone()),
            LinkAttribute::Address(self.mac.0.to_vec()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ];
        let mut pair = LinkMessage::default();
        pair.header.flags = LinkFlags::Up;
        pair.header.change_mask = LinkFlags::Up;
        pair.attributes = vec![
            LinkAttribute::IfName(self.host_name.clone()),
            LinkAttribute::Mtu(self.mtu),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::Controller(bridge_index),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        pair
    }

    /// What is set on the host end while its peer is still down: no IPv6 address of its own, which would cost duplicate
    /// address detection under the shared lock, and the options of the bridge port.
    fn port_options(&self, kernel_has_v6: bool) -> LinkMessage {
        let mut port = LinkMessage::default();
        port.attributes
            .push(LinkAttribute::IfName(self.host_name.clone()));
        if kernel_has_v6 {
            let no_address = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            port.attributes
                .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
                    vec![no_address],
                )]));
        }
        let mut options = Vec::new();
        if self.is_isolated {
            options.push(InfoBridgePort::Isolated(true));
        }
        if self.hairpin {
            options.push(InfoBridgePort::HairpinMode(true));
        }
        if !options.is_empty() {
            port.attributes.push(LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(options)),
            ]));
        }
        port
    }
}

/// Runs in a thread that is in `namespace`, so that `/proc/sys/net` is its.
fn attach_here(
    host: &mut Socket,
    inside: &mut Socket,
    namespace: BorrowedFd<'_>,
    endpoint: &Endpoint,
) -> Result<Attached> {
    let container_name = &endpoint.container_name;
    match endpoint.child {
        None => make_pair(host, namespace, endpoint)?,
        Some(child) => child.make(host, inside, namespace, endpoint)?,
    }
    // Addresses are handed out by us, so probing for duplicates would only make the first seconds fail.
    let setting = if endpoint.v6.is_none() {
        ("disable_ipv6", "1")
    } else {
        ("accept_dad", "0")
    };
    sysctl::set_if_present(
        &format!("ipv6/conf/{container_name}/{}", setting.0),
        setting.1,
    )?;
    let not_added = |error: Error| {
        error.prefixed(format!(
            "failed to add interface {} to sandbox",
            endpoint.host_name
        ))
    };
    let not_up = |refusal: Refusal| {
        not_added(Error::from(refusal).prefixed(format!("cannot set {container_name} up")))
    };
    for (name, value) in &endpoint.sysctls {
        sysctl::set_asked(name, value).map_err(not_added)?;
    }
    let index = link::index(inside, container_name)?;
    if endpoint.child.is_some() {
        let is_gone_soon = |errno| errno == libc::EADDRINUSE;
        child::retry(is_gone_soon, || inside.request(link::up(index), 0)).map_err(not_up)?;
    }
    inside
        .batch(configuration(endpoint, index))
        .map_err(|refusal| not_added(describe(endpoint, index, refusal)))?;
    if endpoint.child.is_none() {
        link::settle(host, &endpoint.host_name)?;
    }
    // Only now: before the bridge forwards for the new port, nobody would hear it.
    if let Some(v4) = endpoint.v4.filter(|_| endpoint.has_own_mac()) {
        announce::announce(index, endpoint.mac, v4.addr())?;
    }
    Ok(Attached {
        container_index: index,
    })
}

/// Makes a veth pair with one end on a bridge.
fn make_pair(host: &mut Socket, namespace: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<()> {
    let uplink = &endpoint.uplink;
    let bridge_index = link::index(host, uplink)
        .map_err(|_| Error::not_found(format!("bridge {uplink} does not exist")))?;
    let make = [
        (
            RouteNetlinkMessage::NewLink(endpoint.new_pair(namespace, bridge_index)),
            NLM_F_CREATE | NLM_F_EXCL,
        ),
        // `NEWLINK` of what exists changes it; unlike `SETLINK`, it takes the options of a bridge's port too.
        (RouteNetlinkMessage::NewLink(endpoint.port_options(true)), 0),
    ];
    // On failure the pair, if it was made, goes with the namespace: nothing needs undoing here.
    match host.batch(make) {
        // A kernel without IPv6 refuses to hear of it.
        Err(Refusal {
            index: 1,
            errno: libc::EAFNOSUPPORT,
            ..
        }) => host.request(
            RouteNetlinkMessage::NewLink(endpoint.port_options(false)),
            0,
        ),
        other => other,
    }
    .map_err(|refusal| not_made(host, endpoint, refusal))
}

/// Why the pair was not made; looks for the reason that the kernel does not give.
fn not_made(host: &mut Socket, endpoint: &Endpoint, refusal: Refusal) -> Error {
    let Endpoint {
        host_name,
        container_name,
        uplink: bridge,
        ..
    } = endpoint;
    match link::find(host, bridge) {
        Ok(Some(link)) if link.kind.as_deref() != Some("bridge") => {
            Error::conflict(format!("existing interface {bridge} is not a bridge"))
        }
        _ => Error::from(refusal).prefixed(format!(
            "cannot create the link pair {host_name} and {container_name} on bridge {bridge}"
        )),
    }
}

/// The messages that configure the namespace's side; the kernel carries them out in one call.
fn configuration(endpoint: &Endpoint, index: u32) -> Vec<(RouteNetlinkMessage, u16)> {
    let mut messages = vec![(link::up(LOOPBACK_INDEX), 0), (link::up(index), 0)];
    if let Some(v4) = endpoint.v4 {
        messages.push((
            RouteNetlinkMessage::NewAddress(address(index, IpNet::V4(v4))),
            NLM_F_CREATE | NLM_F_EXCL,
        ));
    }
    if let Some(v6) = endpoint.v6 {
        messages.push((
            RouteNetlinkMessage::NewAddress(address(index, IpNet::V6(v6))),
            NLM_F_CREATE | NLM_F_EXCL,
        ));
    }
    for further in &endpoint.link_local {
        messages.push((
            RouteNetlinkMessage::NewAddress(address(index, *further)),
            NLM_F_CREATE | NLM_F_EXCL,
        ));
    }
    let gateways = [
        endpoint.v4_gateway.map(IpAddr::V4),
        endpoint.v6_gateway.map(IpAddr::V6),
    ];
    for gateway in gateways.into_iter().flatten() {
        messages.push((
            RouteNetlinkMessage::NewRoute(route::default_via(gateway, index)),
            NLM_F_CREATE | NLM_F_EXCL,
        ));
    }
    messages
}

fn describe(endpoint: &Endpoint, index: u32, refusal: Refusal) -> Error {
    let refused = configuration(endpoint, index)
        .into_iter()
        .nth(refusal.index)
        .map(|(message, _)| message);
    let what = match refused {
        Some(RouteNetlinkMessage::NewAddress(message)) if endpoint.is_link_local(&message) => {
            let all: Vec<String> = endpoint.link_local.iter().map(IpNet::to_string).collect();
            return Error::from(refusal).prefixed(format!(
                "error setting interface {:?} link local IPs to [{}]",
                endpoint.host_name,
                all.join(" ")
            ));
        }
        Some(RouteNetlinkMessage::NewAddress(_)) => "give an address to",
        Some(RouteNetlinkMessage::NewRoute(_)) => "set the default route of",
        _ => "set up",
    };
    Error::from(refusal).prefixed(format!(
        "cannot {what} {} in its network namespace",
        endpoint.container_name
    ))
}

/// An address for `RTM_NEWADDR`. IPv6 addresses are used without a probe for duplicates: we hand them out ourselves.
pub(crate) fn address(index: u32, network: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = network.prefix_len();
    message.attributes = vec![
        AddressAttribute::Local(network.addr()),
        AddressAttribute::Address(network.addr()),
    ];
    match network {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            if v4.prefix_len() < 31 {
                message
                    .attributes
                    .push(AddressAttribute::Broadcast(v4.broadcast()));
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}
