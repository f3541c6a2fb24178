//! Routes of the host: which networks it reaches already, and the MTU of the default route.

use crate::netlink::Socket;
use crate::{link, netlink};
use gantry_base::{Context as _, Result};
use ipnet::IpNet;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// The MTU of networks on a host without a default route.
pub const MTU_WITHOUT_DEFAULT_ROUTE: u32 = 1500;

/// One unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; a prefix length of 0 is the default route.
    pub destination: IpNet,
    /// Index of the link that it leaves by.
    pub link_index: Option<u32>,
    /// The MTU that the route itself names, if any.
    pub mtu: Option<u32>,
    /// Smaller is preferred.
    pub metric: u32,
}

/// The unicast routes of the main table, IPv4 and IPv6.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        match socket.dump(RouteNetlinkMessage::GetRoute(request)) {
            Ok(messages) => routes.extend(messages.into_iter().filter_map(read)),
            // A kernel without IPv6.
            Err(refusal)
                if refusal.errno == libc::EAFNOSUPPORT || refusal.errno == libc::EOPNOTSUPP => {}
            Err(refusal) => return Err(refusal).context("cannot list the host's routes"),
        }
    }
    Ok(routes)
}

/// The MTU that packets to the outside may have: the default route's own, else that of its link.
pub fn default_mtu(socket: &mut Socket) -> Result<u32> {
    let routes = list(socket)?;
    let default = routes
        .iter()
        .filter(|route| route.destination.prefix_len() == 0)
        .min_by_key(|route| route.metric);
    let Some(default) = default else {
        return Ok(MTU_WITHOUT_DEFAULT_ROUTE);
    };
    if let Some(mtu) = default.mtu {
        return Ok(mtu);
    }
    let Some(index) = default.link_index else {
        return Ok(MTU_WITHOUT_DEFAULT_ROUTE);
    };
    let mut request = LinkMessage::default();
    request.header.index = index;
    match socket.get(RouteNetlinkMessage::GetLink(request)) {
        Ok(RouteNetlinkMessage::NewLink(message)) => Ok(link::Link::from(message).mtu),
        Ok(_) => Ok(MTU_WITHOUT_DEFAULT_ROUTE),
        Err(netlink::Refusal {
            errno: libc::ENODEV,
            ..
        }) => Ok(MTU_WITHOUT_DEFAULT_ROUTE),
        Err(refusal) => Err(refusal).context("cannot read the link of the default route"),
    }
}

/// The default route through `gateway` on the link `index`; the unspecified address is the link itself.
pub(crate) fn default_via(gateway: IpAddr, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index));
    if gateway.is_unspecified() {
        message.header.scope = RouteScope::Link;
    } else {
        message
            .attributes
            .push(RouteAttribute::Gateway(gateway.into()));
    }
    message
}

/// Deletes every default route of a family.
pub(crate) fn remove_defaults(socket: &mut Socket, is_v6: bool) -> Result<()> {
    let mut request = RouteMessage::default();
    request.header.address_family = if is_v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let found = match socket.dump(RouteNetlinkMessage::GetRoute(request)) {
        Ok(found) => found,
        // A kernel without IPv6.
        Err(refusal) if is_v6 && refusal.errno == libc::EAFNOSUPPORT => return Ok(()),
        Err(refusal) => return Err(refusal).context("cannot list routes"),
    };
    for message in found {
        let RouteNetlinkMessage::NewRoute(message) = message else {
            continue;
        };
        let header = &message.header;
        if header.destination_prefix_length == 0
            && header.kind == RouteType::Unicast
            && header.table == RouteHeader::RT_TABLE_MAIN
        {
            netlink::allow(
                socket.request(RouteNetlinkMessage::DelRoute(message), 0),
                &[libc::ESRCH],
            )
            .context("cannot delete a default route")?;
        }
    }
    Ok(())
}

fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn read(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else {
        return None;
    };
    let header = &message.header;
    if header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let unspecified: IpAddr = match header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    let mut route = Route {
        destination: IpNet::new(unspecified, 0).ok()?,
        link_index: None,
        mtu: None,
        // IPv4 routes without a metric have 0, the most preferred.
        metric: 0,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                route.destination =
                    IpNet::new(address.into(), header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                route.destination =
                    IpNet::new(address.into(), header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Oif(index) => route.link_index = Some(index),
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.into_iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some(route)
}
