//! Containers: one verb per file, one actor per container, reads from published views.
//!
//! Start reading at `actor.rs` (the life of one container), `start/` (what a start does) and `reconcile.rs` (what boot does).

mod actor;
pub mod archive;
mod attach;
pub(crate) mod command;
pub mod commit;
pub mod config;
mod create;
mod exit;
pub mod health;
mod logs;
mod logs_read;
mod names;
pub(crate) mod phase;
mod prune;
mod reconcile;
pub(crate) mod record;
mod remove;
mod restart;
mod signal;
mod size;
pub(crate) mod spec;
mod spec_devices;
mod start;
pub mod stats;
mod top;
pub mod update;
mod verbs;
pub mod view;
mod volumes;

use crate::Shared;
pub(crate) use attach::DETACH_KEYS;
pub use attach::{AttachOptions, AttachPlan, ClientStream};
use command::Command;
pub use command::{ExitStatus, RemoveOptions, Start, Stop, StopOptions, WaitCondition};
pub use create::{CreateOptions, Created};
pub use logs::{LogStream, LogsOptions};
pub use prune::Pruned;
pub(crate) use reconcile::run as reconcile;
pub use size::Size;
pub(crate) use start::read_text;
pub use top::Top;

use gantry_base::ExecId;
use gantry_base::{ContainerId, Error, Result};
use indexmap::IndexMap;
use record::ContainerRecord;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};
use tokio::sync::{mpsc, oneshot, watch};
use view::{ContainerView, MountView, OverlayView, StateView};

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct Containers {
    pub(crate) shared: Arc<Shared>,
}

/// What the rest of the engine holds of a container.
pub(crate) struct ContainerHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) view: watch::Receiver<Arc<ContainerView>>,
}

/// Every container by id and by name. The lock is held for look-ups only.
#[derive(Default)]
pub(crate) struct Index {
    inner: RwLock<IndexMaps>,
}

#[derive(Default)]
struct IndexMaps {
    by_id: BTreeMap<String, ContainerHandle>,
    by_name: HashMap<String, ContainerId>,
}

impl Index {
    pub(crate) fn insert(&self, id: &ContainerId, name: &str, handle: ContainerHandle) {
        let mut maps = self.write();
        maps.by_name.insert(name.to_owned(), id.clone());
        maps.by_id.insert(id.as_str().to_owned(), handle);
    }

    pub(crate) fn remove(&self, id: &ContainerId) {
        let mut maps = self.write();
        maps.by_id.remove(id.as_str());
        maps.by_name.retain(|_, holder| holder != id);
    }

    pub(crate) fn rename(&self, id: &ContainerId, name: &str) {
        let mut maps = self.write();
        maps.by_name.retain(|_, holder| holder != id);
        maps.by_name.insert(name.to_owned(), id.clone());
    }

    /// Who has a name.
    pub(crate) fn holder_of(&self, name: &str) -> Option<ContainerId> {
        self.read().by_name.get(name).cloned()
    }

    /// By full id, then name, then unique prefix of an id.
    pub(crate) fn find(
        &self,
        reference: &str,
    ) -> Result<(mpsc::Sender<Command>, Arc<ContainerView>)> {
        let maps = self.read();
        let found =
            |handle: &ContainerHandle| (handle.commands.clone(), handle.view.borrow().clone());
        if let Some(handle) = maps.by_id.get(reference) {
            return Ok(found(handle));
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(handle) = maps
            .by_name
            .get(name)
            .and_then(|id| maps.by_id.get(id.as_str()))
        {
            return Ok(found(handle));
        }
        if reference.is_empty() {
            return Err(command::gone(reference));
        }
        let mut candidates = maps
            .by_id
            .range(reference.to_owned()..)
            .take_while(|(id, _)| id.starts_with(reference));
        match (candidates.next(), candidates.next()) {
            (Some((_, handle)), None) => Ok(found(handle)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "multiple IDs found with provided prefix: {reference}"
            ))),
            _ => Err(command::gone(reference)),
        }
    }

    /// The views as they are published, from now on.
    pub(crate) fn watch(&self, reference: &str) -> Result<watch::Receiver<Arc<ContainerView>>> {
        let (_, view) = self.find(reference)?;
        self.read()
            .by_id
            .get(view.id.as_str())
            .map(|handle| handle.view.clone())
            .ok_or_else(|| command::gone(reference))
    }

    pub(crate) fn views(&self) -> Vec<Arc<ContainerView>> {
        self.read()
            .by_id
            .values()
            .map(|handle| handle.view.borrow().clone())
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, IndexMaps> {
        self.inner
            .read()
            .expect("no code panics while it holds the index")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, IndexMaps> {
        self.inner
            .write()
            .expect("no code panics while it holds the index")
    }
}

impl Containers {
    /// The last published view.
    ///
    /// # Errors
    /// `No such container`, or an ambiguous prefix.
    pub fn get(&self, reference: &str) -> Result<Arc<ContainerView>> {
        self.shared.containers.find(reference).map(|(_, view)| view)
    }

    /// Every container, newest first.
    pub fn list(&self) -> Vec<Arc<ContainerView>> {
        let mut views = self.shared.containers.views();
        views.sort_by(|one, other| {
            other
                .created_ns
                .cmp(&one.created_ns)
                .then_with(|| one.id.cmp(&other.id))
        });
        views
    }

    /// Sends a command made from a reply channel and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        reference: &str,
        make: impl FnOnce(command::Reply<T>) -> Command,
    ) -> Result<T> {
        let (commands, _) = self.shared.containers.find(reference)?;
        let (reply, answer) = oneshot::channel();
        commands
            .send(make(reply))
            .await
            .map_err(|_| command::gone(reference))?;
        answer.await.map_err(|_| command::gone(reference))?
    }
}

