//! The domain: containers, execs, images, networks, volumes, events. Owns all intent; knows neither HTTP nor the JSON of the API.
//!
//! Start reading at [`Engine::open`] (boot) and `container/mod.rs`. One service per noun, one verb per file.

mod cleaner;
mod clock;
pub mod container;
pub mod event;
pub mod exec;
pub mod host;
pub mod image;
pub mod network;
pub mod settings;
pub mod system;
pub mod volume;
mod workload;

use container::{Containers, Index};
use event::Events;
use exec::{ExecTable, Execs};
use gantry_base::{ContainerId, Context, Error, Layout, Result};
use gantry_state::Database;
use host::Host;
use image::Images;
use network::Networks;
use settings::Settings;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, RwLock};
use system::System;
use volume::Volumes;
use workload::seccomp::SeccompCache;
use workload::zygote::Zygote;

/// The services of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    /// Containers.
    pub containers: Containers,
    /// Further processes in them.
    pub execs: Execs,
    /// Images.
    pub images: Images,
    /// Networks.
    pub networks: Networks,
    /// Volumes.
    pub volumes: Volumes,
    /// What happened.
    pub events: Events,
    /// The daemon and its host.
    pub system: System,
}

/// What the services share; each verb takes what it needs from here.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) db: Database,
    pub(crate) images: Images,
    pub(crate) networks: Networks,
    pub(crate) volumes: Volumes,
    pub(crate) zygote: Zygote,
    pub(crate) events: Events,
    pub(crate) host: Host,
    pub(crate) containers: Index,
    pub(crate) execs: ExecTable,
    pub(crate) seccomp: SeccompCache,
    pub(crate) cleaner: cleaner::Cleaner,
    pub(crate) start_permits: Arc<tokio::sync::Semaphore>,
    settings: RwLock<Arc<Settings>>,
    /// Held while the daemon runs: one daemon for each of its roots.
    _locks: [OwnedFd; 2],
}

impl Shared {
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings
            .read()
            .expect("no code panics while it holds the settings")
            .clone()
    }

    /// The cgroup of a container with the default parent.
    pub(crate) fn cgroup_path(&self, id: &ContainerId) -> String {
        format!("/{}/{id}", self.settings().cgroup_parent.trim_matches('/'))
    }

    /// The cgroup of a container.
    pub(crate) fn container_cgroup(&self, record: &container::record::ContainerRecord) -> String {
        match record.config.resources.cgroup_parent.trim_matches('/') {
            "" => self.cgroup_path(&record.id),
            parent => format!("/{parent}/{}", record.id),
        }
    }
}

/// 32 bytes from the kernel.
pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .expect("the kernel's generator is seeded long before any daemon starts");
    bytes
}

impl Engine {
    /// Boots: lock, migrate, probe, reconcile every row with what exists, start what policy starts.
    ///
    /// Must be called within a tokio runtime; blocks for as long as boot takes.
    ///
    /// # Errors
    /// When another daemon holds the data root, or a part that everything needs cannot be made.
    pub fn open(settings: Settings) -> Result<Self> {
        host::require()?;
        let layout = Layout::new(&settings.data_root, &settings.run_root);
        make_roots(&layout)?;
        let locks = [lock_data_root(&layout)?, lock_run_root(&layout)?];
        let db = Database::open(&layout.database())?;
        let host = Host::probe();
        let images = Images::open(&layout, db.clone())?;
        let events = Events::default();
        let volumes = Volumes::open(&layout, db.clone(), events.clone());
        let networks = Networks::open(&db, &settings, &events)?;
        let shared = Arc::new(Shared {
            zygote: Zygote::start(&settings.shim)?,
            layout,
            db,
            images: images.clone(),
            networks: networks.clone(),
            volumes: volumes.clone(),
            events: events.clone(),
            containers: Index::default(),
            execs: ExecTable::default(),
            seccomp: SeccompCache::default(),
            cleaner: cleaner::Cleaner::start().context("cannot start the cleaner")?,
            start_permits: Arc::new(tokio::sync::Semaphore::new(host.processors.clamp(2, 8))),
            host,
            settings: RwLock::new(Arc::new(settings)),
            _locks: locks,
        });
        images.watch_use(&shared);
        let to_start = container::reconcile(&shared)?;
        networks.render()?;
        networks.serve_adopted();
        let engine = Self {
            containers: Containers {
                shared: shared.clone(),
            },
            execs: Execs {
                shared: shared.clone(),
            },
            images,
            networks,
            volumes,
            events,
            system: System { shared },
        };
        tokio::spawn(watch_firewall(engine.networks.clone()));
        for id in to_start {
            let containers = engine.containers.clone();
            tokio::spawn(async move {
                if let Err(error) = containers.start(id.as_str()).await {
                    tracing::warn!(container = %id, %error, "cannot start a container by its restart policy");
                }
            });
        }
        Ok(engine)
    }

    /// Takes new settings; those that only boot can apply keep their values until then.
    pub fn reload(&self, settings: Settings) {
        let shared = &self.containers.shared;
        *shared
            .settings
            .write()
            .expect("no code panics while it holds the settings") = Arc::new(settings);
    }

    /// Finishes what is written behind. Containers live on; the next daemon adopts them, and finds their layers mounted.
    pub fn shutdown(&self) {
        let shared = &self.containers.shared;
        shared.cleaner.flush();
        let views = shared.containers.views();
        if !views.iter().any(|view| view.state.status.is_live()) {
            shared.images.unmount_layers();
        }
    }
}

/// How soon foreign changes of our firewall rules are noticed.
const FIREWALL_CHECK: std::time::Duration = std::time::Duration::from_secs(2);

async fn watch_firewall(networks: Networks) {
    loop {
        tokio::time::sleep(FIREWALL_CHECK).await;
        networks.repair();
    }
}

fn make_roots(layout: &Layout) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Others may pass through the data root to volumes they are given, but not look around.
    let make = |path: &Path, mode| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .with_context(|| format!("cannot create {}", path.display()))
    };
    make(layout.data_root(), 0o710)?;
    make(layout.run_root(), 0o711)?;
    make(&layout.containers(), 0o710)?;
    make(&layout.volumes(), 0o701)?;
    make(&layout.container_runs(), 0o700)
}

/// One daemon a data root.
fn lock_data_root(layout: &Layout) -> Result<OwnedFd> {
    let path = layout.data_root().join("lock");
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    lock(file, layout.data_root())
}

/// One daemon a run root, where a second one would take the first one's mounts for leftovers.
fn lock_run_root(layout: &Layout) -> Result<OwnedFd> {
    let root = layout.run_root();
    let directory = std::fs::File::open(root);
    lock(
        directory.with_context(|| format!("cannot open {}", root.display()))?,
        root,
    )
}

fn lock(file: std::fs::File, root: &Path) -> Result<OwnedFd> {
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| Error::unavailable(format!("another daemon uses {}", root.display())))?;
    Ok(file.into())
}
