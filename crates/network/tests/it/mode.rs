//! How bridges are seen from outside, by their gateway modes: who reaches the containers' own addresses.

use crate::world::{HOST_ON_LAN, on_host, published, two_bridges};
use gantry_network::firewall::PortProtocol::{Tcp, Udp};
use gantry_network::firewall::{
    Desired, Firewall, GatewayMode, PortProtocol, PublishedPort, render, with_direct,
};
use std::net::{IpAddr, Ipv4Addr};

const WEB: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 2);
const LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);

/// Whether port 80, which is published, and port 81, which is not, answer at the container's own address: to the LAN, and to a
/// container of another bridge.
struct Row {
    mode: GatewayMode,
    trusts: Option<&'static str>,
    lan: [bool; 2],
    foreign: [bool; 2],
    /// As whom the LAN sees the container.
    seen_as: Ipv4Addr,
}

const ROWS: [Row; 5] = [
    row(
        GatewayMode::Nat,
        None,
        [false, false],
        [false, false],
        HOST_ON_LAN,
    ),
    row(
        GatewayMode::NatUnprotected,
        None,
        [true, true],
        [true, true],
        HOST_ON_LAN,
    ),
    row(GatewayMode::Routed, None, [true, false], [true, false], WEB),
    row(
        GatewayMode::Nat,
        Some("eth0"),
        [true, false],
        [false, false],
        HOST_ON_LAN,
    ),
    row(
        GatewayMode::Nat,
        Some("gtest1"),
        [false, false],
        [true, false],
        HOST_ON_LAN,
    ),
];

const fn row(
    mode: GatewayMode,
    trusts: Option<&'static str>,
    lan: [bool; 2],
    foreign: [bool; 2],
    seen_as: Ipv4Addr,
) -> Row {
    Row {
        mode,
        trusts,
        lan,
        foreign,
        seen_as,
    }
}

fn desired(row: &Row) -> Desired {
    let mut desired = two_bridges();
    desired.bridges[0].mode_v4 = row.mode;
    desired.bridges[0].trusted_interfaces = row.trusts.map(str::to_owned).into_iter().collect();
    desired
}

#[test]
fn gateway_modes_decide_who_reaches_a_containers_own_address() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        world.bridge("gtest1", "172.31.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let foreign = world.node("gtest1", "172.31.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        for (node, port) in [(&web, 80), (&web, 81), (&lan, 80)] {
            node.serve(port);
        }
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        for row in &ROWS {
            let mut desired = desired(row);
            let port = |protocol: PortProtocol| match row.mode {
                GatewayMode::Routed => PublishedPort::direct(protocol, WEB.into(), 80),
                _ => published(protocol, "0.0.0.0", 8080, &web, 80),
            };
            // Of one protocol with the table, of the other as a change of it.
            desired.ports = vec![port(Tcp)];
            firewall
                .apply(&render(&desired))
                .expect("the table is accepted");
            let udp = with_direct(&desired, &[port(Udp)]);
            firewall.add_ports(&udp).expect("is published");
            assert!(firewall.is_intact(&render(&desired)).expect("can look"));
            for (who, node, address, expected) in [
                ("lan", &lan, LAN, row.lan),
                ("foreign", &foreign, FOREIGN, row.foreign),
            ] {
                for (protocol, (port, answers)) in [Tcp, Udp].into_iter().flat_map(|protocol| {
                    [80, 81]
                        .into_iter()
                        .zip(expected)
                        .map(move |e| (protocol, e))
                }) {
                    let seen = if answers {
                        node.ask(protocol, WEB, port).ok()
                    } else {
                        (!node.is_refused(protocol, WEB, port)).then_some(address.into())
                    };
                    let what = format!(
                        "{:?} {:?}: {who} asks {port}/{protocol}",
                        row.mode, row.trusts
                    );
                    assert_eq!(seen, answers.then_some(IpAddr::V4(address)), "{what}");
                }
            }
            let seen = web.ask(Tcp, LAN, 80).expect("outward");
            assert_eq!(seen, IpAddr::V4(row.seen_as), "{:?}: outward", row.mode);
            firewall.remove_ports(&udp).expect("is taken back");
            if row.mode == GatewayMode::Routed {
                assert!(lan.is_refused(Udp, WEB, 80), "a port that was taken back");
                assert!(
                    lan.is_refused(Tcp, HOST_ON_LAN, 8080),
                    "nothing of the host's is published"
                );
            }
        }
    });
}
