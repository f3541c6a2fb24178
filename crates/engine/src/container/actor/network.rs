//! Connecting to networks and disconnecting: one change at a time, of a running container as a job beside the actor.
//!
//! The order makes every crash whole again: a connect writes the endpoint's row, makes the link, and writes the configuration; a
//! disconnect goes the other way. So an endpoint that the configuration does not name is what boot takes away.

use super::super::command::{NetworkChange, Reply};
use super::super::config::Config;
use super::super::start;
use super::{Actor, Event, answer};
use crate::container::record::ContainerRecord;
use crate::network::change::{Sandboxed, check_connect};
use crate::network::{Claims, published_views};
use crate::workload::files::{self, FilesInput};
use gantry_base::{Error, ErrorKind, Result};
use gantry_state::Durability;
use std::net::IpAddr;
use std::sync::Arc;

/// A change that has been tried.
pub(in crate::container) struct Changed {
    claims: Claims,
    result: Result<Arc<Config>>,
    reply: Reply<()>,
}

impl Actor {
    pub(super) fn on_network(&mut self, change: NetworkChange, reply: Reply<()>) {
        if self.network_is_changing || self.is_updating {
            self.network_changes.push_back((change, reply));
            return;
        }
        let config = match self.changed_config(&change) {
            Ok(config) => Arc::new(config),
            Err(error) => return answer(reply, Err(error)),
        };
        let Some(live) = &mut self.live else {
            return self.save_config(config, reply);
        };
        let claims = live.run.claims.take().unwrap_or_default();
        self.network_is_changing = true;
        let (shared, record, pid) = (self.shared.clone(), self.record.clone(), live.run.pid);
        let (events, generation) = (self.events.clone(), self.generation);
        tokio::spawn(async move {
            let job = tokio::task::spawn_blocking(move || {
                let mut claims = claims;
                let result = carry_out(&shared, record, pid, &change, config, &mut claims);
                (claims, result)
            });
            let (claims, result) = job.await.unwrap_or_else(|_| {
                let lost = Error::internal("the change of a network ended unexpectedly");
                (Claims::default(), Err(lost))
            });
            let changed = Changed {
                claims,
                result,
                reply,
            };
            // The actor that has ended gave everything back.
            let _ = events
                .send(Event::NetworkChanged {
                    generation,
                    changed: Box::new(changed),
                })
                .await;
        });
    }

    pub(super) fn on_network_changed(&mut self, generation: u64, changed: Changed) {
        self.network_is_changing = false;
        let Changed {
            claims,
            result,
            reply,
        } = changed;
        let is_same_run = generation == self.generation;
        match &mut self.live {
            Some(live) if is_same_run => {
                if let Ok(config) = &result {
                    self.record.config = config.clone();
                }
                live.run.endpoints =
                    start::endpoint_views(&self.shared, &self.record, Some(&claims));
                live.run.ports = published_views(&claims.published);
                live.run.claims = Some(claims);
            }
            _ => {
                if let Ok(config) = &result {
                    self.record.config = config.clone();
                }
                self.shared.networks.give_back(&self.record.id, claims);
            }
        }
        self.publish();
        answer(reply, result.map(drop));
        self.next_network_change();
    }

    pub(super) fn next_network_change(&mut self) {
        if let Some((change, reply)) = self.network_changes.pop_front() {
            self.on_network(change, reply);
        }
    }

    /// The configuration after the change, if it is legal.
    fn changed_config(&self, change: &NetworkChange) -> Result<Config> {
        let mut config = (*self.record.config).clone();
        let is_live = self.live.is_some();
        let attachments = &mut config.network.attachments;
        match change {
            NetworkChange::Connect { network, asked } => {
                check_connect(&config.network.mode, network, asked)?;
                let present = attachments
                    .iter_mut()
                    .find(|known| known.network == network.name);
                match present {
                    Some(_) if is_live => {
                        return Err(Error::new(
                            ErrorKind::Forbidden,
                            format!(
                                "endpoint with name {} already exists in network {}",
                                self.record.name, network.name
                            ),
                        ));
                    }
                    Some(known) => known.clone_from(asked),
                    None => attachments.push((**asked).clone()),
                }
            }
            NetworkChange::Disconnect { network } => {
                if config.network.mode == "host" && network == "host" {
                    return Err(Error::new(
                        ErrorKind::Forbidden,
                        "container cannot be disconnected from host network or connected to host network",
                    ));
                }
                let before = attachments.len();
                attachments.retain(|known| known.network != *network);
                if attachments.len() == before {
                    return Err(Error::new(
                        ErrorKind::Forbidden,
                        format!(
                            "container {} is not connected to network {network}",
                            self.record.id
                        ),
                    ));
                }
            }
        }
        Ok(config)
    }

    pub(super) fn save_config(&mut self, config: Arc<Config>, reply: Reply<()>) {
        self.record.config = config;
        self.publish();
        let record = self.record.clone();
        self.shared.db.enqueue(
            Durability::Full,
            move |tx| record.update_config(tx),
            move |result| answer(reply, result),
        );
    }
}

fn carry_out(
    shared: &crate::Shared,
    mut record: ContainerRecord,
    pid: i32,
    change: &NetworkChange,
    config: Arc<Config>,
    claims: &mut Claims,
) -> Result<Arc<Config>> {
    record.config = config.clone();
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))
        .map_err(|_| Error::conflict(format!("container {} is not running", record.id)))?;
    let sandbox = Sandboxed {
        id: &record.id,
        name: record.name.as_str(),
        config: &config,
        namespace: namespace.into(),
    };
    let before = FileState::of(claims);
    let row = record.clone();
    let save = move || {
        shared
            .db
            .write(Durability::Full, move |tx| row.update_config(tx))
    };
    match change {
        NetworkChange::Connect { network, asked } => {
            shared
                .networks
                .connect_running(&sandbox, claims, network.clone(), asked)?;
            save()?;
            gantry_base::failpoint!("connect.outcome");
        }
        NetworkChange::Disconnect { network } => {
            save()?;
            gantry_base::failpoint!("disconnect.intent");
            shared
                .networks
                .disconnect_running(&sandbox, claims, network)?;
        }
    }
    let after = FileState::of(claims);
    let run_dir = shared.layout.container_run(&record.id);
    let (settings, hostname) = (
        shared.settings(),
        start::hostname_of(shared, &record.id, &record.config),
    );
    let files = |state| files_input(state, &config, &settings, &hostname);
    files::follow(&run_dir, &files(&before), &files(&after))?;
    Ok(config)
}

/// What the files in `/etc` depend on.
struct FileState {
    addresses: Vec<IpAddr>,
    has_names: bool,
}

impl FileState {
    fn of(claims: &Claims) -> Self {
        Self {
            addresses: claims.addresses(),
            has_names: claims.has_names(),
        }
    }
}

fn files_input<'a>(
    state: &'a FileState,
    config: &'a Config,
    settings: &'a crate::settings::Settings,
    hostname: &'a str,
) -> FilesInput<'a> {
    FilesInput {
        network: &config.network,
        settings,
        hostname,
        domainname: &config.domainname,
        addresses: &state.addresses,
        gateway: None,
        has_names: state.has_names,
        sysctls: &config.security.sysctls,
    }
}
