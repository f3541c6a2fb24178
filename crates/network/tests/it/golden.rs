//! The rendered table: as text that people review, and as what the kernel holds after our messages, read back by `nft`.

use crate::world::{on_host, rules};
use gantry_network::firewall::PortProtocol::{Sctp, Tcp, Udp};
use gantry_network::firewall::{
    BridgeRules, Desired, Firewall, GatewayMode, PortProtocol, PublishedPort, Ruleset, render,
    with_direct,
};
use gantry_sys::netns;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// A bit of everything.
fn everything() -> Desired {
    let port =
        |protocol: PortProtocol, host_ip: &str, host_port, container_ip: &str, container_port| {
            PublishedPort {
                protocol,
                host_ip: host_ip.parse().expect("is an address"),
                host_port,
                container_ip: container_ip.parse().expect("is an address"),
                container_port,
            }
        };
    Desired {
        bridges: vec![
            BridgeRules {
                v6: Some("fd00:31::1/64".parse().expect("a network")),
                ..rules("gtest1", "172.31.0.1/16")
            },
            rules("gtest0", "172.30.0.1/24"),
            BridgeRules {
                v6: Some("fd00:32::1/64".parse().expect("a network")),
                mode_v4: GatewayMode::Routed,
                trusted_interfaces: vec!["eth0".into(), "eth1".into()],
                ..rules("routed", "172.32.0.1/24")
            },
            BridgeRules {
                is_internal: true,
                ..rules("inside", "10.7.0.1/29")
            },
            BridgeRules {
                allows_inter_container: false,
                masquerades: false,
                ..rules("br-3ab8575c3fcf", "10.8.0.1/16")
            },
        ],
        ports: vec![
            port(Udp, "0.0.0.0", 53, "172.30.0.3", 5353),
            port(Tcp, "0.0.0.0", 8080, "172.30.0.2", 80),
            port(Tcp, "127.0.0.1", 8081, "172.30.0.2", 80),
            port(Sctp, "192.0.2.1", 9, "172.31.0.2", 9),
            port(Tcp, "::", 8080, "fd00:31::2", 80),
            port(Tcp, "2001:db8::1", 8081, "fd00:31::2", 80),
            port(Tcp, "::", 8082, "fd00:32::2", 80),
            PublishedPort::direct(Tcp, Ipv4Addr::new(172, 32, 0, 2).into(), 80),
        ],
        drops_foreign_forwarding: true,
    }
}

#[test]
fn the_text_is_the_reviewed_one() {
    let text = render(&everything()).text("gantry");
    let reviewed = include_str!("../golden/everything.nft");
    assert!(
        text == reviewed,
        "tests/golden/everything.nft differs from what is rendered now:\n{text}"
    );
}

#[test]
fn the_order_of_the_wishes_does_not_matter() {
    let mut desired = everything();
    let ruleset = render(&desired);
    desired.bridges.reverse();
    desired.ports.reverse();
    assert_eq!(render(&desired), ruleset);
    desired.bridges.extend(desired.bridges.clone());
    desired.ports.extend(desired.ports.clone());
    assert_eq!(render(&desired), ruleset, "a wish said twice");
}

#[test]
fn the_kernel_holds_what_the_text_says() {
    if !has_nft() {
        return;
    }
    for desired in [everything(), Desired::default()] {
        on_host(|_| {
            let ruleset = render(&desired);
            let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
            // Twice, as a replacement must come out like a first application.
            firewall.apply(&ruleset).expect("the table is accepted");
            firewall.apply(&ruleset).expect("the table is replaced");
            let ours = listed();
            assert_eq!(
                words(&ours),
                words(&ruleset.text("gtest")),
                "nft reads:\n{ours}"
            );
            assert_eq!(
                ours,
                listed_after_nft(&ruleset),
                "nft makes something else of the same text"
            );
        });
    }
}

#[test]
fn changes_of_single_ports_are_what_a_new_table_would_say() {
    if !has_nft() {
        return;
    }
    on_host(|_| {
        let mut desired = everything();
        let ports = with_direct(&desired, &desired.ports);
        desired.ports.clear();
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall
            .apply(&render(&desired))
            .expect("the table is accepted");
        let empty = listed();
        firewall.add_ports(&ports).expect("are published");
        assert_eq!(
            words(&listed()),
            words(&render(&everything()).text("gtest"))
        );
        firewall
            .add_ports(&ports)
            .expect("publishing again is no error");
        let moved = PublishedPort {
            container_port: 81,
            ..ports[1].clone()
        };
        firewall
            .add_port(&moved)
            .expect("what a crash left is replaced");
        assert!(listed().contains("tcp . 8080 : 172.30.0.2 . 81"));
        firewall.remove_ports(&ports[..2]).expect("are taken back");
        firewall
            .remove_ports(&ports)
            .expect("some are gone already");
        assert_eq!(listed(), empty);
        let mixed = PublishedPort {
            container_ip: "fd00::2".parse().expect("an address"),
            ..ports[1].clone()
        };
        assert!(
            firewall
                .add_port(&mixed)
                .expect_err("is refused")
                .to_string()
                .contains("different families")
        );
    });
}

