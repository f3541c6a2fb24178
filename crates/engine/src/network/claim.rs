//! What a run reserves: addresses as rows whose uniqueness is the reservation, and with them its host ports.

use super::endpoint::{EndpointClaim, host_name_of};
use super::endpoint_options::free_interface;
use super::ports::port_protocol;
use super::record::{Network, Pool};
use super::{Driver, Networks};
use crate::container::config::{Attachment, Config, Protocol};
use gantry_base::{ContainerId, Error, ErrorKind, NetworkId, Result};
use gantry_network::firewall::PublishedPort;
use gantry_network::{MacAddress, ipam, resolver};
use gantry_state::rusqlite::{self, Row, Transaction, params};
use gantry_state::{Database, Durability, sql_error};
use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Everything that one run holds on its networks.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) endpoints: Vec<EndpointClaim>,
    pub(crate) published: Vec<PublishedPort>,
    /// Bound sockets that hold the host ports; they go to the shim, which keeps them while the container runs.
    pub(crate) sockets: Vec<OwnedFd>,
    /// Where questions for names arrive, until the name server takes them over.
    pub(crate) resolver: Option<resolver::Sockets>,
}

/// Something to write in the same transaction.
pub(super) type Intent = Box<dyn FnOnce(&Transaction<'_>) -> Result<()> + Send>;

/// What is asked for.
pub(crate) struct ClaimRequest<'a> {
    pub(crate) id: &'a ContainerId,
    pub(crate) name: &'a str,
    pub(crate) config: &'a Config,
    /// Written in the same transaction as the addresses.
    pub(crate) intent: Intent,
}

impl Networks {
    /// Reserves addresses and published ports of a container that starts.
    pub(crate) fn claim(&self, request: ClaimRequest<'_>) -> Result<Claims> {
        let failed = |error: Error| error.prefixed("failed to set up container networking");
        let mut claims = Claims::default();
        for asked in &request.config.network.attachments {
            let network = self.find(&asked.network).map_err(failed)?;
            let interface = free_interface(&network, asked, &claims.endpoints).map_err(failed)?;
            let endpoint = unaddressed(network, asked, interface);
            claims.endpoints.push(endpoint.map_err(failed)?);
        }
        let (intent, key) = (request.intent, request.id.as_str().to_owned());
        let intent: Intent = Box::new(move |tx| {
            intent(tx)?;
            // An earlier run of this container gives its addresses up.
            tx.prepare_cached("DELETE FROM endpoint WHERE container = ?1")
                .and_then(|mut statement| statement.execute([&key]))
                .map_err(sql_error)?;
            Ok(())
        });
        self.claim_addresses(request.id, &mut claims.endpoints, intent)
            .map_err(failed)?;
        let owner = claims
            .gateway_endpoint(false)
            .or_else(|| claims.gateway_endpoint(true))
            .map(|endpoint| endpoint.id.clone())
            .unwrap_or_default();
        self.claim_ports(request.config, &mut claims)
            .map_err(|error| {
                error.prefixed(format!(
                    "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({owner})",
                    request.name
                ))
            })?;
        Ok(claims)
    }

    /// Gives each endpoint its addresses, and writes the rows that say so.
    pub(super) fn claim_addresses(
        &self,
        id: &ContainerId,
        endpoints: &mut Vec<EndpointClaim>,
        intent: Intent,
    ) -> Result<()> {
        let lock = || {
            self.inner
                .last_addresses
                .lock()
                .expect("no code panics while it holds the addresses")
        };
        let last = lock().clone();
        let (container, mut wanted) = (id.as_str().to_owned(), endpoints.clone());
        *endpoints = self.inner.database.write(Durability::Normal, move |tx| {
            intent(tx)?;
            for endpoint in &mut wanted {
                insert_endpoint(tx, &container, endpoint, &last)?;
            }
            Ok(wanted)
        })?;
        let mut last = lock();
        for endpoint in endpoints {
            let pools = endpoint.network.pools().map(|pool| pool.subnet);
            for (subnet, address) in pools.flat_map(|subnet| {
                let within = move |address: &IpAddr| subnet.contains(address);
                let addresses = endpoint.addresses().into_iter();
                addresses
                    .filter(within)
                    .map(move |address| (subnet, address))
            }) {
                last.insert(subnet, address);
            }
        }
        Ok(())
    }

    /// Makes the container known by its names, and lets it ask for those of others.
    pub(crate) fn announce(
        &self,
        id: &ContainerId,
        name: &str,
        config: &Config,
        claims: &mut Claims,
        namespace: Option<OwnedFd>,
    ) {
        if !claims.has_names() {
            return;
        }
        let mut names = self.names_mut();
        claims.add_names(&mut names, id, name, config);
        names.set_scope(id.as_str(), claims.scope(config, namespace.map(Arc::new)));
        drop(names);
        if let Some(sockets) = claims.resolver.take() {
            self.serve_names(id.as_str(), sockets);
        }
    }

