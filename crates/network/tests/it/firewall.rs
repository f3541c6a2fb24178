//! What passes and what does not, with the addresses that each side sees.

use crate::world::{HOST_ON_LAN, ask_from_host, is_refused_from_host, on_host, published, two_bridges};
use gantry_network::firewall::PortProtocol::{Tcp, Udp};
use gantry_network::firewall::{Firewall, render};
use std::net::{IpAddr, Ipv4Addr};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn reachability_of_published_and_unpublished_ports() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        world.bridge("gtest1", "172.31.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let neighbour = world.node("gtest0", "172.30.0.3/24");
        let foreign = world.node("gtest1", "172.31.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        web.serve(80);
        web.serve(81);
        lan.serve(80);
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall.apply(&render(&two_bridges())).expect("the table is accepted");
        let mut ports = Vec::new();
        for protocol in [Tcp, Udp] {
            ports.push(published(protocol, "0.0.0.0", 8080, &web, 80));
            ports.push(published(protocol, "127.0.0.1", 8081, &web, 80));
            ports.push(published(protocol, "192.0.2.1", 8082, &web, 80));
        }
        firewall.add_ports(&ports).expect("are published");
        let gateway = IpAddr::from([172, 30, 0, 1]);
        for protocol in [Tcp, Udp] {
            // Published on all addresses.
            assert_eq!(ask_from_host(protocol, LOOPBACK, 8080).expect("loopback"), gateway);
            assert_eq!(ask_from_host(protocol, HOST_ON_LAN, 8080).expect("host"), IpAddr::V4(HOST_ON_LAN));
            assert_eq!(lan.ask(protocol, HOST_ON_LAN, 8080).expect("lan"), lan.v4);
            assert_eq!(web.ask(protocol, HOST_ON_LAN, 8080).expect("hairpin"), gateway);
            assert_eq!(neighbour.ask(protocol, HOST_ON_LAN, 8080).expect("hairpin of a neighbour"), gateway);
            assert_eq!(foreign.ask(protocol, HOST_ON_LAN, 8080).expect("other bridge"), foreign.v4);
            // Published on loopback.
            assert_eq!(ask_from_host(protocol, LOOPBACK, 8081).expect("loopback"), gateway);
            assert!(lan.is_refused(protocol, HOST_ON_LAN, 8081));
            assert!(is_refused_from_host(protocol, HOST_ON_LAN, 8081));
            // Published on one address.
            assert_eq!(lan.ask(protocol, HOST_ON_LAN, 8082).expect("bound"), lan.v4);
            assert!(is_refused_from_host(protocol, LOOPBACK, 8082));
            // Not published.
            assert!(lan.is_refused(protocol, HOST_ON_LAN, 81));
            assert!(lan.is_refused(protocol, web.v4, 80), "routed to a container");
            assert!(lan.is_refused(protocol, web.v4, 81), "routed to a container");
            assert!(foreign.is_refused(protocol, web.v4, 80), "between bridges");
            assert_eq!(ask_from_host(protocol, web.v4, 81).expect("the host reaches its containers"), gateway);
            // Outward.
            assert_eq!(web.ask(protocol, lan.v4, 80).expect("outward"), IpAddr::V4(HOST_ON_LAN), "masqueraded");
        }
        firewall.remove_ports(&ports).expect("are taken back");
        for protocol in [Tcp, Udp] {
            assert!(is_refused_from_host(protocol, LOOPBACK, 8080));
            assert!(lan.is_refused(protocol, HOST_ON_LAN, 8080));
        }
        assert!(firewall.remove().expect("can be removed"));
        assert!(!firewall.is_present().expect("can look"));
    });
}
