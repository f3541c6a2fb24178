//! Bridges and endpoints.

use crate::world::on_host;
use gantry_network::firewall::PortProtocol::Tcp;
use gantry_network::{bridge, endpoint, link};
use gantry_sys::netns;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn an_endpoint_is_attached_as_asked_and_reaches_its_gateway() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let one = world.node("gtest0", "172.30.0.2/24");
        let two = world.node("gtest0", "172.30.0.3/24");
        two.serve(80);
        assert_eq!(
            one.ask(Tcp, two.v4, 80)
                .expect("neighbours reach each other"),
            one.v4
        );
        let read = |path: &str| {
            one.run(|| std::fs::read_to_string(path).expect("is there"))
                .trim()
                .to_owned()
        };
        assert_eq!(read("/proc/sys/net/ipv6/conf/eth0/disable_ipv6"), "1");
        assert_eq!(
            read("/proc/sys/net/ipv6/conf/lo/disable_ipv6"),
            "0",
            "as in dockerd's containers, ::1 is there"
        );
    });
}

#[test]
fn pairs_vanish_with_their_namespace_and_leftovers_are_found() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let endpoint = world.endpoint("gtest0", "172.30.0.2/24", None);
        let namespace = endpoint::create(&mut world.host, std::slice::from_ref(&endpoint))
            .expect("can be attached");
        assert_eq!(
            endpoint::list_owned(&mut world.host, "vethtest").expect("can list"),
            [endpoint.host_name.as_str()]
        );
        drop(namespace);
        let gone = (0..3_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            endpoint::list_owned(&mut world.host, "vethtest")
                .expect("can list")
                .is_empty()
        });
        assert!(gone, "the pair outlived its namespace");
        assert!(!endpoint::remove(&mut world.host, &endpoint.host_name).expect("is no error"));
    });
}

#[test]
fn a_bridge_is_made_once_and_follows_its_configuration() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let first = link::find(&mut world.host, "gtest0")
            .expect("can look")
            .expect("was made");
        world.bridge("gtest0", "172.30.0.1/24", None);
        assert_eq!(
            link::find(&mut world.host, "gtest0")
                .expect("can look")
                .as_ref(),
            Some(&first)
        );
        world.bridge("gtest0", "172.33.0.1/16", Some("fd00:33::1/64"));
        let addresses = bridge::addresses(&mut world.host, "gtest0").expect("can list");
        let expected = ["172.33.0.1/16", "fd00:33::1/64"]
            .map(|network| network.parse().expect("is a network"));
        assert_eq!(addresses, expected);
        assert!(bridge::remove(&mut world.host, "gtest0").expect("can be removed"));
        assert!(!bridge::remove(&mut world.host, "gtest0").expect("is no error"));
    });
}

/// Makes and drops networks until it is dropped: the kernel's work on links then waits for the lock that they share.
struct Others {
    is_over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Others {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let make = |is_over: Arc<AtomicBool>| {
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    netns::create().expect("can be made");
                }
            }
        };
        let threads = (0..6)
            .map(|_| std::thread::spawn(make(is_over.clone())))
            .collect();
        Self { is_over, threads }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Without the last step of an attachment, every fourth of these connections takes a second.
#[test]
fn the_first_connection_gets_through_at_once() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let gateway = ("172.30.0.1", 80);
        let _server = TcpListener::bind(gateway).expect("is free");
        let _others = Others::start();
        let mut late = 0;
        for number in 2..102 {
            let endpoint = world.endpoint("gtest0", &format!("172.30.0.{number}/24"), None);
            let namespace =
                endpoint::create(&mut world.host, &[endpoint]).expect("can be attached");
            // No thread is started, so that nothing gives the kernel time.
            let sent = netns::run_here(namespace.as_fd(), || {
                let _connection = TcpStream::connect(gateway).expect("answers");
                packets_sent_by("eth0")
            });
            // The announcement of the address, the question for the gateway's, and the two of a connection; not the
            // same question a second time.
            late += u32::from(sent.expect("can enter") > 4);
        }
        // The gateway may ask back, on a busy machine; without the step it is every fourth.
        assert!(late <= 8, "the first packet of {late} in 100 was lost");
    });
}

