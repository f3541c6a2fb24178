//! What a start does, as one job beside the actor: rows, namespace and root at the same time, shim, payload, row.
//!
//! Runs on a blocking thread. The order is: write the intent (`starting`, endpoint, ports), make the effects under names derived
//! from the id, write the outcome (`running`). Everything is taken back by `Undo` when a step fails, and by boot after a crash.

mod launch;
mod log_plan;
mod namespaces;
mod prepare;

pub(super) use log_plan::check_log;
pub(super) use prepare::hostname_of;
pub(crate) use prepare::read_text;

use super::Shared;
use super::config::{Attachment, Config};
use super::phase::Phase;
use super::record::ContainerRecord;
use super::view::{EndpointView, PublishedPort};
use crate::network::{ClaimRequest, Claims, Network, dns_names, published_views};
use crate::workload::rootfs;
use crate::workload::shim::BlockingShim;
use gantry_base::{Context as _, Error, Result, Undo};
use gantry_network::endpoint::Sandbox;
use gantry_shim_protocol::Attach;
use gantry_state::{Durability, sql_error};
use launch::Handover;
use namespaces::JoinedNamespaces;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};

/// A run: the connection to its shim, and what it holds.
pub(crate) struct Running {
    pub(crate) shim: BlockingShim,
    pub(crate) outcome: Outcome,
    /// Only for adopted ones.
    pub(crate) paused: bool,
}

/// What a run is and holds.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) pid: i32,
    pub(crate) started_ns: i64,
    pub(crate) endpoints: Vec<EndpointView>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) claims: Option<Claims>,
}

/// Why a start failed, with Docker's exit code for it.
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) exit_code: i32,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            error,
            exit_code: 128,
        }
    }
}

/// Starts the container; its row is written before this returns.
pub(crate) async fn run(
    shared: Arc<Shared>,
    record: ContainerRecord,
    attach: Vec<(Attach, OwnedFd)>,
) -> std::result::Result<Running, Failed> {
    // Two or three starts in flight finish a burst sooner than all at once: the kernel serialises most of it.
    let permit = shared.start_permits.clone().acquire_owned().await;
    let job = tokio::task::spawn_blocking(move || {
        let result = start(&shared, record, attach);
        drop(permit);
        result
    });
    job.await
        .unwrap_or_else(|_| Err(Error::internal("the start ended unexpectedly").into()))
}

fn start(
    shared: &Arc<Shared>,
    mut record: ContainerRecord,
    attach: Vec<(Attach, OwnedFd)>,
) -> std::result::Result<Running, Failed> {
    let id = record.id.clone();
    record.phase = Phase::Starting;
    record.boot.clone_from(&shared.host.boot_id);
    let mut undo = Undo::new();
    let shared_namespaces = JoinedNamespaces::open(shared, &record)?;
    let mut claims = intent(shared, &record)?;
    gantry_base::failpoint!("start.intent");
    let taken = record.config.clone();
    undo.push(move || take_back(shared, &id, &taken));
    let sandbox = claims
        .as_ref()
        .map(|claims| shared.networks.create_sandbox(claims));
    let prepared = prepare::prepare(shared, &record, claims.as_ref(), &shared_namespaces)?;
    gantry_base::failpoint!("start.prepared");
    let sandbox = made_sandbox(sandbox, claims.as_mut())?;
    gantry_base::failpoint!("start.sandbox");
    let namespace = kept_namespace(&record, sandbox.as_ref())?;
    let handover = Handover {
        prepared: &prepared,
        sandbox,
        claims: claims.as_ref(),
        joined: &shared_namespaces,
        attach,
    };
    let (shim, pid, started_ns) = launch::launch(shared, &record, handover)?;
    gantry_base::failpoint!("start.running");
    record.phase = Phase::Running;
    record.status.pid = pid;
    record.status.started_ns = Some(started_ns);
    record.status.error.clear();
    record.status.exit_code = 0;
    record.status.oom_killed = false;
    record_running(shared, record.clone());
    gantry_base::failpoint!("start.outcome");
    undo.disarm();
    if let Some(claims) = &mut claims {
        // The shim holds its own copies from now on.
        claims.sockets.clear();
        let (id, name) = (&record.id, record.name.as_str());
        shared
            .networks
            .announce(id, name, &record.config, claims, namespace);
    }
    let outcome = Outcome {
        pid,
        started_ns,
        endpoints: running_views(shared, &record, claims.as_ref()),
        ports: claims
            .as_ref()
            .map(|claims| published_views(&claims.published))
            .unwrap_or_default(),
        claims,
    };
    Ok(Running {
        shim,
        outcome,
        paused: false,
    })
}

