//! What is wanted, as a table. Pure: the same wishes give the same table, in whatever order they are listed.

use super::port_map::PortMap;
use super::ruleset::{
    Base, Chain, Data, DataType, Direction, Element, End, Field, Hook, Set, Statement, Value,
    Verdict,
};
use super::{BridgeRules, Desired, GatewayMode, PortProtocol, PublishedPort, Ruleset};
use ipnet::{IpNet, Ipv4Net};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const LOOPBACK_V4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

const BRIDGES: &str = "bridges";
const FORWARD_FROM: &str = "forward_from";
const FORWARD_TO: &str = "forward_to";
const NAT_TO: &str = "nat_to";
const PUBLISHED: &str = "published";

/// The table that expresses `desired`.
pub fn render(desired: &Desired) -> Ruleset {
    let mut bridges: Vec<&BridgeRules> = desired.bridges.iter().collect();
    bridges.sort_by(|one, other| one.name.cmp(&other.name));
    bridges.dedup_by(|one, other| one.name == other.name);
    let ports = with_direct(desired, &desired.ports);
    let maps = PortMap::ALL.iter().chain(&PortMap::DIRECT);
    let mut sets: Vec<Set> = maps.map(|map| map.render(&ports)).collect();
    sets.extend([
        Set {
            name: BRIDGES.to_owned(),
            key: vec![Field::Interface],
            data: None,
            elements: bridges
                .iter()
                .map(|bridge| element(interface(bridge), None))
                .collect(),
        },
        verdicts(
            NAT_TO,
            bridges.iter().map(|bridge| (*bridge, goto(NAT_TO, bridge))),
        ),
        verdicts(
            FORWARD_TO,
            bridges
                .iter()
                .map(|bridge| (*bridge, goto(FORWARD_TO, bridge))),
        ),
        verdicts(
            FORWARD_FROM,
            bridges
                .iter()
                .filter(|bridge| bridge.is_internal)
                .map(|bridge| (*bridge, goto(FORWARD_FROM, bridge))),
        ),
    ]);
    let mut chains = base_chains(desired, &bridges);
    chains.push(published());
    chains.extend(bridges.iter().flat_map(|bridge| bridge_chains(bridge)));
    Ruleset { sets, chains }
}

/// `ports`, and what of them is also reachable at the container's own address, as its bridge trusts some interfaces.
pub fn with_direct(desired: &Desired, ports: &[PublishedPort]) -> Vec<PublishedPort> {
    let is_trusting = |port: &&PublishedPort| {
        desired.bridges.iter().any(|bridge| {
            !bridge.trusted_interfaces.is_empty()
                && subnets(bridge)
                    .iter()
                    .any(|subnet| subnet.contains(&port.container_ip))
        })
    };
    let direct = ports
        .iter()
        .filter(is_trusting)
        .map(|port| PublishedPort::direct(port.protocol, port.container_ip, port.container_port));
    let mut all = ports.to_vec();
    all.extend(direct);
    all
}

/// The table of a container's own namespace: leads port 53 of `address` to the sockets of its name server.
pub fn resolver_rules(address: Ipv4Addr, udp_port: u16, tcp_port: u16) -> Ruleset {
    const DOMAIN: u16 = 53;
    let map = PortMap {
        name: "resolver",
        field: Field::V4,
        is_bound: true,
        is_direct: false,
    };
    let port = |protocol, container_port| PublishedPort {
        protocol,
        host_ip: IpAddr::V4(address),
        host_port: DOMAIN,
        container_ip: IpAddr::V4(address),
        container_port,
    };
    let ports = [
        port(PortProtocol::Tcp, tcp_port),
        port(PortProtocol::Udp, udp_port),
    ];
    let to_resolver = Statement::TranslateDestination {
        field: map.field,
        is_bound: map.is_bound,
        map: map.name,
    };
    let output = Chain {
        name: "output".to_owned(),
        base: Some(Base {
            kind: "nat",
            hook: Hook::Output,
            priority: -100,
        }),
        rules: vec![vec![to_resolver]],
    };
    Ruleset {
        sets: vec![Set {
            elements: ports.iter().map(|port| map.element(port)).collect(),
            ..map.definition()
        }],
        chains: vec![output],
    }
}

