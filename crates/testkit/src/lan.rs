//! Another host beside a test's world: a network namespace with a link to it, which is also the way to the package mirror.
//!
//! The world itself has no way out. The neighbour carries connections to the machine's own network, for one server only, as the
//! router of a real network would.

use gantry_sys::netns;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The world's own address in the network of both.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The neighbour's.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Another host in the world's network.
pub struct Neighbour {
    namespace: OwnedFd,
}

impl Neighbour {
    /// Makes the host and the link, and makes it the world's default route.
    ///
    /// # Panics
    /// When that is not possible; the caller runs in a world of [`crate::world`].
    pub fn new() -> Self {
        let namespace = netns::create().expect("root makes network namespaces");
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let prefix = |address: Ipv4Addr| format!("{address}/24");
        ip(&[
            "link", "add", "lan0", "type", "veth", "peer", "name", "eth0",
        ]);
        ip(&["link", "set", "eth0", "netns", &path]);
        ip(&["address", "add", &prefix(WORLD), "dev", "lan0"]);
        ip(&["link", "set", "lan0", "up"]);
        netns::run_in(namespace.as_fd(), || {
            ip(&["address", "add", &prefix(NEIGHBOUR), "dev", "eth0"]);
            ip(&["link", "set", "lo", "up"]);
            ip(&["link", "set", "eth0", "up"]);
        })
        .expect("the namespace can be entered");
        ip(&["route", "add", "default", "via", &NEIGHBOUR.to_string()]);
        Self { namespace }
    }

    /// A connection from the other host.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        connect_in(&self.namespace, address)
    }

    /// Listens on the other host and carries each connection to `server` in the network of this test's parent, which is the
    /// machine's own. Gives the address to connect to.
    ///
    /// # Panics
    /// When the namespaces cannot be entered.
    pub fn carry_to(&self, server: SocketAddr) -> SocketAddr {
        let listen = || TcpListener::bind((NEIGHBOUR, 0));
        let listener = netns::run_in(self.namespace.as_fd(), listen)
            .expect("the namespace can be entered")
            .expect("a free port can be bound");
        let address = listener.local_addr().expect("it is bound");
        let machine = Arc::new(machine());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let machine = machine.clone();
                thread::spawn(move || {
                    if let Ok(server) = connect_in(&machine, server) {
                        carry(client, server);
                    }
                });
            }
        });
        address
    }
}

impl Default for Neighbour {
    fn default() -> Self {
        Self::new()
    }
}

/// The addresses of a name, as the machine's own network knows it.
///
/// # Panics
/// When the machine's namespace cannot be entered.
pub fn resolve(name: &str, port: u16) -> Vec<SocketAddr> {
    use std::net::ToSocketAddrs as _;
    let look_up = || (name, port).to_socket_addrs().map(Iterator::collect);
    let found: io::Result<Vec<SocketAddr>> =
        netns::run_in(machine().as_fd(), look_up).expect("the namespace can be entered");
    found
        .unwrap_or_default()
        .into_iter()
        .filter(|address| matches!(address.ip(), IpAddr::V4(_)))
        .collect()
}

/// Runs a command in the machine's own network, outside of the world.
pub fn outside(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", machine_path()))
        .arg(program)
        .args(arguments);
    command
}

/// The process that made the world waits outside of it.
fn machine_path() -> String {
    let parent = rustix::process::getppid().expect("a test in a world has a parent");
    format!("/proc/{}/ns/net", parent.as_raw_nonzero())
}

fn machine() -> OwnedFd {
    netns::open(Path::new(&machine_path())).expect("the parent lives while the test does")
}

fn connect_in(namespace: &OwnedFd, address: SocketAddr) -> io::Result<TcpStream> {
    let connect = || TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
    netns::run_in(namespace.as_fd(), connect).map_err(io::Error::other)?
}

fn carry(client: TcpStream, server: TcpStream) {
    let (Ok(client_reader), Ok(server_reader)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        // Either side may go away at any time; the other is told.
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Write));
    };
    thread::spawn(move || copy(client_reader, server));
    copy(server_reader, client);
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {arguments:?} failed"
    );
}
