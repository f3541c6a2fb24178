//! What passes and what does not, with the addresses that each side sees.

use crate::golden::{has_nft, nft};
use crate::world::{
    HOST_ON_LAN, ask_from_host, bridged_packets_pass_the_firewall, is_refused_from_host, on_host,
    published, tcp_retransmissions, two_bridges,
};
use gantry_network::firewall::PortProtocol::{Tcp, Udp};
use gantry_network::firewall::{Firewall, ForeignDrop, PublishedPort, render};
use gantry_network::{bridge, endpoint, link};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn reachability_of_published_and_unpublished_ports() {
    reachability(false);
}

#[test]
fn reachability_where_bridged_packets_pass_the_firewall() {
    reachability(true);
}

/// The actors of the matrix.
#[derive(Debug, Clone, Copy)]
enum Who {
    Host,
    /// Another machine in the host's LAN, whose default route leads to the host.
    Lan,
    /// The container with the ports.
    Web,
    /// Another one on its bridge.
    Neighbour,
    /// One on another bridge.
    Foreign,
}
use Who::{Foreign, Host, Lan, Neighbour, Web};

const WEB: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
const LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Who asks where, and as whom the server sees it; none where nothing must answer.
const MATRIX: [(Who, Ipv4Addr, u16, Option<Ipv4Addr>); 19] = [
    // 8080 is published on all addresses.
    (Host, LOOPBACK, 8080, Some(GATEWAY)),
    (Host, HOST_ON_LAN, 8080, Some(HOST_ON_LAN)),
    (Lan, HOST_ON_LAN, 8080, Some(LAN)),
    (Web, HOST_ON_LAN, 8080, Some(GATEWAY)),
    (Neighbour, HOST_ON_LAN, 8080, Some(GATEWAY)),
    (Neighbour, GATEWAY, 8080, Some(GATEWAY)),
    (Foreign, HOST_ON_LAN, 8080, Some(FOREIGN)),
    // 8081 on loopback.
    (Host, LOOPBACK, 8081, Some(GATEWAY)),
    (Host, HOST_ON_LAN, 8081, None),
    (Lan, HOST_ON_LAN, 8081, None),
    // 8082 on the address in the LAN.
    (Lan, HOST_ON_LAN, 8082, Some(LAN)),
    (Host, LOOPBACK, 8082, None),
    // What is not published.
    (Lan, HOST_ON_LAN, 81, None),
    (Lan, WEB, 80, None),
    (Lan, WEB, 81, None),
    (Foreign, WEB, 80, None),
    (Host, WEB, 81, Some(GATEWAY)),
    // Outward, with the host's address.
    (Web, LAN, 80, Some(HOST_ON_LAN)),
    (Foreign, LAN, 80, Some(HOST_ON_LAN)),
];

