//! Links that share another link of the host: macvlan and ipvlan, and the parents that are made for them.
//!
//! A child is made in the namespace that it belongs to, so it goes with that. A parent that was made here is a link of the
//! host: a VLAN of another link (`eth0.10`), or a dummy for networks that lead nowhere.

use crate::endpoint::Endpoint;
use crate::link;
use crate::netlink::{Refusal, Socket};
use gantry_base::{Context as _, Error, Result};
use gantry_sys::netns;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, IpVlanMode, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a child that is about to go is waited for, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// How a child shares its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// With an Ethernet address of its own.
    Macvlan(MacvlanMode),
    /// With the parent's Ethernet address.
    Ipvlan(IpvlanMode, IpvlanFlag),
}

/// What the macvlans of one parent may say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Everything, directly.
    Bridge,
    /// Nothing.
    Private,
    /// What the switch behind the parent sends back.
    Vepa,
    /// There is only one, which has the parent for itself.
    Passthru,
}

/// On which layer an ipvlan takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvlanMode {
    /// Ethernet, with broadcasts.
    L2,
    /// Routed, without broadcasts.
    L3,
    /// Routed, and seen by the host's netfilter.
    L3s,
}

/// What the ipvlans of one parent may say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpvlanFlag {
    /// Everything, directly.
    Bridge,
    /// Nothing.
    Private,
    /// What the switch behind the parent sends back.
    Vepa,
}

/// A parent that is made for a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewParent {
    /// An 802.1q VLAN of another link.
    Vlan {
        /// The other link.
        of: String,
        /// 1 to 4094.
        id: u16,
    },
    /// A link that leads nowhere.
    Dummy,
}

impl Child {
    fn kind(self) -> InfoKind {
        match self {
            Self::Macvlan(_) => InfoKind::MacVlan,
            Self::Ipvlan(..) => InfoKind::IpVlan,
        }
    }

    /// The driver's name, and the kernel's option.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Macvlan(_) => ("macvlan", "CONFIG_MACVLAN"),
            Self::Ipvlan(..) => ("ipvlan", "CONFIG_IPVLAN"),
        }
    }

    fn data(self) -> InfoData {
        match self {
            Self::Macvlan(mode) => InfoData::MacVlan(vec![InfoMacVlan::Mode(match mode {
                MacvlanMode::Bridge => MacVlanMode::Bridge,
                MacvlanMode::Private => MacVlanMode::Private,
                MacvlanMode::Vepa => MacVlanMode::Vepa,
                MacvlanMode::Passthru => MacVlanMode::Passthrough,
            })]),
            Self::Ipvlan(mode, flag) => InfoData::IpVlan(vec![
                InfoIpVlan::Mode(match mode {
                    IpvlanMode::L2 => IpVlanMode::L2,
                    IpvlanMode::L3 => IpVlanMode::L3,
                    IpvlanMode::L3s => IpVlanMode::L3S,
                }),
                InfoIpVlan::Flags(match flag {
                    IpvlanFlag::Bridge => IpVlanFlags::empty(),
                    IpvlanFlag::Private => IpVlanFlags::Private,
                    IpvlanFlag::Vepa => IpVlanFlags::Vepa,
                }),
            ]),
        }
    }

    /// Makes the interface of `endpoint` in `namespace`, where `inside` is.
    pub(crate) fn make(
        self,
        host: &mut Socket,
        inside: &mut Socket,
        namespace: BorrowedFd<'_>,
        endpoint: &Endpoint,
    ) -> Result<()> {
        let uplink = &endpoint.uplink;
        let parent = link::index(host, uplink)
            .map_err(|_| Error::not_found(format!("parent interface {uplink} does not exist")))?;
        let is_passthru = self == Self::Macvlan(MacvlanMode::Passthru);
        retry(
            |errno| is_passthru && errno == libc::EINVAL,
            || {
                let message = self.message(endpoint, namespace, parent);
                host.request(
                    RouteNetlinkMessage::NewLink(message),
                    NLM_F_CREATE | NLM_F_EXCL,
                )
            },
        )
        .map_err(|refusal| self.not_made(uplink, refusal))?;
        if is_passthru {
            set_mac(inside, endpoint)?;
        }
        Ok(())
    }

    fn message(
        self,
        endpoint: &Endpoint,
        namespace: BorrowedFd<'_>,
        parent_index: u32,
    ) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(endpoint.container_name.clone()),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
            LinkAttribute::Link(parent_index),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(self.kind()),
                LinkInfo::Data(self.data()),
            ]),
        ];
        // An ipvlan has its parent's, and so has a macvlan with a parent for itself until it is given another.
        if matches!(self, Self::Macvlan(mode) if mode != MacvlanMode::Passthru) {
            message.attributes.push(mac(endpoint));
        }
        message
    }

    /// Why the kernel did not make one.
    fn not_made(self, parent: &str, refusal: Refusal) -> Error {
        let (driver, option) = self.words();
        match refusal.errno {
            libc::EOPNOTSUPP => Error::not_implemented(format!(
                "failed to create the {driver} port: operation not supported: this kernel has no {driver} ({option})"
            )),
            libc::EBUSY => Error::from(refusal).prefixed(format!(
                "failed to create the {driver} port: link {parent} is in use in another way"
            )),
            _ => Error::from(refusal).prefixed(format!("failed to create the {driver} port")),
        }
    }
}