    /// The claims of a container that an earlier daemon started, from its rows.
    pub(crate) fn adopt_claims(&self, id: &ContainerId, config: &Config) -> Result<Option<Claims>> {
        let mut claims = Claims::default();
        for row in endpoint_rows(&self.inner.database, id)? {
            let damaged = || Error::internal("state database: endpoint row with a damaged address");
            let Some(network) = self
                .list()
                .into_iter()
                .find(|known| known.id == row.network)
            else {
                tracing::warn!(container = %id, network = row.network, "an endpoint's network is gone");
                continue;
            };
            let asked = config
                .network
                .attachments
                .iter()
                .find(|asked| asked.network == network.name)
                .cloned()
                .unwrap_or_default();
            let parse = |text: Option<String>| -> Result<Option<IpAddr>> {
                text.map(|text| text.parse().map_err(|_| damaged()))
                    .transpose()
            };
            let mut endpoint = EndpointClaim {
                id: row.id,
                network,
                interface: row.interface,
                mac: parse_mac(&row.mac)?,
                v4: None,
                v6: None,
                asked,
            };
            for address in [parse(row.ipv4)?, parse(row.ipv6)?].into_iter().flatten() {
                endpoint.set_address(address);
            }
            claims
                .published
                .extend(ports_of(&self.inner.database, &endpoint.id)?);
            claims.endpoints.push(endpoint);
        }
        Ok((!claims.endpoints.is_empty()).then_some(claims))
    }
}

impl EndpointClaim {
    fn set_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.v4 = Some(v4),
            IpAddr::V6(v6) => self.v6 = Some(v6),
        }
    }
}

/// An endpoint that is to get its addresses.
pub(super) fn unaddressed(
    network: Arc<Network>,
    asked: &Attachment,
    interface: String,
) -> Result<EndpointClaim> {
    if network.is_config_only {
        return Err(Error::new(
            ErrorKind::Forbidden,
            "cannot create endpoint on configuration-only network",
        ));
    }
    if matches!(network.driver, Driver::Host | Driver::Null) {
        return Err(Error::internal(format!(
            "network {} has no endpoints",
            network.name
        )));
    }
    check_asked(&network, asked)?;
    let random = crate::random_bytes();
    let mac = match &asked.mac_address {
        Some(text) => parse_mac(text)?,
        None => ipam::mac_from_random([
            random[0], random[1], random[2], random[3], random[4], random[5],
        ]),
    };
    let claim = EndpointClaim {
        id: NetworkId::from_random(crate::random_bytes)
            .as_str()
            .to_owned(),
        network,
        interface,
        mac,
        v4: None,
        v6: None,
        asked: asked.clone(),
    };
    claim.check_options()?;
    Ok(claim)
}

/// What can be said against the addresses asked for before they are taken.
pub(super) fn check_asked(network: &Network, asked: &Attachment) -> Result<()> {
    let Some(addresses) = &asked.addresses else {
        return Ok(());
    };
    let wanted = [
        (addresses.ipv4.map(IpAddr::V4), &network.v4),
        (addresses.ipv6.map(IpAddr::V6), &network.v6),
    ];
    for (address, pool) in wanted {
        let Some(address) = address else { continue };
        let text = match pool {
            Some(pool) if !pool.is_configured => {
                "user specified IP address is supported only when connecting to networks with user configured subnets".to_owned()
            }
            Some(pool) if pool.subnet.contains(&address) => continue,
            _ => format!("no configured subnet or ip-range contain the IP address {address}"),
        };
        return Err(Error::invalid(format!(
            "invalid endpoint settings:\n{text}"
        )));
    }
    Ok(())
}

fn insert_endpoint(
    tx: &Transaction<'_>,
    container: &str,
    endpoint: &mut EndpointClaim,
    last: &HashMap<IpNet, IpAddr>,
) -> Result<()> {
    let network = endpoint.network.clone();
    if !network.is_predefined && !is_ready(tx, &network.id)? {
        return Err(Error::not_found(format!(
            "network {} not found",
            network.name
        )));
    }
    let taken = taken_addresses(tx, &network.id)?;
    let asked = endpoint.asked.addresses.clone().unwrap_or_default();
    let asked = [asked.ipv4.map(IpAddr::V4), asked.ipv6.map(IpAddr::V6)];
    for (pool, asked) in [&network.v4, &network.v6].into_iter().zip(asked) {
        let Some(pool) = pool else { continue };
        endpoint.set_address(choose(
            pool,
            asked,
            &taken,
            last.get(&pool.subnet).copied(),
        )?);
    }
    tx.prepare_cached(
        "INSERT INTO endpoint (id, container, network, interface, mac, ipv4, ipv6) VALUES (?1,?2,?3,?4,?5,?6,?7)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            endpoint.id,
            container,
            network.id,
            endpoint.interface,
            endpoint.mac.to_string(),
            endpoint.v4.map(|v4| v4.to_string()),
            endpoint.v6.map(|v6| v6.to_string())
        ])
    })
    .map_err(sql_error)?;
    Ok(())
}

