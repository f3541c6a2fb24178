//! Attacks on published and unpublished ports, each with a mutant: the same attack against a table that lacks the rule
//! which stops it must succeed, or the test proves nothing. Mutants are made with the `nft` program.

use crate::golden::{has_nft, nft};
use crate::world::{
    HOST_ON_LAN, Node, World, ask_from_host, bridged_packets_pass_the_firewall, on_host, published,
    rules, serve, two_bridges,
};
use gantry_network::firewall::PortProtocol::{Tcp, Udp};
use gantry_network::firewall::{BridgeRules, Desired, Firewall, render};
use gantry_network::{Socket, link, route};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn firewall(desired: &Desired) -> Firewall {
    let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
    firewall
        .apply(&render(desired))
        .expect("the table is accepted");
    firewall
}

/// Makes `node` send what is for 127.0.0.1 to `gateway`, and take answers from there.
fn send_loopback_to(node: &Node, gateway: Ipv4Addr) {
    node.run(|| {
        let mut socket = Socket::route().expect("rtnetlink answers");
        let mut own = AddressMessage::default();
        own.header.family = AddressFamily::Inet;
        own.header.index = 1;
        own.header.prefix_len = 8;
        own.attributes
            .push(AddressAttribute::Local(LOOPBACK.into()));
        socket
            .request(RouteNetlinkMessage::DelAddress(own), 0)
            .expect("127.0.0.1 is there");
        let index = link::find(&mut socket, "eth0")
            .expect("can look")
            .expect("is there")
            .index;
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.destination_prefix_length = 8;
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.protocol = RouteProtocol::Static;
        route.header.scope = RouteScope::Universe;
        route.header.kind = RouteType::Unicast;
        let network = Ipv4Addr::new(127, 0, 0, 0);
        route.attributes = vec![
            RouteAttribute::Destination(network.into()),
            RouteAttribute::Gateway(gateway.into()),
            RouteAttribute::Oif(index),
        ];
        socket
            .request(RouteNetlinkMessage::NewRoute(route), 0x400)
            .expect("the route is taken");
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("is there");
    });
}

#[test]
fn a_neighbour_cannot_reach_what_is_published_on_loopback() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        web.serve(80);
        let mut firewall = firewall(&two_bridges());
        for protocol in [Tcp, Udp] {
            firewall
                .add_port(&published(protocol, "127.0.0.1", 8081, &web, 80))
                .expect("is published");
            firewall
                .add_port(&published(protocol, "0.0.0.0", 8080, &web, 80))
                .expect("is published");
        }
        send_loopback_to(&lan, HOST_ON_LAN);
        for protocol in [Tcp, Udp] {
            ask_from_host(protocol, LOOPBACK, 8081).expect("is published");
            for port in [8080, 8081] {
                assert!(
                    lan.is_refused(protocol, LOOPBACK, port),
                    "{protocol} {port}"
                );
            }
        }
        if has_nft() {
            nft("flush chain inet gtest guard");
            lan.ask(Tcp, LOOPBACK, 8081)
                .expect("the mutant lets the attack through");
        }
    });
}

#[test]
fn a_container_cannot_reach_the_hosts_loopback() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let attacker = world.node("gtest0", "172.30.0.2/24");
        serve(SocketAddr::from((LOOPBACK, 9000)));
        let _firewall = firewall(&two_bridges());
        ask_from_host(Tcp, LOOPBACK, 9000).expect("the host's own service answers");
        send_loopback_to(&attacker, Ipv4Addr::new(172, 30, 0, 1));
        for protocol in [Tcp, Udp] {
            assert!(attacker.is_refused(protocol, LOOPBACK, 9000), "{protocol}");
        }
        if has_nft() {
            nft("flush chain inet gtest guard");
            attacker
                .ask(Tcp, LOOPBACK, 9000)
                .expect("the mutant lets the attack through");
        }
    });
}

#[test]
fn a_router_leaves_alone_what_passes_by() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        world.bridge("eth1", "198.51.100.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        let remote = world.node("eth1", "198.51.100.2/24");
        web.serve(80);
        remote.serve(8080);
        let mut firewall = firewall(&two_bridges());
        firewall
            .add_port(&published(Tcp, "0.0.0.0", 8080, &web, 80))
            .expect("is published");
        assert_eq!(lan.ask(Tcp, remote.v4, 8080).expect("is routed"), lan.v4);
        assert_eq!(
            web.ask(Tcp, remote.v4, 8080).expect("is routed"),
            Ipv4Addr::new(198, 51, 100, 1),
            "masqueraded"
        );
        if has_nft() {
            // The remote machine's own answer can then not come, as the web server answers in its place.
            nft("flush chain inet gtest prerouting");
            nft("add rule inet gtest prerouting jump published");
            remote
                .run(|| std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1"))
                .expect("is there");
            gantry_network::endpoint::remove(&mut world.host, &remote.host_name)
                .expect("was there");
            lan.ask(Tcp, remote.v4, 8080)
                .expect("the mutant takes what is not its own");
        }
    });
}

#[test]
fn forwarding_that_we_switched_on_serves_only_our_bridges() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        world.bridge("eth1", "198.51.100.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        let remote = world.node("eth1", "198.51.100.2/24");
        for node in [&web, &lan, &remote] {
            node.serve(80);
        }
        let mut firewall = firewall(&Desired {
            drops_foreign_forwarding: true,
            ..two_bridges()
        });
        firewall
            .add_port(&published(Tcp, "0.0.0.0", 8080, &web, 80))
            .expect("is published");
        assert!(
            lan.is_refused(Tcp, remote.v4, 80),
            "the host became a router between its networks"
        );
        assert_eq!(
            web.ask(Tcp, remote.v4, 80).expect("outward"),
            Ipv4Addr::new(198, 51, 100, 1)
        );
        assert_eq!(lan.ask(Tcp, HOST_ON_LAN, 8080).expect("published"), lan.v4);
        firewall
            .apply(&render(&two_bridges()))
            .expect("the table is accepted");
        assert_eq!(
            lan.ask(Tcp, remote.v4, 80)
                .expect("a host that routed before goes on"),
            lan.v4
        );
    });
}

