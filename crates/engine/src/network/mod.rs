//! Networks: those that every daemon has, those that users make, and the endpoints of running containers.
//!
//! One thread does everything that touches links and firewall, in order: they share one address space and one ruleset.
//! What is reserved is a row (`claim.rs`, `record.rs`); what the kernel has is derived from rows and rendered again at boot.
//! Containers on networks that users make find each other by name (`names.rs`, `resolver/`).

pub(crate) mod change;
mod child;
mod claim;
mod create;
mod dataplane;
mod endpoint;
mod endpoint_options;
mod names;
mod options;
mod ports;
mod record;
mod remove;
mod resolver;

pub(crate) use claim::{ClaimRequest, Claims};
pub use create::CreateNetwork;
pub(crate) use endpoint::dns_names;
pub(crate) use ports::published_views;
pub use record::{Driver, IpamConfig, Network, SubnetConfig};
pub(crate) use resolver::reopen_resolver;

use crate::container::view::ContainerView;
use crate::event::Events;
use crate::settings::Settings;
use dataplane::Dataplane;
use gantry_base::{Error, NetworkId, Result};
use gantry_network::endpoint::Sandbox;
use gantry_network::firewall::PublishedPort;
use gantry_state::{Database, Durability, sql_error};
use indexmap::IndexMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use names::Names;
use options::BridgeOptions;
use record::Pool;
use resolver::Resolvers;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, RwLock, RwLockReadGuard, mpsc};

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    thread: std::sync::Mutex<mpsc::Sender<Job>>,
    database: Database,
    settings: Settings,
    events: Events,
    /// By name. The lock is held for look-ups only.
    networks: RwLock<BTreeMap<String, Arc<Network>>>,
    /// What the default bridge is while the daemon runs.
    bridge: Option<BridgeFacts>,
    /// Of the default route at boot.
    default_mtu: u32,
    /// The address of each pool handed out last: the next one differs, as the old owner's link may still be there.
    last_addresses: std::sync::Mutex<HashMap<IpNet, IpAddr>>,
    /// The ephemeral port handed out last: dockerd counts on, and so do we.
    last_port: std::sync::Mutex<Option<u16>>,
    names: RwLock<Names>,
    resolvers: Resolvers,
}

/// What is fixed about the default bridge while the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct BridgeFacts {
    pub(crate) name: String,
    pub(crate) subnet: Ipv4Net,
    /// Containers' addresses come from here.
    pub(crate) range: Ipv4Net,
    pub(crate) gateway: std::net::Ipv4Addr,
    pub(crate) mtu: u32,
}

type Job = Box<dyn FnOnce(&mut Dataplane) + Send>;

impl Inner {
    fn networks(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Network>>> {
        self.networks
            .read()
            .expect("no code panics while it holds the networks")
    }

    fn by_name(&self, name: &str) -> Option<Arc<Network>> {
        self.networks().get(name).cloned()
    }

    fn insert(&self, network: Arc<Network>) {
        self.networks
            .write()
            .expect("no code panics while it holds the networks")
            .insert(network.name.clone(), network);
    }

    fn forget(&self, name: &str) {
        self.networks
            .write()
            .expect("no code panics while it holds the networks")
            .remove(name);
    }
}

impl Networks {
    /// Makes the bridges and the table, and renders the rules of every endpoint that has a row.
    pub(crate) fn open(database: &Database, settings: &Settings, events: &Events) -> Result<Self> {
        let ids = network_ids(database)?;
        let table = match settings.bridge.as_str() {
            "none" => format!("gantry-{}", &ids[0].1[..12]),
            bridge => format!("gantry-{bridge}"),
        };
        let mut dataplane = Dataplane::open(settings, table)?;
        let bridge = match settings.bridge.as_str() {
            "none" => None,
            _ => Some(dataplane.ensure_default_bridge(&ids[0].1)?),
        };
        let default_mtu = dataplane.default_mtu()?;
        let mut networks = BTreeMap::new();
        for network in predefined(settings, bridge.as_ref(), &ids) {
            networks.insert(network.name.clone(), Arc::new(network));
        }
        for (network, is_ready) in database.read(record::load_all)? {
            if !is_ready {
                create::undo(database, &mut dataplane, &network);
                continue;
            }
            if let Err(error) = create::realise(database, &mut dataplane, &network) {
                tracing::error!(network = network.name, %error, "cannot make a network again");
            }
            networks.insert(network.name.clone(), Arc::new(network));
        }
        dataplane.render(&claim::all_published(database)?)?;
        let (thread, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("network".into())
            .spawn(move || {
                while let Ok(job) = jobs.recv() {
                    job(&mut dataplane);
                }
            })?;
        let inner = Inner {
            thread: std::sync::Mutex::new(thread),
            database: database.clone(),
            settings: settings.clone(),
            events: events.clone(),
            networks: RwLock::new(networks),
            bridge,
            default_mtu,
            last_addresses: std::sync::Mutex::default(),
            last_port: std::sync::Mutex::default(),
            names: RwLock::default(),
            resolvers: Resolvers::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Every network, in the order of names.
    pub fn list(&self) -> Vec<Arc<Network>> {
        self.inner.networks().values().cloned().collect()
    }

    /// By name, id or unique prefix of an id.
    pub fn find(&self, reference: &str) -> Result<Arc<Network>> {
        let networks = self.list();
        if let Some(network) = networks
            .iter()
            .find(|network| network.name == reference || network.id == reference)
        {
            return Ok(network.clone());
        }
        let mut matching = networks
            .into_iter()
            .filter(|network| !reference.is_empty() && network.id.starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "network {reference} is ambiguous ({reference} matches several ids)"
            ))),
            _ => Err(Error::not_found(format!("network {reference} not found"))),
        }
    }