/// Waits for the namespace that the network thread makes.
fn made_sandbox(
    sandbox: Option<mpsc::Receiver<Result<Sandbox>>>,
    claims: Option<&mut Claims>,
) -> Result<Option<OwnedFd>> {
    let Some(result) = sandbox else {
        return Ok(None);
    };
    let made = result
        .recv()
        .map_err(|_| Error::internal("the network thread has ended"))?
        .map_err(|error| error.prefixed("failed to set up container networking"))?;
    if let Some(claims) = claims {
        claims.resolver = made.resolver;
    }
    Ok(Some(made.namespace))
}

/// The name server asks from the container's namespace only where it was given servers.
fn kept_namespace(record: &ContainerRecord, made: Option<&OwnedFd>) -> Result<Option<OwnedFd>> {
    made.filter(|_| !record.config.network.dns.is_empty())
        .map(OwnedFd::try_clone)
        .transpose()
        .context("cannot keep the network namespace")
}

/// Written behind: until the row is there, boot finds the phase `starting` and a shim that runs, which is as good.
fn record_running(shared: &Shared, record: ContainerRecord) {
    let id = record.id.clone();
    shared.db.enqueue(
        Durability::Normal,
        move |tx| record.update(tx),
        move |result| {
            if let Err(error) = result {
                tracing::error!(container = %id, %error, "cannot record that a container runs");
            }
        },
    );
}

/// Writes the phase, and reserves address and ports in the bridge network.
fn intent(shared: &Shared, record: &ContainerRecord) -> Result<Option<Claims>> {
    let row = record.clone();
    if !record.config.network.is_own() {
        shared
            .db
            .write(Durability::Normal, move |tx| row.update(tx))?;
        return Ok(None);
    }
    let request = ClaimRequest {
        id: &record.id,
        name: record.name.as_str(),
        config: &record.config,
        intent: Box::new(move |tx| row.update(tx)),
    };
    let claimed = shared.networks.claim(request);
    if claimed.is_err() {
        take_back(shared, &record.id, &record.config);
    }
    claimed.map(Some)
}

/// Gives rows and run directory of a failed start back. The actor writes the phase.
fn take_back(shared: &Shared, id: &gantry_base::ContainerId, config: &Config) {
    if let Ok(claims) = shared.networks.adopt_claims(id, config) {
        shared.networks.release(id.as_str(), claims);
    }
    let key = id.as_str().to_owned();
    let deleted = shared.db.write(Durability::Normal, move |tx| {
        tx.execute("DELETE FROM endpoint WHERE container = ?1", [&key])
            .map_err(sql_error)?;
        Ok(())
    });
    if let Err(error) = deleted {
        tracing::error!(container = %id, %error, "cannot give an address back");
    }
    rootfs::remove_cgroups(&shared.cgroup_path(id));
    // Absent when the start failed before it.
    let _ = std::fs::remove_dir_all(shared.layout.container_run(id));
}

/// A container's networks as reads show them; of a run with what it holds.
pub(in crate::container) fn endpoint_views(
    shared: &Shared,
    record: &ContainerRecord,
    claims: Option<&Claims>,
) -> Vec<EndpointView> {
    let (name, id) = (record.name.as_str(), record.id.as_str());
    let config = &record.config;
    let names = |network: &Network, asked: &Attachment| dns_names(network, asked, name, id, config);
    let held = claims.iter().flat_map(|claims| &claims.endpoints);
    let mut views: Vec<EndpointView> = held
        .map(|endpoint| endpoint.view(names(&endpoint.network, &endpoint.asked)))
        .collect();
    if config.network.is_own() && claims.is_some() {
        return views;
    }
    views.extend(config.network.attachments.iter().map(|asked| {
        let network = shared.networks.find(&asked.network).ok();
        let mut view = EndpointView {
            network: asked.network.clone(),
            asked: asked.clone(),
            ..EndpointView::default()
        };
        if let Some(network) = network {
            view.network.clone_from(&network.name);
            view.network_id.clone_from(&network.id);
            view.driver = network.driver.as_str();
            view.dns_names = names(&network, asked);
        }
        view
    }));
    views
}

/// The networks of a run; Docker gives host and none an endpoint too, without addresses.
pub(super) fn running_views(
    shared: &Shared,
    record: &ContainerRecord,
    claims: Option<&Claims>,
) -> Vec<EndpointView> {
    let mut views = endpoint_views(shared, record, claims);
    for view in &mut views {
        if view.endpoint_id.is_empty() {
            gantry_base::NetworkId::from_random(crate::random_bytes)
                .as_str()
                .clone_into(&mut view.endpoint_id);
        }
    }
    views
}