fn reachability(is_bridged_filtered: bool) {
    on_host(|world| {
        if !bridged_packets_pass_the_firewall(is_bridged_filtered) && is_bridged_filtered {
            println!("skipped: br_netfilter is not loaded");
            return;
        }
        world.bridge("gtest0", "172.30.0.1/24", None);
        world.bridge("gtest1", "172.31.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let neighbour = world.node("gtest0", "172.30.0.3/24");
        let foreign = world.node("gtest1", "172.31.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        for (node, port) in [(&web, 80), (&web, 81), (&lan, 80)] {
            node.serve(port);
        }
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall
            .apply(&render(&two_bridges()))
            .expect("the table is accepted");
        for (protocol, (host_ip, port)) in [Tcp, Udp].into_iter().flat_map(|p| {
            [("0.0.0.0", 8080), ("127.0.0.1", 8081), ("192.0.2.1", 8082)].map(|b| (p, b))
        }) {
            firewall
                .add_port(&published(protocol, host_ip, port, &web, 80))
                .expect("is published");
        }
        let seen_as = |who, protocol, address: Ipv4Addr, port, answers| {
            let node = match who {
                Host if answers => return ask_from_host(protocol, address, port).ok(),
                Host => {
                    return (!is_refused_from_host(protocol, address, port))
                        .then_some(address.into());
                }
                Lan => &lan,
                Web => &web,
                Neighbour => &neighbour,
                Foreign => &foreign,
            };
            if answers {
                return node.ask(protocol, address, port).ok();
            }
            (!node.is_refused(protocol, address, port)).then_some(address.into())
        };
        for protocol in [Tcp, Udp] {
            for (who, address, port, expected) in MATRIX {
                let seen = seen_as(who, protocol, address, port, expected.is_some());
                assert_eq!(
                    seen,
                    expected.map(IpAddr::V4),
                    "{who:?} asks {address} {port}/{protocol}"
                );
            }
        }
    });
}

#[test]
fn ipv6_is_published_and_masqueraded_too() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", Some("fd00:30::1/64"));
        world.bridge("eth0", "192.0.2.1/24", Some("2001:db8::1/64"));
        let [web, neighbour] = [2, 3].map(|host| {
            let (v4, v6) = (format!("172.30.0.{host}/24"), format!("fd00:30::{host}/64"));
            let endpoint = world.endpoint("gtest0", &v4, Some(&v6));
            world.attach(endpoint)
        });
        let endpoint = world.endpoint("eth0", "192.0.2.2/24", Some("2001:db8::2/64"));
        let lan = world.attach(endpoint);
        web.serve(80);
        lan.serve(80);
        let mut desired = two_bridges();
        desired.bridges[0].v6 = Some("fd00:30::/64".parse().expect("is a network"));
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall
            .apply(&render(&desired))
            .expect("the table is accepted");
        let address = |text: &str| text.parse::<IpAddr>().expect("is an address");
        let [host, gateway, lan_v6] = ["2001:db8::1", "fd00:30::1", "2001:db8::2"].map(address);
        for protocol in [Tcp, Udp] {
            let port = PublishedPort {
                container_ip: address("fd00:30::2"),
                ..published(protocol, "::", 8080, &web, 80)
            };
            let bound = PublishedPort {
                host_ip: gateway,
                host_port: 8081,
                ..port.clone()
            };
            firewall.add_ports(&[port, bound]).expect("are published");
            assert_eq!(lan.ask(protocol, host, 8080).expect("lan"), lan_v6);
            assert_eq!(ask_from_host(protocol, host, 8080).expect("host"), host);
            assert_eq!(web.ask(protocol, host, 8080).expect("hairpin"), gateway);
            assert_eq!(
                neighbour
                    .ask(protocol, host, 8080)
                    .expect("hairpin of a neighbour"),
                gateway
            );
            assert_eq!(
                neighbour.ask(protocol, gateway, 8081).expect("bound"),
                gateway
            );
            assert!(
                lan.is_refused(protocol, host, 8081),
                "bound to another address"
            );
            assert!(
                lan.is_refused(protocol, address("fd00:30::2"), 80),
                "routed to a container"
            );
            assert_eq!(
                web.ask(protocol, lan_v6, 80).expect("outward"),
                host,
                "masqueraded"
            );
            let error = ask_from_host(protocol, address("::1"), 8080)
                .expect_err("the kernel cannot route ::1");
            assert_eq!(
                error.kind(),
                ErrorKind::ConnectionRefused,
                "clients would wait before they try IPv4"
            );
        }
    });
}

/// New connections and one that stands, while the whole table is replaced again and again.
#[test]
fn replacing_the_table_loses_no_packet() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        web.serve(80);
        let mut desired = two_bridges();
        desired
            .ports
            .push(published(Tcp, "0.0.0.0", 8080, &web, 80));
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall
            .apply(&render(&desired))
            .expect("the table is accepted");
        let echo = web.run(|| TcpListener::bind("0.0.0.0:7").expect("is free"));
        firewall
            .add_port(&published(Tcp, "0.0.0.0", 8007, &web, 7))
            .expect("is published");
        let mut standing =
            lan.run(|| TcpStream::connect((HOST_ON_LAN, 8007)).expect("is published"));
        let (mut far, _) = echo.accept().expect("there is one");
        standing
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("is valid");
        let is_over = AtomicBool::new(false);
        let (replaced, connected) = std::thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    firewall
                        .apply(&render(&desired))
                        .expect("the table is accepted");
                    count += 1;
                }
                count
            });
            let _replacing_ends = SetOnDrop(&is_over);
            let mut connected = 0;
            while connected < 1_000 {
                lan.ask(Tcp, HOST_ON_LAN, 8080)
                    .expect("a connection was refused");
                far.write_all(b"x").expect("the standing connection broke");
                standing
                    .read_exact(&mut [0])
                    .expect("the standing connection broke");
                connected += 1;
            }
            is_over.store(true, Ordering::Relaxed);
            (replacing.join().expect("no replacement failed"), connected)
        });
        println!("{connected} connections during {replaced} replacements");
        assert!(replaced > 0, "the test's own premise");
        assert_eq!(lan.run(tcp_retransmissions), 0, "a packet was lost");
    });
}