/// What leaves by other interfaces than our bridges gets the host's address.
///
/// A rule for each network instead of a set of networks: only the first packet of an outgoing connection comes here, and
/// the kernel's sets of intervals cannot be trusted to be emptied and filled in one transaction.
fn postrouting(bridges: &[&BridgeRules]) -> Vec<Vec<Statement>> {
    let mut rules = vec![vec![Statement::InterfaceVerdict {
        direction: Direction::Out,
        map: NAT_TO,
    }]];
    for bridge in bridges
        .iter()
        .filter(|bridge| bridge.masquerades && !bridge.is_internal)
    {
        for network in subnets(bridge)
            .into_iter()
            .filter(|network| mode(bridge, network) != GatewayMode::Routed)
        {
            rules.push(vec![
                Statement::Address {
                    end: End::Source,
                    is: true,
                    network,
                },
                Statement::Masquerade,
            ]);
        }
    }
    rules
}

fn verdicts<'a>(name: &str, of_bridges: impl Iterator<Item = (&'a BridgeRules, Verdict)>) -> Set {
    Set {
        name: name.to_owned(),
        key: vec![Field::Interface],
        data: Some(DataType::Verdict),
        elements: of_bridges
            .map(|(bridge, verdict)| element(interface(bridge), Some(Data::Verdict(verdict))))
            .collect(),
    }
}

/// What only packets to or from one bridge pass through.
fn bridge_chains(bridge: &BridgeRules) -> Vec<Chain> {
    let from_itself = Statement::Interface {
        direction: Direction::In,
        is: true,
        name: bridge.name.clone(),
    };
    let mut forward_to = Vec::new();
    if bridge.is_internal {
        let verdict = if bridge.allows_inter_container {
            Verdict::Accept
        } else {
            Verdict::Drop
        };
        forward_to.push(vec![from_itself, Statement::Verdict(verdict)]);
    } else {
        forward_to.push(vec![Statement::Established, accept()]);
        if bridge.allows_inter_container {
            forward_to.push(vec![from_itself, accept()]);
        }
        forward_to.push(vec![Statement::DestinationTranslated, accept()]);
        for network in subnets(bridge)
            .into_iter()
            .filter(|network| mode(bridge, network) == GatewayMode::NatUnprotected)
        {
            let to_it = Statement::Address {
                end: End::Destination,
                is: true,
                network,
            };
            forward_to.push(vec![to_it, accept()]);
        }
        forward_to.extend(direct_rules(bridge));
    }
    forward_to.push(vec![drop_packet()]);
    let mut chains = vec![Chain {
        name: chain_name(FORWARD_TO, bridge),
        base: None,
        rules: forward_to,
    }];
    if bridge.is_internal {
        let to_itself = Statement::Interface {
            direction: Direction::Out,
            is: false,
            name: bridge.name.clone(),
        };
        let rules = vec![vec![to_itself, drop_packet()]];
        chains.push(Chain {
            name: chain_name(FORWARD_FROM, bridge),
            base: None,
            rules,
        });
    }
    chains.push(Chain {
        name: chain_name(NAT_TO, bridge),
        base: None,
        rules: nat_rules(bridge),
    });
    chains
}

/// What reaches containers at their own addresses: published ports of routed networks, and of others for trusted interfaces.
fn direct_rules(bridge: &BridgeRules) -> Vec<Vec<Statement>> {
    let mut rules = Vec::new();
    for network in subnets(bridge) {
        let set = PortMap::DIRECT[usize::from(network.addr().is_ipv6())];
        let to_published = Statement::DestinationSet {
            field: set.field,
            set: set.name,
        };
        if mode(bridge, &network) == GatewayMode::Routed {
            rules.push(vec![to_published, accept()]);
            rules.push(vec![Statement::ControlMessage(set.field), accept()]);
            continue;
        }
        for name in &bridge.trusted_interfaces {
            let from = Statement::Interface {
                direction: Direction::In,
                is: true,
                name: name.clone(),
            };
            rules.push(vec![from, to_published.clone(), accept()]);
        }
    }
    rules
}

/// Who speaks to a published port from the host's loopback, or from the bridge itself, gets the host's address: the
/// answer must come back through the host to be translated back.
fn nat_rules(bridge: &BridgeRules) -> Vec<Vec<Statement>> {
    let from = |network| Statement::Address {
        end: End::Source,
        is: true,
        network,
    };
    let mut rules = vec![vec![from(LOOPBACK_V4), Statement::Masquerade]];
    for subnet in subnets(bridge) {
        rules.push(vec![
            from(subnet),
            Statement::DestinationTranslated,
            Statement::Masquerade,
        ]);
    }
    rules
}