    /// Containers of a network among `views`: those that have an endpoint on it now.
    pub fn members<'a>(
        &self,
        network: &str,
        views: &'a [Arc<ContainerView>],
    ) -> Vec<&'a Arc<ContainerView>> {
        let on_it = |view: &&Arc<ContainerView>| {
            view.networks
                .iter()
                .any(|endpoint| endpoint.network == network && !endpoint.endpoint_id.is_empty())
        };
        views.iter().filter(on_it).collect()
    }

    pub(crate) fn id_of(&self, name: &str) -> Option<String> {
        self.by_name(name).map(|network| network.id.clone())
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Network>> {
        self.inner.by_name(name)
    }

    /// The largest packet of a network: that of its bridge.
    fn mtu_of(&self, network: &Network) -> u32 {
        let facts = self.inner.bridge.as_ref().filter(|_| network.is_predefined);
        let chosen = network.bridge.as_ref().and_then(|options| options.mtu);
        facts
            .map(|facts| facts.mtu)
            .or(chosen)
            .or(self.inner.settings.mtu)
            .unwrap_or(self.inner.default_mtu)
    }

    pub(crate) fn bridge(&self) -> Option<&BridgeFacts> {
        self.inner.bridge.as_ref()
    }

    /// Starts making a namespace with the claimed endpoints; the receiver gives it when it is ready.
    pub(crate) fn create_sandbox(&self, claims: &Claims) -> mpsc::Receiver<Result<Sandbox>> {
        let (done, result) = mpsc::sync_channel(1);
        let endpoints = self.kernel_endpoints(claims);
        let ports = claims.published.clone();
        let with_resolver = claims.has_names();
        self.run(move |dataplane| {
            let made = dataplane.create_sandbox(&endpoints, &ports, with_resolver);
            // The start gave up: dropping the namespace takes the links with it.
            drop(done.send(made));
        });
        result
    }

    /// Takes back what a run had: its names and firewall entries. Links and addresses went with the namespace.
    pub(crate) fn release(&self, container: &str, claims: Option<Claims>) {
        self.forget_names(container);
        let Some(claims) = claims else { return };
        if !claims.published.is_empty() {
            self.unpublish(claims.published);
        }
    }

    fn unpublish(&self, published: Vec<PublishedPort>) {
        self.run(move |dataplane| {
            if let Err(error) = dataplane.unpublish(&published) {
                tracing::warn!(%error, "cannot take back published ports");
            }
        });
    }

    /// Renders every rule again from the rows: at the end of boot, when all rows are settled.
    pub(crate) fn render(&self) -> Result<()> {
        let published: Vec<PublishedPort> = claim::all_published(&self.inner.database)?;
        self.wait(move |dataplane| dataplane.render(&published))
    }

    /// Makes deleted bridges again, and renders the rules again if another program changed or flushed them; called every few seconds. Without them the switch that
    /// lets published ports answer on loopback stands unguarded.
    pub(crate) fn repair(&self) {
        let database = self.inner.database.clone();
        self.run(move |dataplane| {
            let repaired = dataplane
                .repair_bridges(|network| claim::host_names(&database, network))
                .and_then(|()| dataplane.repair(|| claim::all_published(&database)));
            if let Err(error) = repaired {
                tracing::error!(%error, "cannot check or repair bridges and firewall rules");
            }
        });
    }

    /// Publishes an event of a network.
    pub(crate) fn publish(&self, network: &Network, action: &str, more: &[(&str, &str)]) {
        let kind = network.driver.as_str();
        let mut attributes: IndexMap<String, String> = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        attributes.insert("name".into(), network.name.clone());
        attributes.insert("type".into(), kind.to_owned());
        self.inner
            .events
            .publish("network", action, &network.id, attributes);
    }

    /// Runs `job` on the network thread and waits for its result without blocking a task.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Dataplane) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.run(move |dataplane| drop(done.send(job(dataplane))));
        result
            .await
            .map_err(|_| Error::internal("the network thread has ended"))?
    }

    /// Like [`Networks::call`], for threads that may block.
    fn wait<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Dataplane) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, result) = mpsc::sync_channel(1);
        self.run(move |dataplane| drop(done.send(job(dataplane))));
        result
            .recv()
            .map_err(|_| Error::internal("the network thread has ended"))?
    }

    fn run(&self, job: impl FnOnce(&mut Dataplane) + Send + 'static) {
        // The thread ends with the last sender, so there is always a receiver.
        drop(
            self.inner
                .thread
                .lock()
                .expect("no code panics while it holds the sender")
                .send(Box::new(job)),
        );
    }
}

