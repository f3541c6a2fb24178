//! The three networks of the first stage: `bridge`, `host`, `none`, and the endpoints of running containers.
//!
//! One thread does everything that touches links and firewall, in order: they share one address space and one ruleset.
//! What is reserved is a row (`claim.rs`); what the kernel has is derived from rows and rendered again at boot.

mod bridge;
mod claim;

pub(crate) use claim::{ClaimRequest, Claims, published_views};

use crate::container::view::ContainerView;
use crate::settings::Settings;
use bridge::Bridge;
use gantry_base::{Error, NetworkId, Result};
use gantry_network::firewall::PublishedPort;
use gantry_state::{Database, Durability, sql_error};
use indexmap::IndexMap;
use ipnet::Ipv4Net;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {
    thread: std::sync::Mutex<mpsc::Sender<Job>>,
    database: Database,
    settings: Settings,
    bridge: Option<BridgeFacts>,
    ids: [(&'static str, String); 3],
    created_ns: i64,
    /// The address handed out last: the next one differs, as the old owner's link may still be there.
    last_address: std::sync::Mutex<Option<std::net::Ipv4Addr>>,
    /// The ephemeral port handed out last: dockerd counts on, and so do we.
    last_port: std::sync::Mutex<Option<u16>>,
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

type Job = Box<dyn FnOnce(&mut Option<Bridge>) + Send>;

/// A network as `network ls` and `network inspect` show it.
#[derive(Debug, Clone)]
pub struct NetworkView {
    /// `bridge`, `host`, `none`.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// `bridge`, `host`, `null`.
    pub driver: &'static str,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// Subnet and gateway of the bridge.
    pub subnet: Option<(Ipv4Net, std::net::Ipv4Addr)>,
    /// Docker's `com.docker.network.…` options of the default bridge.
    pub options: IndexMap<String, String>,
}

impl Networks {
    /// Makes the bridge and the table, and renders the rules of every endpoint that has a row.
    pub(crate) fn open(database: &Database, settings: &Settings) -> Result<Self> {
        let ids = network_ids(database)?;
        let published = claim::all_published(database)?;
        let (mut bridge, facts) = if settings.bridge == "none" {
            (None, None)
        } else {
            let (bridge, facts) = Bridge::ensure(settings, &published)?;
            (Some(bridge), Some(facts))
        };
        let (thread, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("network".into())
            .spawn(move || {
                while let Ok(job) = jobs.recv() {
                    job(&mut bridge);
                }
            })?;
        let inner = Inner {
            thread: std::sync::Mutex::new(thread),
            database: database.clone(),
            settings: settings.clone(),
            bridge: facts,
            ids,
            created_ns: crate::clock::now_ns(),
            last_address: std::sync::Mutex::default(),
            last_port: std::sync::Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The networks that every daemon has, in Docker's order of names.
    pub fn list(&self) -> Vec<NetworkView> {
        let mut views = Vec::new();
        for (name, id) in &self.inner.ids {
            let (driver, facts) = match *name {
                "bridge" => match &self.inner.bridge {
                    Some(facts) => ("bridge", Some(facts)),
                    None => continue,
                },
                "host" => ("host", None),
                _ => ("null", None),
            };
            views.push(NetworkView {
                name: (*name).to_owned(),
                id: id.clone(),
                driver,
                created_ns: self.inner.created_ns,
                subnet: facts.map(|facts| (facts.subnet, facts.gateway)),
                options: facts
                    .map(|facts| self.bridge_options(facts))
                    .unwrap_or_default(),
            });
        }
        views
    }

    /// By name, id or unique prefix of an id.
    pub fn find(&self, reference: &str) -> Result<NetworkView> {
        let views = self.list();
        if let Some(view) = views
            .iter()
            .find(|view| view.name == reference || view.id == reference)
        {
            return Ok(view.clone());
        }
        let mut matching = views
            .into_iter()
            .filter(|view| !reference.is_empty() && view.id.starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(view), None) => Ok(view),
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
        self.inner
            .ids
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, id)| id.clone())
    }

    pub(crate) fn bridge(&self) -> Option<&BridgeFacts> {
        self.inner.bridge.as_ref()
    }

    /// Starts making a namespace with the claimed endpoint; the receiver gives it when it is ready.
    pub(crate) fn create_sandbox(&self, claims: &Claims) -> mpsc::Receiver<Result<OwnedFd>> {
        let (done, result) = mpsc::sync_channel(1);
        let endpoint = self
            .inner
            .bridge
            .as_ref()
            .map(|facts| claims.endpoint(facts, &self.inner.settings));
        let ports = claims.published.clone();
        self.run(move |bridge| {
            let made = match (bridge, endpoint) {
                (Some(bridge), Some(endpoint)) => bridge.create_sandbox(&endpoint, &ports),
                _ => Err(Error::not_found("network bridge not found")),
            };
            // The start gave up: dropping the namespace takes the link with it.
            drop(done.send(made));
        });
        result
    }

    /// Takes back what a run had: its firewall entries. Link and addresses went with the namespace.
    pub(crate) fn release(&self, claims: Option<Claims>) {
        let Some(claims) = claims else { return };
        if claims.published.is_empty() {
            return;
        }
        self.run(move |bridge| {
            if let Some(bridge) = bridge
                && let Err(error) = bridge.unpublish(&claims.published)
            {
                tracing::warn!(%error, "cannot take back published ports");
            }
        });
    }

    /// Renders every rule again from the rows: at the end of boot, when all rows are settled.
    pub(crate) fn render(&self) -> Result<()> {
        let published: Vec<PublishedPort> = claim::all_published(&self.inner.database)?;
        let (done, result) = mpsc::sync_channel(1);
        self.run(move |bridge| {
            let rendered = bridge
                .as_mut()
                .map_or(Ok(()), |bridge| bridge.render(&published));
            drop(done.send(rendered));
        });
        result
            .recv()
            .map_err(|_| Error::internal("the network thread has ended"))?
    }

    /// Renders the rules again if another program changed or flushed them; called every few seconds. Without them the switch that
    /// lets published ports answer on loopback stands unguarded.
    pub(crate) fn repair(&self) {
        let database = self.inner.database.clone();
        self.run(move |bridge| {
            let Some(bridge) = bridge else { return };
            let repaired = bridge.repair(|| claim::all_published(&database));
            if let Err(error) = repaired {
                tracing::error!(%error, "cannot check or repair the firewall rules");
            }
        });
    }

    fn run(&self, job: impl FnOnce(&mut Option<Bridge>) + Send + 'static) {
        // The thread ends with the last sender, so there is always a receiver.
        drop(
            self.inner
                .thread
                .lock()
                .expect("no code panics while it holds the sender")
                .send(Box::new(job)),
        );
    }

    fn bridge_options(&self, facts: &BridgeFacts) -> IndexMap<String, String> {
        let settings = &self.inner.settings;
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
