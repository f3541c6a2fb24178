//! A small internet of network namespaces: a host with bridges, containers on them, and machines in the host's LAN.
//!
//! The host's `eth0` is itself a bridge, so that any number of machines can be in its LAN. Servers are threads that answer
//! each client with the address that they saw it come from, which shows what was translated.

use gantry_network::bridge::{self, BridgeConfig};
use gantry_network::endpoint::{self, Endpoint};
use gantry_network::firewall::{BridgeRules, Desired, PortProtocol, PublishedPort};
use gantry_network::{MacAddress, Socket, link};
use gantry_sys::netns;
use ipnet::{Ipv4Net, Ipv6Net};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a connection may take that is expected to succeed, and how long one is tried that is expected to fail.
const PATIENCE: Duration = Duration::from_secs(20);
const IMPATIENCE: Duration = Duration::from_millis(250);

pub(crate) const HOST_ON_LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A machine or a container: a network namespace that is not the host's.
pub(crate) struct Node {
    pub(crate) namespace: OwnedFd,
    pub(crate) v4: Ipv4Addr,
    /// Name of its link's end on the host.
    pub(crate) host_name: String,
}

/// The host's point of view; lives in the thread that made it.
pub(crate) struct World {
    pub(crate) host: Socket,
    next_name: usize,
}

/// Runs `test` as the host of a new world.
pub(crate) fn on_host(test: impl FnOnce(&mut World) + Send) {
    let (_host, ()) = netns::create_with(|| {
        let mut world = World {
            next_name: 0,
            host: Socket::route().expect("rtnetlink answers"),
        };
        link::set_up(&mut world.host, "lo").expect("lo can be set up");
        world.bridge("eth0", "192.0.2.1/24", None);
        bridge::ensure_forwarding(true).expect("routing can be switched on");
        test(&mut world);
    })
    .expect("network namespaces can be made: the tests need root");
}

impl World {
    /// A bridge of the host.
    pub(crate) fn bridge(&mut self, name: &str, v4: &str, v6: Option<&str>) {
        let config = BridgeConfig {
            name: name.to_owned(),
            v4: Some(v4.parse().expect("is a network")),
            v6: v6.map(|v6| v6.parse().expect("is a network")),
            mtu: 1500,
            mac: None,
            publishes_on_loopback: name != "eth0",
        };
        bridge::ensure(&mut self.host, &config).expect("the bridge can be made");
    }

    /// What connects a node with address `v4` to a bridge of the host.
    pub(crate) fn endpoint(&mut self, bridge: &str, v4: &str, v6: Option<&str>) -> Endpoint {
        let v4: Ipv4Net = v4.parse().expect("is a network");
        let v6: Option<Ipv6Net> = v6.map(|v6| v6.parse().expect("is a network"));
        self.next_name += 1;
        Endpoint {
            host_name: format!("vethtest{}", self.next_name),
            container_name: "eth0".to_owned(),
            mac: MacAddress([
                0x02,
                0x42,
                v4.addr().octets()[0],
                v4.addr().octets()[1],
                v4.addr().octets()[2],
                v4.addr().octets()[3],
            ]),
            uplink: bridge.to_owned(),
            mtu: 1500,
            v4: Some(v4),
            v4_gateway: v4.hosts().next(),
            v6,
            v6_gateway: v6.and_then(|v6| v6.hosts().nth(1)),
            is_isolated: false,
            hairpin: true,
            ..Endpoint::default()
        }
    }

    /// A node on a bridge of the host, whose first address is its gateway.
    pub(crate) fn node(&mut self, bridge: &str, v4: &str) -> Node {
        let endpoint = self.endpoint(bridge, v4, None);
        self.attach(endpoint)
    }

    /// A node behind `endpoint`.
    pub(crate) fn attach(&mut self, endpoint: Endpoint) -> Node {
        let namespace = endpoint::create(&mut self.host, std::slice::from_ref(&endpoint))
            .expect("can be attached");
        Node {
            namespace,
            v4: endpoint.v4.expect("was given").addr(),
            host_name: endpoint.host_name,
        }
    }
}