fn packets_sent_by(interface: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("is there");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(interface))
        .expect("is there");
    line.split_whitespace()
        .nth(10)
        .expect("is counted")
        .parse()
        .expect("is a number")
}

#[test]
fn what_cannot_be_attached_is_refused_by_name() {
    on_host(|world| {
        let endpoint = world.endpoint("gtest0", "172.30.0.2/24", None);
        let mut attach = |endpoint: &endpoint::Endpoint| {
            endpoint::create(&mut world.host, std::slice::from_ref(endpoint))
                .expect_err("cannot be attached")
                .to_string()
        };
        assert_eq!(attach(&endpoint), "bridge gtest0 does not exist");
        let changed = |change: &dyn Fn(&mut endpoint::Endpoint)| {
            let mut endpoint = endpoint::Endpoint {
                uplink: "eth0".to_owned(),
                ..endpoint.clone()
            };
            change(&mut endpoint);
            endpoint
        };
        let taken = changed(&|endpoint| endpoint.host_name = "eth0".to_owned());
        assert_eq!(
            attach(&taken),
            "cannot create the link pair eth0 and eth0 on bridge eth0: file exists"
        );
        let outside = changed(&|endpoint| endpoint.v4_gateway = Some([10, 0, 0, 1].into()));
        assert_eq!(
            attach(&outside),
            "the gateway 10.0.0.1 is outside the network of eth0"
        );
        let path = changed(&|endpoint| endpoint.container_name = "../lo".to_owned());
        assert_eq!(attach(&path), "invalid network interface name \"../lo\"");
        let multicast = changed(&|endpoint| endpoint.mac.0[0] = 1);
        assert!(attach(&multicast).contains("multicast"));
        let not_a_bridge = changed(&|endpoint| endpoint.uplink = "lo".to_owned());
        assert!(attach(&not_a_bridge).starts_with("existing interface lo is not a bridge"));
        assert_eq!(
            endpoint::list_owned(&mut world.host, "vethtest").expect("can list"),
            [""; 0],
            "something was left behind"
        );
    });
}

#[test]
fn options_of_the_port_and_the_interface_are_set() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", Some("fd00:30::1/64"));
        let mut endpoint = world.endpoint("gtest0", "172.30.0.2/24", Some("fd00:30::2/64"));
        endpoint.mtu = 1400;
        let namespace = endpoint::create(&mut world.host, std::slice::from_ref(&endpoint))
            .expect("can be attached");
        let seen = netns::run_in(namespace.as_fd(), || {
            let mut socket = gantry_network::Socket::route().expect("rtnetlink answers");
            let link = link::find(&mut socket, "eth0")
                .expect("can look")
                .expect("is there");
            let routes = gantry_network::route::list(&mut socket).expect("can list");
            let defaults = routes
                .iter()
                .filter(|route| route.destination.prefix_len() == 0)
                .count();
            (
                link,
                bridge::addresses(&mut socket, "eth0").expect("can list"),
                defaults,
            )
        });
        let (link, addresses, defaults) = seen.expect("can enter");
        assert_eq!(
            (link.mac, link.mtu, link.is_up),
            (Some(endpoint.mac), 1400, true)
        );
        let expected = ["172.30.0.2/24", "fd00:30::2/64"]
            .map(|network| network.parse().expect("is a network"));
        assert_eq!(addresses, expected);
        assert_eq!(defaults, 2);
    });
}

#[test]
fn refusals_carry_the_kernels_explanation() {
    on_host(|world| {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = 1;
        message.header.prefix_len = 33;
        message
            .attributes
            .push(AddressAttribute::Local([10, 0, 0, 1].into()));
        let refusal = world
            .host
            .request(RouteNetlinkMessage::NewAddress(message), 0)
            .expect_err("is no prefix");
        assert_eq!(
            refusal.to_string(),
            "invalid argument (ipv4: Invalid prefix length)"
        );
    });
}