/// Ends the other thread also when this one panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flushed_table_is_noticed_and_nothing_is_left_in_the_end() {
    on_host(|world| {
        let before = link::list(&mut world.host).expect("can list");
        world.bridge("gtest0", "172.30.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        assert!(!firewall.is_present().expect("can look"));
        let port = published(Tcp, "0.0.0.0", 8080, &web, 80);
        let error = firewall
            .add_port(&port)
            .expect_err("there is no table")
            .to_string();
        assert_eq!(
            error,
            "cannot publish port 8080/tcp of 0.0.0.0: no such file or directory"
        );
        firewall
            .apply(&render(&two_bridges()))
            .expect("the table is accepted");
        let mut other = Firewall::open("gtest-other").expect("nfnetlink answers");
        other
            .apply(&render(&two_bridges()))
            .expect("two daemons have two tables");
        assert!(firewall.is_present().expect("can look") && other.is_present().expect("can look"));
        assert!(other.remove().expect("can be removed") && !other.remove().expect("is no error"));
        assert!(
            firewall.is_present().expect("can look"),
            "the other one's table went too"
        );
        assert!(firewall.remove().expect("can be removed"));
        endpoint::remove(&mut world.host, &web.host_name).expect("can be removed");
        bridge::remove(&mut world.host, "gtest0").expect("can be removed");
        assert_eq!(link::list(&mut world.host).expect("can list"), before);
        if has_nft() {
            let output = Command::new("nft")
                .args(["list", "ruleset"])
                .output()
                .expect("nft starts");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        }
    });
}

#[test]
fn names_that_are_no_tables_are_refused() {
    for name in ["", "a b", "1a", "a;b", "ä"] {
        assert!(Firewall::open(name).is_err(), "{name:?}");
    }
}

/// As a dockerd or ufw on the same host has it.
const IPTABLES: &str = "table ip filter {
    chain DOCKER-USER { }
    chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; }
}
table inet strict { chain forward { type filter hook forward priority 10; policy accept; }
}
";

#[test]
fn forwarding_that_iptables_drops_is_let_through() {
    if !has_nft() {
        return;
    }
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        let lan = world.node("eth0", "192.0.2.2/24");
        for node in [&web, &lan] {
            node.serve(80);
        }
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        let mut desired = two_bridges();
        desired
            .ports
            .push(published(Tcp, "0.0.0.0", 8080, &web, 80));
        firewall
            .apply(&render(&desired))
            .expect("the table is accepted");
        nft(IPTABLES);
        assert!(
            lan.is_refused(Tcp, HOST_ON_LAN, 8080),
            "the test's own premise"
        );
        assert_eq!(
            firewall
                .ensure_foreign_accepts(&["gtest0"])
                .expect("can change"),
            []
        );
        lan.ask(Tcp, HOST_ON_LAN, 8080).expect("published");
        web.ask(Tcp, lan.v4, 80).expect("outward");
        assert!(lan.is_refused(Tcp, web.v4, 80), "our own table still drops");
    });
}

#[test]
fn rules_in_the_tables_of_others_are_kept_in_step() {
    if !has_nft() {
        return;
    }
    on_host(|_| {
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        let mut ensure = |bridges: &[&str]| {
            firewall
                .ensure_foreign_accepts(bridges)
                .expect("can change")
        };
        assert_eq!(ensure(&["gtest0"]), []);
        nft(IPTABLES);
        let accepts = || {
            let output = Command::new("nft")
                .args(["list", "chain", "ip", "filter", "FORWARD"])
                .output()
                .expect("nft starts");
            String::from_utf8_lossy(&output.stdout)
                .matches(" accept comment ")
                .count()
        };
        for (bridges, expected) in [
            (&["gtest0"][..], 2),
            (&["gtest0"], 2),
            (&["gtest0", "gtest1"], 4),
            (&["gtest1"], 2),
            (&[], 0),
            (&["gtest0"], 2),
        ] {
            assert_eq!(ensure(bridges), []);
            assert_eq!(accepts(), expected, "for {bridges:?}");
        }
        if let Ok(iptables) = Command::new("iptables-nft")
            .args(["-S", "FORWARD"])
            .output()
        {
            let text = String::from_utf8_lossy(&iptables.stdout).into_owned();
            assert!(
                text.contains("-i gtest0") && text.contains("-j ACCEPT"),
                "iptables cannot read our rules:\n{text}"
            );
        }
        nft("delete chain inet strict forward
            add chain inet strict forward { type filter hook forward priority 10; policy drop; }");
        assert_eq!(
            ensure(&["gtest0"]),
            [ForeignDrop {
                table: "inet strict".into(),
                chain: "forward".into()
            }]
        );
        firewall.remove_foreign_accepts().expect("can change");
        assert_eq!(accepts(), 0);
    });
}
