//! The maps and sets that hold the published ports: which of them a port belongs to, and as what element.

use super::PublishedPort;
use super::ruleset::{Data, DataType, Element, Field, Set, Value};
use std::net::IpAddr;

/// One of the four maps from published ports to what is behind them, or one of the two sets of those that nothing translates.
#[derive(Debug, Clone, Copy)]
pub(super) struct PortMap {
    pub(super) name: &'static str,
    pub(super) field: Field,
    pub(super) is_bound: bool,
    pub(super) is_direct: bool,
}

impl PortMap {
    /// Those that name an address come first, as the better match.
    pub(super) const ALL: [Self; 4] = [
        Self {
            name: "ports_v4_bound",
            field: Field::V4,
            is_bound: true,
            is_direct: false,
        },
        Self {
            name: "ports_v4",
            field: Field::V4,
            is_bound: false,
            is_direct: false,
        },
        Self {
            name: "ports_v6_bound",
            field: Field::V6,
            is_bound: true,
            is_direct: false,
        },
        Self {
            name: "ports_v6",
            field: Field::V6,
            is_bound: false,
            is_direct: false,
        },
    ];

    /// What is reachable at a container's own address.
    pub(super) const DIRECT: [Self; 2] = [
        Self {
            name: "ports_v4_direct",
            field: Field::V4,
            is_bound: true,
            is_direct: true,
        },
        Self {
            name: "ports_v6_direct",
            field: Field::V6,
            is_bound: true,
            is_direct: true,
        },
    ];

    /// The map that `port` belongs to.
    pub(super) fn of(port: &PublishedPort) -> Self {
        if port.is_direct() {
            return Self::DIRECT[usize::from(port.host_ip.is_ipv6())];
        }
        let [v4_bound, v4, v6_bound, v6] = Self::ALL;
        match (port.host_ip, port.host_ip.is_unspecified()) {
            (IpAddr::V4(_), false) => v4_bound,
            (IpAddr::V4(_), true) => v4,
            (IpAddr::V6(_), false) => v6_bound,
            (IpAddr::V6(_), true) => v6,
        }
    }

    /// The element that publishes `port`.
    pub(super) fn element(self, port: &PublishedPort) -> Element {
        let mut key = vec![
            Value::Protocol(port.protocol),
            Value::Service(port.host_port),
        ];
        if self.is_bound {
            key.insert(0, Value::Address(port.host_ip));
        }
        let data = vec![
            Value::Address(port.container_ip),
            Value::Service(port.container_port),
        ];
        Element {
            key,
            data: (!self.is_direct).then_some(Data::Values(data)),
        }
    }

    /// The map without its elements: all that is needed to change it.
    pub(super) fn definition(self) -> Set {
        let mut key = vec![Field::Protocol, Field::Service];
        if self.is_bound {
            key.insert(0, self.field);
        }
        let data = DataType::Fields(vec![self.field, Field::Service]);
        Set {
            name: self.name.to_owned(),
            key,
            data: (!self.is_direct).then_some(data),
            elements: Vec::new(),
        }
    }

    pub(super) fn render(self, ports: &[PublishedPort]) -> Set {
        let mut ports: Vec<_> = ports
            .iter()
            .filter(|port| Self::of(port).name == self.name)
            .collect();
        ports.sort_by_key(|port| (port.host_ip, port.protocol, port.host_port));
        ports.dedup_by_key(|port| (port.host_ip, port.protocol, port.host_port));
        Set {
            elements: ports.into_iter().map(|port| self.element(port)).collect(),
            ..self.definition()
        }
    }
}
