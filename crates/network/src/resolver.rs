//! The sockets of the name server that a namespace has at 127.0.0.11, and the rule that leads port 53 to them.
//!
//! They are bound to other ports than 53, which belongs to the container: a name server of its own may bind all addresses.
//! One nftables table in the namespace translates between the two; the kernel translates the answers back.
//! Whoever holds the sockets keeps the queries that arrive while nobody reads.

use crate::firewall::{Firewall, resolver_rules};
use gantry_base::{Context as _, Result};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

/// Where containers ask for names.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The table in the container's namespace.
pub const TABLE: &str = "gantry-resolver";

/// Where the queries of one namespace arrive. Usable from any thread and namespace.
#[derive(Debug)]
pub struct Sockets {
    /// Queries that fit a packet.
    pub udp: UdpSocket,
    /// Large answers.
    pub tcp: TcpListener,
}

/// Opens the sockets in this thread's network namespace, whose `lo` is up, and leads port 53 of [`ADDRESS`] to them.
pub fn open_here() -> Result<Sockets> {
    let any = SocketAddrV4::new(ADDRESS, 0);
    let what = "cannot open the name server's sockets";
    let udp = UdpSocket::bind(any).context(what)?;
    let tcp = TcpListener::bind(any).context(what)?;
    udp.set_nonblocking(true).context(what)?;
    tcp.set_nonblocking(true).context(what)?;
    let rules = resolver_rules(
        ADDRESS,
        udp.local_addr().context(what)?.port(),
        tcp.local_addr().context(what)?.port(),
    );
    Firewall::open(TABLE)?.apply(&rules)?;
    Ok(Sockets { udp, tcp })
}