#[test]
fn internal_networks_reach_nothing_and_are_not_reached() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        world.bridge("gtest1", "172.31.0.1/24", None);
        let open = world.node("gtest0", "172.30.0.2/24");
        let [inside, neighbour] =
            ["172.31.0.2/24", "172.31.0.3/24"].map(|v4| world.node("gtest1", v4));
        let lan = world.node("eth0", "192.0.2.2/24");
        for node in [&open, &inside, &neighbour, &lan] {
            node.serve(80);
        }
        let mut desired = two_bridges();
        desired.bridges[1].is_internal = true;
        let mut firewall = firewall(&desired);
        firewall
            .add_port(&published(Tcp, "0.0.0.0", 8080, &open, 80))
            .expect("is published");
        inside
            .ask(Tcp, neighbour.v4, 80)
            .expect("neighbours reach each other");
        assert!(inside.is_refused(Tcp, lan.v4, 80), "to the LAN");
        assert!(inside.is_refused(Udp, lan.v4, 80), "to the LAN");
        assert!(inside.is_refused(Tcp, open.v4, 80), "to another bridge");
        assert!(
            inside.is_refused(Tcp, HOST_ON_LAN, 8080),
            "to a published port of another bridge"
        );
        assert!(open.is_refused(Tcp, inside.v4, 80), "from another bridge");
        assert!(lan.is_refused(Tcp, inside.v4, 80), "from the LAN");
        open.ask(Tcp, lan.v4, 80)
            .expect("the other bridge is as open as ever");
    });
}

#[test]
fn without_inter_container_communication_only_published_ports_answer() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let [one, two] = ["172.30.0.2/24", "172.30.0.3/24"].map(|v4| {
            let endpoint = world.endpoint("gtest0", v4, None);
            world.attach(gantry_network::endpoint::Endpoint {
                is_isolated: true,
                ..endpoint
            })
        });
        let lan = world.node("eth0", "192.0.2.2/24");
        for node in [&one, &two, &lan] {
            node.serve(80);
        }
        // With it, translated packets are bridged instead of routed, and stopped at the isolated port.
        bridged_packets_pass_the_firewall(false);
        let closed = BridgeRules {
            allows_inter_container: false,
            ..rules("gtest0", "172.30.0.1/24")
        };
        let mut firewall = firewall(&Desired {
            bridges: vec![closed],
            ..Desired::default()
        });
        firewall
            .add_port(&published(Tcp, "0.0.0.0", 8080, &two, 80))
            .expect("is published");
        assert!(one.is_refused(Tcp, two.v4, 80));
        assert!(one.is_refused(Udp, two.v4, 80));
        one.ask(Tcp, HOST_ON_LAN, 8080)
            .expect("by the host's address");
        one.ask(Tcp, lan.v4, 80).expect("outward");
        ask_from_host(Tcp, one.v4, 80).expect("from the host");
    });
}

/// An ICMPv6 router advertisement that offers its sender as default router for half an hour.
fn advertise_router(node: &Node) {
    node.run(|| {
        use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};
        let socket =
            rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))
                .expect("we are root");
        sockopt::set_ipv6_multicast_hops(&socket, 255).expect("is valid");
        let index = link::find(&mut Socket::route().expect("answers"), "eth0")
            .expect("can look")
            .expect("is there")
            .index;
        let message = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let everybody = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
        let is_ready = (0..600).any(|_| {
            // Advertisements only count from the link's own address, and that is not valid at once.
            std::thread::sleep(Duration::from_millis(50));
            let addresses =
                std::fs::read_to_string("/proc/thread-self/net/if_inet6").expect("is there");
            addresses.lines().any(|line| {
                line.starts_with("fe80") && line.contains(" 20 80 ") && line.ends_with("eth0")
            })
        });
        assert!(is_ready, "the attacker has no address");
        rustix::net::sendto(
            &socket,
            &message,
            rustix::net::SendFlags::empty(),
            &everybody,
        )
        .expect("can be sent");
    });
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn router_advertisements_of_containers_are_not_heard() {
    on_host(|world| {
        let v6_default = |world: &mut World| {
            let routes = route::list(&mut world.host).expect("can list");
            routes
                .iter()
                .any(|route| matches!(route.destination, IpNet::V6(net) if net.prefix_len() == 0))
        };
        world.bridge("gtest0", "172.30.0.1/24", Some("fd00:30::1/64"));
        let endpoint = world.endpoint("gtest0", "172.30.0.2/24", Some("fd00:30::2/64"));
        let attacker = world.attach(endpoint);
        advertise_router(&attacker);
        assert!(
            !v6_default(world),
            "the host took a container for its router"
        );
        std::fs::write("/proc/sys/net/ipv6/conf/gtest0/accept_ra", "2").expect("is there");
        advertise_router(&attacker);
        let is_heard = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            v6_default(world)
        });
        assert!(is_heard, "the mutant must hear it");
    });
}

#[test]
fn a_bridge_without_ipv6_has_none() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        for (name, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
            let path = format!("/proc/sys/net/ipv6/conf/gtest0/{name}");
            assert_eq!(
                std::fs::read_to_string(path).expect("is there").trim(),
                value,
                "{name}"
            );
        }
    });
}