/// Deletes the link called `name` of `namespace`; false if there is none. For live disconnects of children.
pub fn remove(namespace: BorrowedFd<'_>, name: &str) -> Result<bool> {
    netns::run_here(namespace, || link::remove(&mut Socket::route()?, name))?
}

/// Makes a parent called `name`, and sets it up; one that is there is taken.
pub fn ensure_parent(host: &mut Socket, name: &str, parent: &NewParent) -> Result<()> {
    link::check_name(name)?;
    if link::find(host, name)?.is_none() {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.extend(match parent {
            NewParent::Vlan { of, id } => vec![
                LinkAttribute::Link(link::index(host, of)?),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Vlan),
                    LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(*id)])),
                ]),
            ],
            NewParent::Dummy => vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                InfoKind::Dummy,
            )])],
        });
        host.request(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map_err(|refusal| parent_not_made(name, parent, refusal))?;
    }
    link::set_up(host, name)
}

/// Deletes a parent that [`ensure_parent`] made; a link of another kind that has its name meanwhile stays.
pub fn remove_parent(host: &mut Socket, name: &str, parent: &NewParent) -> Result<()> {
    let kind = match parent {
        NewParent::Vlan { .. } => "vlan",
        NewParent::Dummy => "dummy",
    };
    match link::find(host, name)? {
        Some(found) if found.kind.as_deref() == Some(kind) => link::remove(host, name)
            .map(drop)
            .with_context(|| format!("cannot remove link {name}")),
        _ => Ok(()),
    }
}

fn mac(endpoint: &Endpoint) -> LinkAttribute {
    LinkAttribute::Address(endpoint.mac.0.to_vec())
}

fn set_mac(inside: &mut Socket, endpoint: &Endpoint) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link::index(inside, &endpoint.container_name)?;
    message.attributes.push(mac(endpoint));
    inside
        .request(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(|refusal| {
            let (host, mac) = (&endpoint.host_name, endpoint.mac.to_string());
            Error::from(refusal).prefixed(format!(
                "failed to add interface {host} to sandbox: error setting interface {host:?} MAC to {mac:?}"
            ))
        })
}

/// Tries again for a while: a namespace that was closed a moment ago still has its child of the parent, and with that an Ethernet
/// address, or the parent itself. The kernel says neither when it is gone.
pub(crate) fn retry(
    is_gone_soon: impl Fn(i32) -> bool,
    mut change: impl FnMut() -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match change() {
            Err(refusal) if is_gone_soon(refusal.errno) && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn parent_not_made(name: &str, parent: &NewParent, refusal: Refusal) -> Error {
    let what = match parent {
        NewParent::Vlan { .. } => format!("failed to create {name} vlan link"),
        NewParent::Dummy => format!("failed to create {name} dummy link"),
    };
    let lacks = match parent {
        NewParent::Vlan { .. } => "802.1q VLANs (CONFIG_VLAN_8021Q)",
        NewParent::Dummy => "dummy links (CONFIG_DUMMY), which a network without a parent needs",
    };
    match refusal.errno {
        libc::EOPNOTSUPP => Error::not_implemented(format!(
            "{what}: operation not supported: this kernel has no {lacks}"
        )),
        _ => Error::from(refusal).prefixed(what),
    }
}