/// The networks that every daemon has.
fn predefined(
    settings: &Settings,
    bridge: Option<&BridgeFacts>,
    ids: &[(&'static str, String); 3],
) -> Vec<Network> {
    let created_ns = crate::clock::now_ns();
    let network = |(name, id): &(&'static str, String)| {
        let (driver, facts) = match *name {
            "bridge" => (Driver::Bridge, Some(bridge?)),
            "host" => (Driver::Host, None),
            _ => (Driver::Null, None),
        };
        Some(Network {
            id: id.clone(),
            name: (*name).to_owned(),
            driver,
            created_ns,
            labels: IndexMap::new(),
            options: facts
                .map(|facts| bridge_options(settings, facts))
                .unwrap_or_default(),
            is_internal: false,
            is_attachable: false,
            has_ipv4: true,
            has_ipv6: false,
            is_config_only: false,
            config_from: String::new(),
            ipam: IpamConfig {
                driver: "default".into(),
                options: None,
                subnets: facts
                    .map(|facts| SubnetConfig {
                        subnet: facts.subnet.to_string(),
                        gateway: facts.gateway.to_string(),
                        ..SubnetConfig::default()
                    })
                    .into_iter()
                    .collect(),
            },
            is_predefined: true,
            v4: facts.map(|facts| Pool {
                subnet: facts.subnet.into(),
                range: facts.range.into(),
                gateway: Some(facts.gateway.into()),
                reserved: Vec::new(),
                is_configured: false,
            }),
            v6: None,
            bridge: facts.map(|facts| BridgeOptions::of_default(settings, facts)),
            child: None,
            owns_parent: false,
        })
    };
    ids.iter().filter_map(network).collect()
}

fn bridge_options(settings: &Settings, facts: &BridgeFacts) -> IndexMap<String, String> {
    let option = |name: &str, value: String| (format!("com.docker.network.{name}"), value);
    IndexMap::from([
        option("bridge.default_bridge", "true".into()),
        option(
            "bridge.enable_icc",
            settings.inter_container_communication.to_string(),
        ),
        option(
            "bridge.enable_ip_masquerade",
            settings.masquerade.to_string(),
        ),
        option(
            "bridge.host_binding_ipv4",
            settings.default_host_ip.to_string(),
        ),
        option("bridge.name", facts.name.clone()),
        option("driver.mtu", facts.mtu.to_string()),
    ])
}

/// The ids of the built-in networks, made once and kept in `fact` rows.
fn network_ids(database: &Database) -> Result<[(&'static str, String); 3]> {
    let id = |name: &'static str| -> Result<(&'static str, String)> {
        let fresh = NetworkId::from_random(crate::random_bytes)
            .as_str()
            .to_owned();
        let key = format!("network.{name}.id");
        let id = database.write(Durability::Normal, move |tx| {
            tx.execute(
                "INSERT OR IGNORE INTO fact (name, value) VALUES (?1, ?2)",
                [&key, &fresh],
            )
            .map_err(sql_error)?;
            tx.query_row("SELECT value FROM fact WHERE name = ?1", [&key], |row| {
                row.get(0)
            })
            .map_err(sql_error)
        })?;
        Ok((name, id))
    };
    Ok([id("bridge")?, id("host")?, id("none")?])
}

fn as_v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn as_v6(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V6(net) => Some(net),
        IpNet::V4(_) => None,
    }
}
