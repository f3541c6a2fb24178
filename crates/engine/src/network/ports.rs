//! Published ports: which are asked for, and how each is held by a bound socket and a row.

use super::endpoint::EndpointClaim;
use super::{Claims, Networks, claim};
use crate::container::config::{Config, PortBinding, PortSpec, Protocol};
use gantry_base::{Error, ErrorKind, Result};
use gantry_network::firewall::{GatewayMode, PortProtocol, PublishedPort};
use gantry_network::port;
use gantry_state::rusqlite::{Transaction, params};
use gantry_state::{Durability, sql_error};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One port of the container, and the addresses that are behind the host's.
struct Wanted<'a> {
    binding: &'a PortBinding,
    /// The host's address and the container's, of the same family.
    ends: Vec<(IpAddr, IpAddr)>,
}

impl Networks {
    /// Holds the ports that `config` asks for; rows and sockets are added to `claims`.
    pub(super) fn claim_ports(&self, config: &Config, claims: &mut Claims) -> Result<()> {
        let bindings = wanted_bindings(config);
        if bindings.is_empty() || claims.published_ids().is_empty() {
            return Ok(());
        }
        let mut taken = claim::all_published(&self.inner.database)?;
        for binding in &bindings {
            let (direct, ends): (Vec<_>, Vec<_>) = self
                .ends(binding, claims)?
                .into_iter()
                .partition(|(_, container_ip)| claims.is_routed(container_ip.is_ipv6()));
            claims.publish_directly(binding, &direct);
            if ends.is_empty() {
                continue;
            }
            let wanted = Wanted { binding, ends };
            let reservation = self.reserve(&wanted, &taken)?;
            for (host_ip, container_ip) in &wanted.ends {
                let published = PublishedPort {
                    protocol: port_protocol(binding.container.protocol),
                    host_ip: *host_ip,
                    host_port: reservation.port,
                    container_ip: *container_ip,
                    container_port: binding.container.port,
                };
                taken.push(published.clone());
                claims.published.push(published);
            }
            claims.sockets.extend(reservation.sockets);
        }
        let rows = claims.port_rows();
        let first = rows.first().map(|(_, port)| (port.host_ip, port.host_port));
        self.inner
            .database
            .write(Durability::Normal, move |tx| insert_ports(tx, &rows))
            .map_err(|error| match (error.kind(), first) {
                // Two starts at once: the row of the other came first.
                (ErrorKind::Conflict, Some((ip, port))) => already_allocated(ip, port),
                _ => error,
            })
    }

