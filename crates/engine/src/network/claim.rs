//! What a run reserves: an address and host ports, as rows whose uniqueness is the reservation, with bound sockets besides.

use super::{BridgeFacts, Networks};
use crate::container::config::{Config, PortBinding, PortSpec, Protocol};
use crate::settings::Settings;
use gantry_base::{ContainerId, Error, NetworkId, Result};
use gantry_network::MacAddress;
use gantry_network::endpoint::Endpoint;
use gantry_network::firewall::{PortProtocol, PublishedPort};
use gantry_network::{ipam, port};
use gantry_state::rusqlite::{self, Row, Transaction, params};
use gantry_state::{Database, Durability, sql_error};
use ipnet::Ipv4Net;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

/// Everything that one run holds on the bridge.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) endpoint_id: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddress,
    pub(crate) published: Vec<PublishedPort>,
    /// Bound sockets that hold the host ports; they go to the shim, which keeps them while the container runs.
    pub(crate) sockets: Vec<OwnedFd>,
}

/// Something to write in the same transaction.
type Intent = Box<dyn FnOnce(&Transaction<'_>) -> Result<()> + Send>;

/// What is asked for.
pub(crate) struct ClaimRequest<'a> {
    pub(crate) id: &'a ContainerId,
    pub(crate) name: &'a str,
    pub(crate) config: &'a Config,
    /// Written in the same transaction as the address.
    pub(crate) intent: Intent,
}

impl Claims {
    pub(super) fn endpoint(&self, facts: &BridgeFacts, settings: &Settings) -> Endpoint {
        Endpoint {
            host_name: format!("veth{}", &self.endpoint_id[..7]),
            container_name: "eth0".into(),
            mac: self.mac,
            bridge: facts.name.clone(),
            mtu: facts.mtu,
            v4: Ipv4Net::new(self.address, facts.subnet.prefix_len()).ok(),
            v4_gateway: Some(facts.gateway),
            v6: None,
            v6_gateway: None,
            is_isolated: !settings.inter_container_communication,
            hairpin: true,
        }
    }
}

impl Networks {
    /// Reserves an address and the published ports of a container that starts.
    pub(crate) fn claim(&self, request: ClaimRequest<'_>) -> Result<Claims> {
        let facts = self
            .bridge()
            .ok_or_else(|| Error::not_found("network bridge not found"))?;
        let endpoint_id = NetworkId::from_random(crate::random_bytes)
            .as_str()
            .to_owned();
        let failed = |error: Error| {
            error.prefixed(format!(
                "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({endpoint_id})",
                request.name
            ))
        };
        let random = crate::random_bytes();
        let mac = match &request.config.network.mac_address {
            Some(text) => parse_mac(text)?,
            None => ipam::mac_from_random([
                random[0], random[1], random[2], random[3], random[4], random[5],
            ]),
        };
        let address = self.claim_address(request.id, &endpoint_id, mac, facts, request.intent)?;
        let (published, sockets) = self
            .reserve_ports(request.config, address)
            .map_err(&failed)?;
        if !published.is_empty() {
            let (key, ports) = (endpoint_id.clone(), published.clone());
            let (ip, port) = (ports[0].host_ip, ports[0].host_port);
            self.inner
                .database
                .write(Durability::Normal, move |tx| insert_ports(tx, &key, &ports))
                .map_err(|error| match error.kind() {
                    // Two starts at once: the row of the other came first.
                    gantry_base::ErrorKind::Conflict => failed(already_allocated(ip, port)),
                    _ => error,
                })?;
        }
        Ok(Claims {
            endpoint_id,
            address,
            mac,
            published,
            sockets,
        })
    }