impl Node {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Runs `inside` in this node.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        netns::run_in(self.fd(), inside).expect("the namespace can be entered")
    }

    /// Answers on TCP and UDP `port` of every address, until the process ends.
    pub(crate) fn serve(&self, port: u16) {
        self.run(|| serve(SocketAddr::from(([0_u16; 8], port))));
    }

    /// What a server at `address` sees as this node's address.
    pub(crate) fn ask(
        &self,
        protocol: PortProtocol,
        address: impl Into<IpAddr> + Send,
        port: u16,
    ) -> io::Result<IpAddr> {
        let address = SocketAddr::new(address.into(), port);
        self.run(|| ask(protocol, address, PATIENCE))
    }

    /// Whether nothing at `address` answers this node.
    pub(crate) fn is_refused(
        &self,
        protocol: PortProtocol,
        address: impl Into<IpAddr> + Send,
        port: u16,
    ) -> bool {
        let address = SocketAddr::new(address.into(), port);
        self.run(|| ask(protocol, address, IMPATIENCE)).is_err()
    }
}

/// How often TCP had to send something again in this thread's namespace: above 0 only if a packet was lost.
pub(crate) fn tcp_retransmissions() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("is there");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("Tcp:"))
        .map(|line| line.split(' ').collect())
        .collect();
    let column = rows[0]
        .iter()
        .position(|name| *name == "RetransSegs")
        .expect("is counted");
    rows[1][column].parse().expect("is a number")
}

/// Sets what the kernel's br_netfilter does in this namespace; false if the host has not loaded it. A dockerd loads it.
pub(crate) fn bridged_packets_pass_the_firewall(on: bool) -> bool {
    let value = if on { "1" } else { "0" };
    std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", value).is_ok()
}

/// Answers on TCP and UDP `address` of this thread's namespace, until the process ends.
pub(crate) fn serve(address: SocketAddr) {
    let tcp = TcpListener::bind(address).expect("the port is free");
    let udp = UdpSocket::bind(address).expect("the port is free");
    std::thread::spawn(move || {
        for connection in tcp.incoming() {
            let Ok(mut connection) = connection else {
                break;
            };
            let Ok(peer) = connection.peer_addr() else {
                continue;
            };
            drop(connection.write_all(text_of(peer).as_bytes()));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            drop(udp.send_to(text_of(peer).as_bytes(), peer));
        }
    });
}

/// The same from the host itself.
pub(crate) fn ask_from_host(
    protocol: PortProtocol,
    address: impl Into<IpAddr>,
    port: u16,
) -> io::Result<IpAddr> {
    ask(protocol, SocketAddr::new(address.into(), port), PATIENCE)
}

pub(crate) fn is_refused_from_host(
    protocol: PortProtocol,
    address: impl Into<IpAddr>,
    port: u16,
) -> bool {
    ask(protocol, SocketAddr::new(address.into(), port), IMPATIENCE).is_err()
}

fn ask(protocol: PortProtocol, address: SocketAddr, patience: Duration) -> io::Result<IpAddr> {
    let mut text = String::new();
    match protocol {
        PortProtocol::Tcp => {
            let mut connection = TcpStream::connect_timeout(&address, patience)?;
            connection.set_read_timeout(Some(patience))?;
            connection.read_to_string(&mut text)?;
        }
        PortProtocol::Udp => {
            let any: SocketAddr = if address.is_ipv4() {
                ([0, 0, 0, 0], 0).into()
            } else {
                ([0_u16; 8], 0).into()
            };
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(patience))?;
            socket.connect(address)?;
            socket.send(b"?")?;
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer)?;
            text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        }
        PortProtocol::Sctp => return Err(io::ErrorKind::Unsupported.into()),
    }
    text.parse()
        .map_err(|_| io::Error::other(format!("a strange answer: {text:?}")))
}

fn text_of(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}

/// Rules of a bridge as networks have them by default.
pub(crate) fn rules(name: &str, v4: &str) -> BridgeRules {
    BridgeRules {
        name: name.to_owned(),
        v4: Some(v4.parse().expect("is a network")),
        v6: None,
        masquerades: true,
        allows_inter_container: true,
        is_internal: false,
        ..BridgeRules::default()
    }
}

pub(crate) fn published(
    protocol: PortProtocol,
    host_ip: &str,
    host_port: u16,
    node: &Node,
    container_port: u16,
) -> PublishedPort {
    PublishedPort {
        protocol,
        host_ip: host_ip.parse().expect("is an address"),
        host_port,
        container_ip: node.v4.into(),
        container_port,
    }
}

/// Two bridges and no ports.
pub(crate) fn two_bridges() -> Desired {
    Desired {
        bridges: vec![
            rules("gtest0", "172.30.0.1/24"),
            rules("gtest1", "172.31.0.1/24"),
        ],
        ports: Vec::new(),
        drops_foreign_forwarding: false,
    }
}