    /// The host's addresses of a binding with the container's behind them: of both families where none is named.
    fn ends(&self, binding: &PortBinding, claims: &Claims) -> Result<Vec<(IpAddr, IpAddr)>> {
        let v4 = claims.published_endpoint(false);
        let v6 = claims.published_endpoint(true);
        let behind_v4 = v4.and_then(|end| end.v4).map(IpAddr::V4);
        let behind_v6 = v6.and_then(|end| end.v6).map(IpAddr::V6);
        let network_ip = v4
            .or(v6)
            .and_then(|end| end.network.bridge.as_ref()?.host_ip);
        let default = network_ip.unwrap_or(self.inner.settings.default_host_ip);
        let is_all = default == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let host_ips = match binding.host_ip {
            Some(ip) => vec![ip],
            None if is_all => vec![default, IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            None => vec![default],
        };
        let ends: Vec<(IpAddr, IpAddr)> = host_ips
            .iter()
            .filter_map(|host| {
                let behind = if host.is_ipv4() { behind_v4 } else { behind_v6 };
                Some((*host, behind?))
            })
            .collect();
        if ends.is_empty() {
            // An address of the other family cannot lead to it without a program in between.
            return Err(Error::not_implemented(format!(
                "publishing a port on {} of a container without such an address is not supported yet",
                host_ips[0]
            )));
        }
        Ok(ends)
    }

    /// The first port of the binding's range that neither another container nor another program has; any free one without a range.
    fn reserve(&self, wanted: &Wanted<'_>, taken: &[PublishedPort]) -> Result<port::Reservation> {
        let protocol = port_protocol(wanted.binding.container.protocol);
        let container = wanted.binding.container.port;
        let hosts: Vec<IpAddr> = wanted.ends.iter().map(|(host, _)| *host).collect();
        let (host_ip, address) = wanted.ends[0];
        let words = |port: u16, error: Error| {
            Error::internal(format!(
                "failed to bind host port for {host_ip}:{port}:{address}:{container}/{protocol}: {error}"
            ))
        };
        let Some((first, last)) = wanted.binding.host_ports else {
            let mut last = self
                .inner
                .last_port
                .lock()
                .expect("no code panics while it holds the port");
            let free = port::reserve_any(protocol, &hosts, port::ephemeral_range()?, *last)
                .map_err(|error| words(0, error))?;
            *last = Some(free.port);
            return Ok(free);
        };
        let mut result = Err(Error::internal("an empty range of ports"));
        for number in first..=last {
            // Our own rows come first: the socket that holds their port would give the text for other programs.
            let is_ours = |host: &IpAddr| {
                taken.iter().any(|port| {
                    port.protocol == protocol
                        && port.host_port == number
                        && port.host_ip.is_ipv4() == host.is_ipv4()
                        && (port.host_ip == *host
                            || port.host_ip.is_unspecified()
                            || host.is_unspecified())
                })
            };
            result = match hosts.iter().find(|host| is_ours(host)) {
                Some(host) => Err(already_allocated(*host, number)),
                None => {
                    port::reserve(protocol, &hosts, number).map_err(|error| words(number, error))
                }
            };
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

impl Claims {
    /// The endpoint that published ports lead to. Who is in a network of the host has its own ports there, as in dockerd.
    fn published_endpoint(&self, is_v6: bool) -> Option<&EndpointClaim> {
        let gateway = self.gateway_endpoint(is_v6);
        gateway.filter(|endpoint| endpoint.network.bridge.is_some())
    }

    /// Whether the addresses of a family that published ports lead to are reached without translation.
    fn is_routed(&self, is_v6: bool) -> bool {
        let endpoint = self.published_endpoint(is_v6);
        let options = endpoint.and_then(|end| end.network.bridge.as_ref());
        let mode = options.map(|options| {
            if is_v6 {
                options.mode_v6
            } else {
                options.mode_v4
            }
        });
        mode == Some(GatewayMode::Routed)
    }

    /// Ports of routed networks: of the binding only the container's side counts.
    fn publish_directly(&mut self, binding: &PortBinding, ends: &[(IpAddr, IpAddr)]) {
        let protocol = port_protocol(binding.container.protocol);
        for (_, container_ip) in ends {
            let port = PublishedPort::direct(protocol, *container_ip, binding.container.port);
            if !self.published.contains(&port) {
                self.published.push(port);
            }
        }
    }

    /// The endpoints that published ports lead to, by family.
    fn published_ids(&self) -> Vec<(bool, String)> {
        [false, true]
            .into_iter()
            .filter_map(|is_v6| Some((is_v6, self.published_endpoint(is_v6)?.id.clone())))
            .collect()
    }

    fn port_rows(&self) -> Vec<(String, PublishedPort)> {
        let owners = self.published_ids();
        let owner = |port: &PublishedPort| {
            owners
                .iter()
                .find(|(is_v6, _)| *is_v6 == port.container_ip.is_ipv6())
                .map(|(_, id)| id.clone())
        };
        self.published
            .iter()
            .filter_map(|port| Some((owner(port)?, port.clone())))
            .collect()
    }
}

/// The bindings asked for, and with `-P` one for every exposed port without any.
fn wanted_bindings(config: &Config) -> Vec<PortBinding> {
    let mut bindings = config.network.port_bindings.clone();
    if config.network.publish_all {
        for &container in &config.exposed_ports {
            if bindings
                .iter()
                .all(|binding| binding.container != container)
            {
                bindings.push(PortBinding {
                    container,
                    host_ip: None,
                    host_ports: None,
                });
            }
        }
    }
    bindings
}

/// Docker's words for a port that another container publishes.
fn already_allocated(host_ip: IpAddr, port: u16) -> Error {
    Error::internal(format!(
        "Bind for {host_ip}:{port} failed: port is already allocated"
    ))
}

fn insert_ports(tx: &Transaction<'_>, ports: &[(String, PublishedPort)]) -> Result<()> {
    let mut statement = tx
        .prepare_cached("INSERT INTO port (endpoint, protocol, host_ip, host_port, container_port) VALUES (?1,?2,?3,?4,?5)")
        .map_err(sql_error)?;
    for (endpoint, port) in ports {
        let values = params![
            endpoint,
            port.protocol.to_string(),
            port.host_ip.to_string(),
            port.host_port,
            port.container_port
        ];
        statement.execute(values).map_err(sql_error)?;
    }
    Ok(())
}

pub(crate) fn port_protocol(protocol: Protocol) -> PortProtocol {
    match protocol {
        Protocol::Tcp => PortProtocol::Tcp,
        Protocol::Udp => PortProtocol::Udp,
        Protocol::Sctp => PortProtocol::Sctp,
    }
}

/// The published ports as views show them.
pub(crate) fn published_views(
    ports: &[PublishedPort],
) -> Vec<crate::container::view::PublishedPort> {
    ports
        .iter()
        .map(|port| crate::container::view::PublishedPort {
            container: PortSpec {
                port: port.container_port,
                protocol: match port.protocol {
                    PortProtocol::Tcp => Protocol::Tcp,
                    PortProtocol::Udp => Protocol::Udp,
                    PortProtocol::Sctp => Protocol::Sctp,
                },
            },
            host_ip: match port.host_ip {
                _ if !port.is_direct() => port.host_ip,
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            host_port: if port.is_direct() { 0 } else { port.host_port },
        })
        .collect()
}