    fn claim_address(
        &self,
        id: &ContainerId,
        endpoint_id: &str,
        mac: MacAddress,
        facts: &BridgeFacts,
        intent: Intent,
    ) -> Result<Ipv4Addr> {
        let network = self.id_of("bridge").unwrap_or_default();
        let last = *self
            .inner
            .last_address
            .lock()
            .expect("no code panics while it holds the address");
        let (subnet, range, gateway) = (facts.subnet, facts.range, facts.gateway);
        let (container, endpoint) = (id.as_str().to_owned(), endpoint_id.to_owned());
        let address = self.inner.database.write(Durability::Normal, move |tx| {
            intent(tx)?;
            let mut statement = tx
                .prepare_cached("SELECT ipv4 FROM endpoint WHERE network = ?1")
                .map_err(sql_error)?;
            let taken: HashSet<Ipv4Addr> = statement
                .query_map([&network], |row| row.get::<_, String>(0))
                .map_err(sql_error)?
                .filter_map(|text| text.ok()?.parse().ok())
                .collect();
            // An earlier run of this container gives its address up.
            tx.prepare_cached("DELETE FROM endpoint WHERE container = ?1")
                .and_then(|mut statement| statement.execute([&container]))
                .map_err(sql_error)?;
            let address = ipam::next_free_in(
                subnet,
                range,
                |ip| ip == gateway || taken.contains(&ip),
                last,
            )?;
            tx.prepare_cached(
                "INSERT INTO endpoint (id, container, network, mac, ipv4) VALUES (?1,?2,?3,?4,?5)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    endpoint,
                    container,
                    network,
                    mac.to_string(),
                    address.to_string()
                ])
            })
            .map_err(sql_error)?;
            Ok(address)
        })?;
        *self
            .inner
            .last_address
            .lock()
            .expect("no code panics while it holds the address") = Some(address);
        Ok(address)
    }

    fn reserve_ports(
        &self,
        config: &Config,
        address: Ipv4Addr,
    ) -> Result<(Vec<PublishedPort>, Vec<OwnedFd>)> {
        let bindings = wanted_bindings(config);
        if bindings.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut taken = all_published(&self.inner.database)?;
        let mut published = Vec::new();
        let mut sockets = Vec::new();
        for binding in bindings {
            let reservation = self.reserve_one(&binding, address, &taken)?;
            let protocol = port_protocol(binding.container.protocol);
            let host_ip = binding
                .host_ip
                .unwrap_or(self.inner.settings.default_host_ip);
            let port = PublishedPort {
                protocol,
                host_ip,
                host_port: reservation.port,
                container_ip: IpAddr::V4(address),
                container_port: binding.container.port,
            };
            taken.push(port.clone());
            published.push(port);
            sockets.extend(reservation.sockets);
        }
        Ok((published, sockets))
    }

    /// The first port of the binding's range that neither another container nor another program has; any free one without a range.
    fn reserve_one(
        &self,
        binding: &PortBinding,
        address: Ipv4Addr,
        taken: &[PublishedPort],
    ) -> Result<port::Reservation> {
        let host_ip = binding
            .host_ip
            .unwrap_or(self.inner.settings.default_host_ip);
        if host_ip.is_ipv6() {
            // The default bridge has no IPv6; an address of the other family cannot lead to it.
            return Err(Error::not_implemented(format!(
                "publishing a port on {host_ip}: IPv6 is not supported yet"
            )));
        }
        let protocol = port_protocol(binding.container.protocol);
        let container = binding.container.port;
        let words = |port: u16, error: Error| {
            Error::internal(format!(
                "failed to bind host port for {host_ip}:{port}:{address}:{container}/{protocol}: {error}"
            ))
        };
        let Some((first, last)) = binding.host_ports else {
            let mut last = self
                .inner
                .last_port
                .lock()
                .expect("no code panics while it holds the port");
            let free = port::reserve_any(protocol, &[host_ip], port::ephemeral_range()?, *last)
                .map_err(|error| words(0, error))?;
            *last = Some(free.port);
            return Ok(free);
        };
        let mut result = Err(Error::internal("an empty range of ports"));
        for number in first..=last {
            // Our own rows come first: the socket that holds their port would give the text for other programs.
            let is_ours = taken.iter().any(|port| {
                port.protocol == protocol
                    && port.host_port == number
                    && (port.host_ip == host_ip
                        || port.host_ip.is_unspecified()
                        || host_ip.is_unspecified())
            });
            result = if is_ours {
                Err(already_allocated(host_ip, number))
            } else {
                port::reserve(protocol, &[host_ip], number).map_err(|error| words(number, error))
            };
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// The claims of a container that an earlier daemon started, from its rows.
    pub(crate) fn adopt_claims(&self, id: &ContainerId) -> Result<Option<Claims>> {
        adopt(&self.inner.database, id)
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

fn insert_ports(tx: &Transaction<'_>, endpoint: &str, ports: &[PublishedPort]) -> Result<()> {
    let mut statement = tx
        .prepare_cached("INSERT INTO port (endpoint, protocol, host_ip, host_port, container_port) VALUES (?1,?2,?3,?4,?5)")
        .map_err(sql_error)?;
    for port in ports {
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

/// Every published port that has a row.
pub(super) fn all_published(database: &Database) -> Result<Vec<PublishedPort>> {
    database.read(|connection| {
        let mut statement = connection
            .prepare("SELECT protocol, host_ip, host_port, ipv4, container_port FROM port JOIN endpoint ON endpoint = id")
            .map_err(sql_error)?;
        let mut rows = statement.query([]).map_err(sql_error)?;
        let mut ports = Vec::new();
        while let Some(row) = rows.next().map_err(sql_error)? {
            ports.extend(read_port(row).map_err(sql_error)?);
        }
        Ok(ports)
    })
}

fn read_port(row: &Row<'_>) -> rusqlite::Result<Option<PublishedPort>> {
    let (protocol, host_ip, container_ip): (String, String, String) =
        (row.get(0)?, row.get(1)?, row.get(3)?);
    let (Some(protocol), Ok(host_ip), Ok(container_ip)) = (
        Protocol::parse(&protocol),
        host_ip.parse(),
        container_ip.parse(),
    ) else {
        return Ok(None);
    };
    Ok(Some(PublishedPort {
        protocol: port_protocol(protocol),
        host_ip,
        host_port: row.get(2)?,
        container_ip,
        container_port: row.get(4)?,
    }))
}

fn adopt(database: &Database, id: &ContainerId) -> Result<Option<Claims>> {
    let id = id.as_str().to_owned();
    database.read(move |connection| {
        let mut statement =
            connection.prepare("SELECT id, mac, ipv4 FROM endpoint WHERE container = ?1").map_err(sql_error)?;
        let mut rows = statement.query([&id]).map_err(sql_error)?;
        let Some(row) = rows.next().map_err(sql_error)? else { return Ok(None) };
        let text = |index: usize| row.get::<_, String>(index).map_err(sql_error);
        let (endpoint_id, mac, address) = (text(0)?, text(1)?, text(2)?);
        let damaged = || Error::internal("state database: endpoint row with a damaged address");
        let mut statement = connection
            .prepare(
                "SELECT protocol, host_ip, host_port, ipv4, container_port FROM port JOIN endpoint ON endpoint = id WHERE id = ?1",
            )
            .map_err(sql_error)?;
        let mut rows = statement.query([&endpoint_id]).map_err(sql_error)?;
        let mut published = Vec::new();
        while let Some(row) = rows.next().map_err(sql_error)? {
            published.extend(read_port(row).map_err(sql_error)?);
        }
        Ok(Some(Claims {
            endpoint_id,
            address: address.parse().map_err(|_| damaged())?,
            mac: parse_mac(&mac)?,
            published,
            sockets: Vec::new(),
        }))
    })
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
            host_ip: port.host_ip,
            host_port: port.host_port,
        })
        .collect()
}

fn parse_mac(text: &str) -> Result<MacAddress> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2);
        *byte = part
            .and_then(|part| u8::from_str_radix(part, 16).ok())
            .ok_or_else(|| Error::invalid(format!("invalid MAC address: {text}")))?;
    }
    Ok(MacAddress(bytes))
}