/// The view that a record and its run make.
fn published(
    shared: &Shared,
    record: &ContainerRecord,
    run: Option<&start::Outcome>,
    exec_ids: Vec<ExecId>,
) -> ContainerView {
    let (path, args) = create::command_line(&record.config);
    let status = &record.status;
    let run_dir = shared.layout.container_run(&record.id);
    let was_started = status.started_ns.is_some();
    let file = |name: &str| {
        let path = was_started.then(|| run_dir.join(name));
        path.unwrap_or_default().to_string_lossy().into_owned()
    };
    let has_log = was_started && record.config.log.driver != "none";
    ContainerView {
        id: record.id.clone(),
        name: record.name.clone(),
        created_ns: record.created_ns,
        image: record.image.clone(),
        config: record.config.clone(),
        path,
        args,
        state: StateView {
            status: record.phase.status(status.started_ns.is_some()),
            pid: status.pid,
            exit_code: status.exit_code,
            error: status.error.clone(),
            oom_killed: status.oom_killed,
            started_ns: status.started_ns,
            finished_ns: status.finished_ns,
            health: status.health.clone(),
        },
        networks: run.map_or_else(
            || start::endpoint_views(shared, record, None),
            |run| run.endpoints.clone(),
        ),
        ports: run.map(|run| run.ports.clone()).unwrap_or_default(),
        sandbox_key: run
            .map(|run| format!("/proc/{}/ns/net", run.pid))
            .unwrap_or_default(),
        mounts: mount_views(shared, record),
        restart_count: status.restart_count,
        exec_ids,
        log_path: if has_log {
            shared
                .layout
                .container_log(&record.id)
                .to_string_lossy()
                .into_owned()
        } else {
            String::new()
        },
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        overlay: overlay_view(shared, record),
    }
}

fn overlay_view(shared: &Shared, record: &ContainerRecord) -> Option<OverlayView> {
    let snapshot = shared.images.snapshot_directories(&record.id)?;
    let lower: Vec<String> = snapshot
        .lowers
        .iter()
        .map(|lower| lower.path.to_string_lossy().into_owned())
        .collect();
    Some(OverlayView {
        lower: lower.join(":"),
        upper: snapshot.upper.to_string_lossy().into_owned(),
        work: snapshot.work.to_string_lossy().into_owned(),
    })
}

fn mount_views(shared: &Shared, record: &ContainerRecord) -> Vec<MountView> {
    use config::MountSource;
    record
        .config
        .mounts
        .iter()
        .filter_map(|mount| {
            let base = MountView {
                destination: mount.target.clone(),
                rw: !mount.readonly,
                ..MountView::default()
            };
            match &mount.source {
                MountSource::Bind {
                    path,
                    propagation,
                    mode,
                    ..
                } => Some(MountView {
                    kind: "bind",
                    source: path.clone(),
                    mode: mode.clone(),
                    propagation: if propagation.is_empty() {
                        "rprivate".into()
                    } else {
                        propagation.clone()
                    },
                    ..base
                }),
                MountSource::Volume { name, mode, .. } => Some(MountView {
                    kind: "volume",
                    name: name.clone(),
                    source: shared
                        .volumes
                        .mountpoint(name)
                        .to_string_lossy()
                        .into_owned(),
                    driver: "local".into(),
                    mode: mode.clone(),
                    ..base
                }),
                MountSource::Tmpfs { .. } if mount.from_mounts => Some(MountView {
                    kind: "tmpfs",
                    ..base
                }),
                MountSource::Tmpfs { .. } => None,
            }
        })
        .collect()
}

/// The attributes of a container's events: Docker gives image, name and every label.
fn attributes(record: &ContainerRecord, more: &[(&str, &str)]) -> IndexMap<String, String> {
    let mut attributes = record.config.labels.clone();
    attributes.insert("image".into(), record.config.image_reference.clone());
    attributes.insert("name".into(), record.name.as_str().to_owned());
    attributes.extend(
        more.iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned())),
    );
    attributes
}

/// The same of a view.
pub(crate) fn view_attributes(view: &ContainerView) -> IndexMap<String, String> {
    let mut attributes = view.config.labels.clone();
    attributes.insert("image".into(), view.config.image_reference.clone());
    attributes.insert("name".into(), view.name.as_str().to_owned());
    attributes
}

/// The environment of a container's own process, for execs.
pub(crate) fn exec_environment(view: &ContainerView, shared: &Shared) -> Vec<String> {
    let hostname = start::hostname_of(shared, &view.id, &view.config);
    spec::base_environment(&view.config, &hostname)
}

/// Docker names the container in an exec's refusal as the client did.
pub(crate) fn phase_of(error: Error, reference: &str) -> Error {
    let Some((before, after)) = error.message().split_once(" is paused, unpause") else {
        return error;
    };
    debug_assert!(before.starts_with("Container "));
    Error::new(
        error.kind(),
        format!("Container {reference} is paused, unpause{after}"),
    )
}