fn choose(
    pool: &Pool,
    asked: Option<IpAddr>,
    taken: &HashSet<IpAddr>,
    last: Option<IpAddr>,
) -> Result<IpAddr> {
    let is_taken = |ip: IpAddr| {
        let is_end = ip == pool.subnet.network() || ip.is_ipv4() && ip == pool.subnet.broadcast();
        is_end || pool.gateway == Some(ip) || pool.reserved.contains(&ip) || taken.contains(&ip)
    };
    match asked {
        Some(address) if is_taken(address) => {
            Err(Error::new(ErrorKind::Forbidden, "Address already in use"))
        }
        Some(address) => Ok(address),
        None => ipam::next_free_of(pool.subnet, pool.range, is_taken, last),
    }
}

fn is_ready(tx: &Transaction<'_>, network: &str) -> Result<bool> {
    tx.prepare_cached("SELECT count(*) FROM network WHERE id = ?1 AND phase = 'ready'")
        .and_then(|mut statement| statement.query_row([network], |row| row.get::<_, i64>(0)))
        .map(|count| count > 0)
        .map_err(sql_error)
}

fn taken_addresses(tx: &Transaction<'_>, network: &str) -> Result<HashSet<IpAddr>> {
    let mut statement = tx
        .prepare_cached("SELECT ipv4, ipv6 FROM endpoint WHERE network = ?1")
        .map_err(sql_error)?;
    let mut rows = statement.query([network]).map_err(sql_error)?;
    let mut taken = HashSet::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        for index in 0..2 {
            let text: Option<String> = row.get(index).map_err(sql_error)?;
            taken.extend(text.and_then(|text| text.parse::<IpAddr>().ok()));
        }
    }
    Ok(taken)
}

/// One row, unread.
struct EndpointRow {
    id: String,
    network: String,
    interface: String,
    mac: String,
    ipv4: Option<String>,
    ipv6: Option<String>,
}

fn endpoint_rows(database: &Database, id: &ContainerId) -> Result<Vec<EndpointRow>> {
    let id = id.as_str().to_owned();
    database.read(move |connection| {
        let mut statement = connection
            .prepare(
                "SELECT id, network, interface, mac, ipv4, ipv6 FROM endpoint WHERE container = ?1 ORDER BY rowid",
            )
            .map_err(sql_error)?;
        let rows = statement.query_map([&id], |row| {
            Ok(EndpointRow {
                id: row.get(0)?,
                network: row.get(1)?,
                interface: row.get(2)?,
                mac: row.get(3)?,
                ipv4: row.get(4)?,
                ipv6: row.get(5)?,
            })
        });
        rows.and_then(Iterator::collect).map_err(sql_error)
    })
}

/// The ends on the host of the links of a network's running containers.
pub(super) fn host_names(database: &Database, network: &str) -> Result<Vec<String>> {
    let network = network.to_owned();
    database.read(move |connection| {
        let mut statement = connection
            .prepare("SELECT id FROM endpoint WHERE network = ?1")
            .map_err(sql_error)?;
        let names = statement.query_map([&network], |row| {
            Ok(host_name_of(&row.get::<_, String>(0)?))
        });
        names.and_then(Iterator::collect).map_err(sql_error)
    })
}

const PORTS: &str = "SELECT protocol, host_ip, host_port, ipv4, ipv6, container_port FROM port JOIN endpoint ON endpoint = id";

/// Every published port that has a row.
pub(super) fn all_published(database: &Database) -> Result<Vec<PublishedPort>> {
    read_ports(database, PORTS, [])
}

fn ports_of(database: &Database, endpoint: &str) -> Result<Vec<PublishedPort>> {
    read_ports(database, &format!("{PORTS} WHERE id = ?1"), [endpoint])
}

fn read_ports(
    database: &Database,
    query: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<PublishedPort>> {
    database.read(|connection| {
        let mut statement = connection.prepare(query).map_err(sql_error)?;
        let mut rows = statement.query(parameters).map_err(sql_error)?;
        let mut ports = Vec::new();
        while let Some(row) = rows.next().map_err(sql_error)? {
            ports.extend(read_port(row).map_err(sql_error)?);
        }
        Ok(ports)
    })
}

fn read_port(row: &Row<'_>) -> rusqlite::Result<Option<PublishedPort>> {
    let (protocol, host_ip): (String, String) = (row.get(0)?, row.get(1)?);
    let Ok(host_ip) = host_ip.parse::<IpAddr>() else {
        return Ok(None);
    };
    let behind: Option<String> = row.get(if host_ip.is_ipv4() { 3 } else { 4 })?;
    let behind = behind.and_then(|text| text.parse().ok());
    let (Some(protocol), Some(container_ip)) = (Protocol::parse(&protocol), behind) else {
        return Ok(None);
    };
    Ok(Some(PublishedPort {
        protocol: port_protocol(protocol),
        host_ip,
        host_port: row.get(2)?,
        container_ip,
        container_port: row.get(5)?,
    }))
}

pub(super) fn parse_mac(text: &str) -> Result<MacAddress> {
    text.parse()
        .map_err(|_| Error::invalid(format!("invalid MAC address: {text}")))
}