/// Translates what goes to a published port.
fn published() -> Chain {
    let translate = |map: PortMap| {
        vec![Statement::TranslateDestination {
            field: map.field,
            is_bound: map.is_bound,
            map: map.name,
        }]
    };
    Chain {
        name: PUBLISHED.to_owned(),
        base: None,
        rules: PortMap::ALL.map(translate).into(),
    }
}

/// The chains in the packets' way, in the order in which packets meet them.
fn base_chains(desired: &Desired, bridges: &[&BridgeRules]) -> Vec<Chain> {
    let base = |name: &str, kind, hook, priority, rules| Chain {
        name: name.to_owned(),
        base: Some(Base {
            kind,
            hook,
            priority,
        }),
        rules,
    };
    let publish = || {
        vec![
            Statement::DestinationLocal,
            Statement::Verdict(Verdict::Jump(PUBLISHED.to_owned())),
        ]
    };
    // The kernel never routes ::1 to another interface, so translating it would lose the packet.
    let v6_loopback = IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let to_v6_loopback = Statement::Address {
        end: End::Destination,
        is: true,
        network: v6_loopback,
    };
    let leave = vec![to_v6_loopback, Statement::Verdict(Verdict::Return)];
    vec![
        base("guard", "filter", Hook::Prerouting, -300, guard()),
        base("prerouting", "nat", Hook::Prerouting, -100, vec![publish()]),
        base("output", "nat", Hook::Output, -100, vec![leave, publish()]),
        base("forward", "filter", Hook::Forward, 0, forward(desired)),
        base(
            "postrouting",
            "nat",
            Hook::Postrouting,
            100,
            postrouting(bridges),
        ),
    ]
}

/// Nothing from outside may claim to come from the host's loopback, or go there. Our bridges take such packets, since
/// ports published on the loopback need it; this comes before any translation.
fn guard() -> Vec<Vec<Statement>> {
    let drop_loopback = |end| {
        let from_elsewhere = Statement::Interface {
            direction: Direction::In,
            is: false,
            name: "lo".to_owned(),
        };
        vec![
            from_elsewhere,
            Statement::Address {
                end,
                is: true,
                network: LOOPBACK_V4,
            },
            drop_packet(),
        ]
    };
    vec![drop_loopback(End::Destination), drop_loopback(End::Source)]
}

fn forward(desired: &Desired) -> Vec<Vec<Statement>> {
    let decide = |direction, map| vec![Statement::InterfaceVerdict { direction, map }];
    let mut rules = vec![
        decide(Direction::In, FORWARD_FROM),
        decide(Direction::Out, FORWARD_TO),
    ];
    if desired.drops_foreign_forwarding {
        let foreign = Statement::InterfaceSet {
            direction: Direction::In,
            is: false,
            set: BRIDGES,
        };
        rules.push(vec![foreign, drop_packet()]);
    }
    rules
}

fn mode(bridge: &BridgeRules, network: &IpNet) -> GatewayMode {
    match network {
        IpNet::V4(_) => bridge.mode_v4,
        IpNet::V6(_) => bridge.mode_v6,
    }
}

fn subnets(bridge: &BridgeRules) -> Vec<IpNet> {
    let v4 = bridge.v4.map(|subnet| IpNet::V4(subnet.trunc()));
    let v6 = bridge.v6.map(|subnet| IpNet::V6(subnet.trunc()));
    v4.into_iter().chain(v6).collect()
}

fn element(key: Vec<Value>, data: Option<Data>) -> Element {
    Element { key, data }
}

fn interface(bridge: &BridgeRules) -> Vec<Value> {
    vec![Value::Interface(bridge.name.clone())]
}

fn goto(prefix: &str, bridge: &BridgeRules) -> Verdict {
    Verdict::Goto(chain_name(prefix, bridge))
}

/// Chains take fewer characters in their names than interfaces, so other bytes are written as hexadecimal.
fn chain_name(prefix: &str, bridge: &BridgeRules) -> String {
    let mut name = format!("{prefix}_");
    for byte in bridge.name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            write!(name, ".{byte:02x}").expect("a string takes everything");
        }
    }
    name
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

fn drop_packet() -> Statement {
    Statement::Verdict(Verdict::Drop)
}
