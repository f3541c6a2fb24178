//! Links of a network namespace: finding, listing and deleting them.

use crate::netlink::Socket;
use gantry_base::{Context as _, Error, Result};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};
use std::fmt;
use std::str::FromStr;

/// Most bytes of an interface name (`IFNAMSIZ` less its NUL).
pub const NAME_BYTES_MAX: usize = 15;

/// An Ethernet address; shown as Docker shows it, `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// What we read about a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`; none for physical devices.
    pub kind: Option<String>,
    /// Its Ethernet address.
    pub mac: Option<MacAddress>,
    /// Its largest packet.
    pub mtu: u32,
    /// Index of the bridge it is a port of.
    pub bridge_index: Option<u32>,
    /// Whether it is set up by the administrator.
    pub is_up: bool,
}

/// The link called `name`, if there is one.
pub fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    check_name(name)?;
    match socket.get(RouteNetlinkMessage::GetLink(named(name))) {
        Ok(RouteNetlinkMessage::NewLink(message)) => Ok(Some(Link::from(message))),
        Ok(_) => Err(Error::internal(format!(
            "the kernel answered something else than link {name}"
        ))),
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(None),
        Err(refusal) => Err(refusal).with_context(|| format!("cannot read link {name}")),
    }
}

/// The index of the link called `name`, which must exist.
pub(crate) fn index(socket: &Socket, name: &str) -> Result<u32> {
    check_name(name)?;
    match socket.index_of_link(name) {
        Ok(index) => Ok(index),
        Err(refusal) if refusal.errno == libc::ENODEV => {
            Err(Error::not_found(format!("link {name} does not exist")))
        }
        Err(refusal) => Err(refusal).with_context(|| format!("cannot find link {name}")),
    }
}

/// Makes the kernel do its pending link-state work at once: the request for a single link does, a list would not.
pub(crate) fn settle(socket: &mut Socket, name: &str) -> Result<()> {
    socket
        .get_and_ignore(RouteNetlinkMessage::GetLink(named(name)))
        .with_context(|| format!("cannot read link {name}"))
}

/// A request about the link called `name`, without its counters, which cost more than all the rest.
fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
    ];
    message
}

/// Every link of the namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>> {
    let found = socket
        .dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .context("cannot list links")?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(Link::from(message)),
            _ => None,
        })
        .collect())
}

/// Deletes the link called `name`; false if there was none. Waits for a grace period: never on the path of a start.
pub fn remove(socket: &mut Socket, name: &str) -> Result<bool> {
    check_name(name)?;
    let mut request = LinkMessage::default();
    request
        .attributes
        .push(LinkAttribute::IfName(name.to_owned()));
    match socket.request(RouteNetlinkMessage::DelLink(request), 0) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == libc::ENODEV => Ok(false),
        Err(refusal) => Err(refusal).with_context(|| format!("cannot delete link {name}")),
    }
}

/// Sets the link called `name` up.
pub fn set_up(socket: &mut Socket, name: &str) -> Result<()> {
    let index = index(socket, name)?;
    socket
        .request(up(index), 0)
        .with_context(|| format!("cannot set {name} up"))
}

pub(crate) fn up(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

/// Refuses what the kernel would not take as an interface name, and what would escape `/proc/sys/net/ipv4/conf/<name>`.
pub fn check_name(name: &str) -> Result<()> {
    let is_valid = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name != "."
        && name != ".."
        && !name.bytes().any(|b| {
            b == b'/' || b == b':' || b == b'%' || b.is_ascii_whitespace() || b.is_ascii_control()
        });
    if is_valid {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid network interface name {name:?}"
    )))
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: None,
            mac: None,
            mtu: 0,
            bridge_index: None,
            is_up: message.header.flags.contains(LinkFlags::Up),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddress);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) => link.bridge_index = Some(index),
                LinkAttribute::LinkInfo(parts) => {
                    link.kind = parts.into_iter().find_map(|part| match part {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let colon = if position == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    /// Takes six bytes in hexadecimal between colons or hyphens.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("{text} is not a valid mac address"));
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
                .ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            Err(invalid())
        } else {
            Ok(Self(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_round_trip_and_nonsense_is_refused() {
        let mac: MacAddress = "02-42:AC:11:00:02".parse().expect("is valid");
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "02:42:ac:11:0:02",
            "g2:42:ac:11:00:02",
            "+2:42:ac:11:00:02",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a:1",
            "veth%d",
            "sixteen-bytes-xx",
            "a\n",
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("fifteen-bytes-x").is_ok());
    }
}