#[test]
fn whatever_was_there_becomes_what_is_wanted() {
    if !has_nft() {
        return;
    }
    on_host(|_| {
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        let mut becomes = |desired: &Desired| {
            let ruleset = render(desired);
            firewall.apply(&ruleset).expect("the table is accepted");
            assert_eq!(blocks(&listed()), blocks(&ruleset.text("gtest")));
        };
        becomes(&everything());
        becomes(&Desired::default());
        becomes(&everything());
        // A table of another version: the same names, other shapes, and others besides.
        nft("delete table inet gtest
            table inet gtest {
                map ports_v4 { type ipv4_addr : ipv4_addr; }
                set strange { type ipv4_addr; }
                chain prerouting { type filter hook prerouting priority 7; policy drop; jump old; }
                chain old { ip saddr @strange drop; }
            }");
        becomes(&everything());
    });
}

/// What `nft` holds after reading the text in a namespace of its own.
fn listed_after_nft(ruleset: &Ruleset) -> String {
    let (_namespace, listed) = netns::create_with(|| {
        nft(&ruleset.text("gtest"));
        listed()
    })
    .expect("a namespace can be made");
    listed
}

/// Has `nft` carry out `text`.
pub(crate) fn nft(text: &str) {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft starts");
    nft.stdin
        .take()
        .expect("is piped")
        .write_all(format!("{text}\n").as_bytes())
        .expect("nft reads");
    assert!(
        nft.wait().expect("nft ends").success(),
        "nft does not take this:\n{text}"
    );
}

fn listed() -> String {
    let output = Command::new("nft")
        .args(["list", "table", "inet", "gtest"])
        .output()
        .expect("nft starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("is text")
}

#[test]
fn changes_by_others_are_noticed_and_mended() {
    if !has_nft() {
        return;
    }
    on_host(|_| {
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        let desired = everything();
        let ruleset = render(&desired);
        assert!(
            !firewall.is_intact(&ruleset).expect("can look"),
            "there is no table yet"
        );
        firewall.apply(&ruleset).expect("the table is accepted");
        for harmless in [
            "add table inet other",
            "flush table inet other",
            "add element inet gtest ports_v4 { tcp . 1 : 10.0.0.1 . 1 }",
        ] {
            nft(harmless);
            assert!(
                firewall.is_intact(&ruleset).expect("can look"),
                "{harmless}"
            );
        }
        firewall
            .remove_ports(&desired.ports)
            .expect("are taken back");
        assert!(
            firewall.is_intact(&ruleset).expect("can look"),
            "ports come and go"
        );
        for harm in [
            "flush ruleset",
            "flush table inet gtest",
            "flush chain inet gtest guard",
            "add rule inet gtest forward accept",
            "flush set inet gtest bridges",
            "flush map inet gtest forward_to",
            "add chain inet gtest mine",
        ] {
            nft(harm);
            assert!(!firewall.is_intact(&ruleset).expect("can look"), "{harm}");
            assert!(
                !firewall.is_intact(&ruleset).expect("can look"),
                "{harm}, asked again"
            );
            firewall.apply(&ruleset).expect("the table is accepted");
            assert!(
                firewall.is_intact(&ruleset).expect("can look"),
                "after {harm} was mended"
            );
        }
        assert_eq!(blocks(&listed()), blocks(&ruleset.text("gtest")));
    });
}

/// Sets and chains, in order of their names: the kernel lists chains that stayed before new ones.
fn blocks(text: &str) -> Vec<Vec<String>> {
    let mut blocks: Vec<_> = text
        .trim_end()
        .trim_end_matches('}')
        .split("\t}\n")
        .map(words)
        .collect();
    blocks.sort();
    blocks
}

/// Words without the layout, and elements of sets in order: the kernel hands them out as they hash.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let mut start = 0;
    while let Some(begin) = words[start..]
        .iter()
        .position(|word| word == "elements")
        .map(|at| start + at + 3)
    {
        let end = begin
            + words[begin..]
                .iter()
                .position(|word| word == "}")
                .expect("the list is closed");
        let list = words[begin..end].join(" ");
        let mut elements: Vec<String> = list
            .split(',')
            .map(|element| element.trim().to_owned())
            .collect();
        elements.sort();
        words.splice(begin..end, elements);
        start = begin;
    }
    words
}

pub(crate) fn has_nft() -> bool {
    let has = Command::new("nft").arg("--version").output().is_ok();
    if !has {
        println!("skipped: the nft program is not installed (apt-get install nftables)");
    }
    has
}
