//! What is asked of the host: routes, MTU, forwarding, and whether the kernel can do its part.

use crate::world::on_host;
use gantry_network::{bridge, probe, route};
use netlink_packet_route::route::{
    RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::Ipv4Addr;

fn default_route(index: u32, mtu: Option<u32>) -> RouteNetlinkMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.table = 254;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::Unicast;
    route.attributes = vec![
        RouteAttribute::Gateway(Ipv4Addr::new(192, 0, 2, 254).into()),
        RouteAttribute::Oif(index),
    ];
    if let Some(mtu) = mtu {
        route
            .attributes
            .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    RouteNetlinkMessage::NewRoute(route)
}

#[test]
fn the_mtu_is_that_of_the_way_out() {
    on_host(|world| {
        assert_eq!(
            route::default_mtu(&mut world.host).expect("can look"),
            1500,
            "without a default route"
        );
        let lan = gantry_network::link::find(&mut world.host, "eth0")
            .expect("can look")
            .expect("is there");
        world
            .host
            .request(default_route(lan.index, None), 0x400)
            .expect("is taken");
        let config = bridge::BridgeConfig {
            name: "eth0".to_owned(),
            v4: Some("192.0.2.1/24".parse().expect("is a network")),
            v6: None,
            mtu: 1420,
            mac: None,
            publishes_on_loopback: false,
        };
        bridge::ensure(&mut world.host, &config).expect("can be changed");
        assert_eq!(
            route::default_mtu(&mut world.host).expect("can look"),
            1420,
            "of the link"
        );
        world
            .host
            .request(default_route(lan.index, Some(1280)), 0x100 | 0x400)
            .expect("is replaced");
        assert_eq!(
            route::default_mtu(&mut world.host).expect("can look"),
            1280,
            "of the route itself"
        );
        let destinations: Vec<String> = route::list(&mut world.host)
            .expect("can list")
            .iter()
            .map(|route| route.destination.to_string())
            .collect();
        assert!(
            destinations.contains(&"0.0.0.0/0".to_owned()),
            "{destinations:?}"
        );
        assert!(
            destinations.contains(&"192.0.2.0/24".to_owned()),
            "{destinations:?}"
        );
        assert!(
            !destinations.iter().any(|route| route.starts_with("127.")),
            "local routes: {destinations:?}"
        );
    });
}

#[test]
fn forwarding_is_switched_on_once_and_said_so() {
    on_host(|_| {
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{path}"), "0").expect("is there");
        }
        let first = bridge::ensure_forwarding(false).expect("can be switched on");
        assert_eq!((first.switched_v4_on, first.switched_v6_on), (true, false));
        let second = bridge::ensure_forwarding(true).expect("can be switched on");
        assert_eq!(
            (second.switched_v4_on, second.switched_v6_on),
            (false, true)
        );
        assert_eq!(
            bridge::ensure_forwarding(true).expect("is on"),
            bridge::Forwarding::default()
        );
    });
}

#[test]
fn this_kernel_can_do_it_and_the_probe_leaves_nothing() {
    on_host(|world| {
        let before = gantry_network::link::list(&mut world.host).expect("can list");
        let support = probe::probe().expect("namespaces can be made");
        assert_eq!(
            (support.bridge_problem, support.firewall_problem),
            (None, None)
        );
        assert_eq!(
            gantry_network::link::list(&mut world.host).expect("can list"),
            before
        );
    });
}

#[test]
fn a_link_of_another_kind_is_no_bridge() {
    on_host(|world| {
        let config = bridge::BridgeConfig {
            name: "lo".to_owned(),
            v4: None,
            v6: None,
            mtu: 1500,
            mac: None,
            publishes_on_loopback: false,
        };
        let error = bridge::ensure(&mut world.host, &config)
            .expect_err("is no bridge")
            .to_string();
        assert_eq!(error, "existing interface lo is not a bridge");
        let error = bridge::remove(&mut world.host, "lo")
            .expect_err("is no bridge")
            .to_string();
        assert_eq!(error, "existing interface lo is not a bridge");
    });
}
