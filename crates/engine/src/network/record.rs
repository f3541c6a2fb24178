//! What a network is: its row, and how reads show it.

use super::child::ChildOptions;
use super::options::BridgeOptions;
use gantry_base::{Error, ErrorKind, Result};
use gantry_network::firewall::GatewayMode;
use gantry_state::rusqlite::{Connection, Transaction, params};
use gantry_state::sql_error;
use indexmap::IndexMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A network. Immutable: it is made, and removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique.
    pub name: String,
    /// How it is made.
    pub driver: Driver,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// Labels.
    pub labels: IndexMap<String, String>,
    /// Options of the driver as given; those of the default bridge as they are.
    pub options: IndexMap<String, String>,
    /// Nothing leaves it.
    pub is_internal: bool,
    /// For inspect: of meaning to swarms only.
    pub is_attachable: bool,
    /// Whether it has IPv4.
    pub has_ipv4: bool,
    /// Whether it has IPv6.
    pub has_ipv6: bool,
    /// It only lends its configuration to others.
    pub is_config_only: bool,
    /// The network that lent its configuration; empty: none.
    pub config_from: String,
    /// Addresses as inspect shows them.
    pub ipam: IpamConfig,
    /// One that every daemon has.
    pub is_predefined: bool,
    pub(crate) v4: Option<Pool>,
    pub(crate) v6: Option<Pool>,
    /// Read again from `options` when the row is loaded.
    #[serde(skip)]
    pub(crate) bridge: Option<BridgeOptions>,
    /// As `bridge`, of macvlan and ipvlan.
    #[serde(skip)]
    pub(crate) child: Option<ChildOptions>,
    /// Whether the parent was made for it, or for another of the same parent: the last of them takes it away.
    #[serde(default)]
    pub(crate) owns_parent: bool,
}

/// How a network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host.
    Bridge,
    /// Links with Ethernet addresses of their own, on a link of the host.
    Macvlan,
    /// Links with the Ethernet address of the link of the host that they are on.
    Ipvlan,
    /// The host's own network.
    Host,
    /// Only a loopback; also of networks that lend their configuration.
    Null,
}

impl Driver {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// The addresses of a network as they were asked for, and as those that nobody asked for were chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IpamConfig {
    /// `default`
    pub driver: String,
    /// As given.
    pub options: Option<IndexMap<String, String>>,
    /// In the order given, then those chosen.
    pub subnets: Vec<SubnetConfig>,
}

/// One subnet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetConfig {
    /// `10.0.0.0/24`
    pub subnet: String,
    /// Containers' addresses come from here; empty: from the whole.
    pub ip_range: String,
    /// The host's own address; empty: the first.
    pub gateway: String,
    /// Addresses that containers do not get.
    pub auxiliary_addresses: IndexMap<String, String>,
}

/// A subnet of which endpoints take addresses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) subnet: IpNet,
    pub(crate) range: IpNet,
    /// None: the host has no address on the network, and nobody else has one that leads out.
    pub(crate) gateway: Option<IpAddr>,
    /// Besides the gateway.
    pub(crate) reserved: Vec<IpAddr>,
    /// Whether the user chose it: only then may containers ask for addresses of it.
    pub(crate) is_configured: bool,
}

/// Where a network is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Creating,
    Ready,
    Removing,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Removing => "removing",
        }
    }
}

impl Network {
    /// The pools that it has.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.v4.iter().chain(&self.v6)
    }

    /// Whether an address of a family is set aside for the way out, or for the host.
    pub(super) fn has_gateway(&self, is_v6: bool) -> bool {
        let mode = self.bridge.as_ref().map(|options| {
            if is_v6 {
                options.mode_v6
            } else {
                options.mode_v4
            }
        });
        let is_way =
            |child: &ChildOptions| !self.is_internal && !child.is_parentless && !child.is_routed();
        mode != Some(GatewayMode::Isolated) && self.child.as_ref().is_none_or(is_way)
    }

    /// Whether containers on it find each other by name.
    pub(crate) fn has_names(&self) -> bool {
        !self.is_predefined && (self.bridge.is_some() || self.child.is_some())
    }

    /// How many addresses of each subnet are taken by others than endpoints: the gateway, and those that nobody may have.
    pub fn subnets_in_use(&self) -> Vec<(IpNet, u64)> {
        self.pools()
            .map(|pool| {
                let gateway = u64::from(pool.gateway.is_some());
                (pool.subnet, pool.reserved.len() as u64 + gateway)
            })
            .collect()
    }

    pub(super) fn insert(&self, tx: &Transaction<'_>, phase: Phase) -> Result<()> {
        let config = serde_json::to_string(self)
            .map_err(|error| Error::internal(format!("cannot write a state document: {error}")))?;
        let inserted = tx.execute(
            "INSERT INTO network (id, name, phase, created_ns, config) VALUES (?1,?2,?3,?4,?5)",
            params![self.id, self.name, phase.as_str(), self.created_ns, config],
        );
        match inserted.map_err(sql_error) {
            Err(error) if error.kind() == ErrorKind::Conflict => Err(name_in_use(&self.name)),
            other => other.map(drop),
        }
    }
}

/// Docker's text.
pub(super) fn name_in_use(name: &str) -> Error {
    Error::conflict(format!("network with name {name} already exists"))
}

pub(super) fn set_phase(tx: &Transaction<'_>, id: &str, phase: Phase) -> Result<()> {
    tx.execute(
        "UPDATE network SET phase = ?2 WHERE id = ?1",
        [id, phase.as_str()],
    )
    .map_err(sql_error)?;
    Ok(())
}

pub(super) fn delete(tx: &Transaction<'_>, id: &str) -> Result<()> {
    tx.execute("DELETE FROM network WHERE id = ?1", [id])
        .map_err(sql_error)?;
    Ok(())
}

/// Every row, oldest first, and whether it is whole. A row that cannot be read is reported and left alone.
pub(super) fn load_all(connection: &Connection) -> Result<Vec<(Network, bool)>> {
    let mut statement = connection
        .prepare("SELECT phase, config, name FROM network ORDER BY created_ns")
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut networks = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        let text = |index: usize| row.get::<_, String>(index).map_err(sql_error);
        let (phase, name) = (text(0)?, text(2)?);
        match read(&text(1)?) {
            Ok(network) => networks.push((network, phase == Phase::Ready.as_str())),
            Err(error) => tracing::error!(%error, network = name, "a network could not be loaded"),
        }
    }
    Ok(networks)
}

fn read(text: &str) -> Result<Network> {
    let mut network: Network = serde_json::from_str(text)
        .map_err(|error| Error::internal(format!("cannot read its configuration: {error}")))?;
    if matches!(network.driver, Driver::Macvlan | Driver::Ipvlan) {
        let options = ChildOptions::parse(network.driver, &network.options, &network.id)?;
        network.child = Some(options);
    }
    if network.driver == Driver::Bridge {
        network.bridge = Some(BridgeOptions::parse(
            &network.options,
            &network.id,
            network.is_internal,
        )?);
    }
    Ok(network)
}
