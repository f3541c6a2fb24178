//! Volumes of the `local` driver: a directory by name, which containers use and which outlives them.
//!
//! A row says that a volume exists; its directory is made after the row, and goes before it. Uses are rows too, so that a volume
//! in use cannot be removed. Contents of the image go into an empty volume once, in `copy_up.rs`.

mod copy_up;
pub(crate) mod record;

use crate::clock::now_ns;
use crate::event::Events;
use gantry_base::{ContainerId, Context, Error, Layout, Result};
use gantry_state::rusqlite::{Connection, Transaction};
use gantry_state::{Database, Durability};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use copy_up::copy_up;

/// Docker's label of a volume that was made without a name.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// What `docker volume create --opt` may say; see mount(8).
const OPTIONS: [&str; 4] = ["type", "o", "device", "size"];

/// The service for the noun. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    database: Database,
    events: Events,
}

/// What is asked of a new volume.
#[derive(Debug, Clone, Default)]
pub struct VolumeOptions {
    /// Empty: a generated one, and the volume counts as anonymous.
    pub name: String,
    /// Empty: `local`.
    pub driver: String,
    /// None and empty differ for inspect.
    pub labels: Option<IndexMap<String, String>>,
    /// Options of the driver.
    pub options: Option<IndexMap<String, String>>,
}

/// A volume at one moment.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// As given.
    pub labels: Option<IndexMap<String, String>>,
    /// As given.
    pub options: Option<IndexMap<String, String>>,
    /// Where its data is on the host.
    pub mountpoint: PathBuf,
    /// Whether a container uses it.
    pub is_used: bool,
}

impl VolumeView {
    /// Whether it was made without a name.
    pub fn is_anonymous(&self) -> bool {
        let labels = self.labels.as_ref();
        labels.is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }
}

/// What a prune removed.
#[derive(Debug, Clone, Default)]
pub struct PrunedVolumes {
    /// Their names.
    pub names: Vec<String>,
    /// Bytes of their files.
    pub space_reclaimed_bytes: u64,
}

impl Volumes {
    pub(crate) fn open(layout: &Layout, database: Database, events: Events) -> Self {
        let root = layout.volumes();
        Self {
            inner: Arc::new(Inner {
                root,
                database,
                events,
            }),
        }
    }

    /// Makes a volume; one of that name that is there already is as good.
    ///
    /// # Errors
    /// Names and options that are invalid, drivers that are not there, in Docker's words.
    pub async fn create(&self, options: VolumeOptions) -> Result<VolumeView> {
        let mut options = options;
        if options.name.is_empty() {
            options.name = anonymous_name();
            let labels = options.labels.get_or_insert_default();
            labels.insert(ANONYMOUS.to_owned(), String::new());
        }
        let name = options.name.clone();
        let failed = |error: Error| {
            if error.message().starts_with("create ") {
                error
            } else {
                error.prefixed(format!("create {name}"))
            }
        };
        check_options(&options).map_err(failed)?;
        let service = self.clone();
        let volume = VolumeView {
            name: options.name,
            created_ns: now_ns(),
            labels: options.labels.filter(|labels| !labels.is_empty()),
            options: options.options.filter(|options| !options.is_empty()),
            mountpoint: PathBuf::new(),
            is_used: false,
        };
        blocking(move || {
            let name = volume.name.clone();
            service.ensure(vec![volume])?;
            service.get(&name)
        })
        .await
    }

    /// By name.
    ///
    /// # Errors
    /// `no such volume`
    pub fn get(&self, name: &str) -> Result<VolumeView> {
        self.inner.database.read(|connection| {
            let found = record::find(connection, name)?.ok_or_else(|| record::no_such(name))?;
            let users = record::users(connection, name)?;
            Ok(self.located(found, !users.is_empty()))
        })
    }

    /// Every volume, by name.
    pub fn list(&self) -> Result<Vec<VolumeView>> {
        self.inner.database.read(|connection| {
            let mut volumes = Vec::new();
            for volume in record::all(connection)? {
                let is_used = !record::users(connection, &volume.name)?.is_empty();
                volumes.push(self.located(volume, is_used));
            }
            Ok(volumes)
        })
    }

    /// Every volume with the containers that use it, and the bytes of its files.
    ///
    /// # Errors
    /// When the volumes cannot be read.
    pub async fn usage(&self) -> Result<Vec<(VolumeView, usize, u64)>> {
        let service = self.clone();
        blocking(move || {
            let mut usage = Vec::new();
            for volume in service.list()? {
                let users = |connection: &Connection| record::users(connection, &volume.name);
                let users = service.inner.database.read(users)?.len();
                let bytes = tree_bytes(&volume.mountpoint);
                usage.push((volume, users, bytes));
            }
            Ok(usage)
        })
        .await
    }

    /// Removes a volume and its data.
    ///
    /// # Errors
    /// `no such volume`, or the containers that use it.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let (service, name) = (self.clone(), name.to_owned());
        blocking(move || service.remove_now(&name)).await
    }

    /// Removes every volume that no container uses and that `wanted` accepts.
    pub async fn prune(
        &self,
        wanted: impl Fn(&VolumeView) -> bool + Send + 'static,
    ) -> Result<PrunedVolumes> {
        let service = self.clone();
        blocking(move || {
            let mut pruned = PrunedVolumes::default();
            for volume in service.list()? {
                if volume.is_used || !wanted(&volume) {
                    continue;
                }
                let bytes = tree_bytes(&volume.mountpoint);
                // One that was taken into use meanwhile is no failure of the prune.
                if service.remove_now(&volume.name).is_ok() {
                    pruned.space_reclaimed_bytes += bytes;
                    pruned.names.push(volume.name);
                }
            }
            Ok(pruned)
        })
        .await
    }

    /// The volumes of a container that is being created: rows for those that are missing, then their directories.
    /// Blocks, as all that follow.
    pub(crate) fn ensure_used(&self, volumes: &BTreeMap<String, bool>) -> Result<()> {
        let created_ns = now_ns();
        let volume = |(name, &anonymous): (&String, &bool)| VolumeView {
            name: name.clone(),
            created_ns,
            labels: anonymous.then(|| IndexMap::from([(ANONYMOUS.to_owned(), String::new())])),
            options: None,
            mountpoint: PathBuf::new(),
            is_used: false,
        };
        self.ensure(volumes.iter().map(volume).collect())
    }

    /// The directory of a volume that exists; made if it is missing.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        use std::os::unix::fs::DirBuilderExt as _;
        check_name(name)?;
        let parent = self.inner.root.join(name);
        let directory = parent.join("_data");
        if !directory.is_dir() {
            let make = |path: &Path, mode| {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(mode)
                    .create(path)
            };
            make(&parent, 0o701)
                .and_then(|()| make(&directory, 0o755))
                .with_context(|| format!("cannot make volume {name}"))?;
        }
        Ok(directory)
    }

    /// Where a volume's data is, for views.
    pub(crate) fn mountpoint(&self, name: &str) -> PathBuf {
        self.inner.root.join(name).join("_data")
    }

    /// Publishes what a container does with a volume.
    pub(crate) fn publish_use(
        &self,
        action: &str,
        name: &str,
        container: &ContainerId,
        more: &[(&str, &str)],
    ) {
        let given = [("container", container.as_str())];
        let attributes = given.iter().chain(more).chain(&[("driver", "local")]);
        let attributes = attributes.map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let attributes = attributes.collect();
        self.inner
            .events
            .publish("volume", action, name, attributes);
    }

    /// Takes back the anonymous volumes of a container that could not be created.
    pub(crate) fn discard(&self, names: &[String]) {
        for name in names {
            if let Err(error) = self.remove_now(name) {
                tracing::debug!(%error, "a volume of a failed create was not there");
            }
        }
    }

    /// Finishes removals whose row says that they have begun.
    pub(crate) fn finish_removals(&self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| self.finish_removal(name))
    }

    /// Boot: finishes what an earlier daemon began, and gives rows to the volumes of containers that were made without them.
    pub(crate) fn reconcile(&self, uses: &BTreeMap<String, BTreeSet<String>>) -> Result<()> {
        let names = self.inner.database.read(record::removing)?;
        self.finish_removals(&names)?;
        let missing: BTreeMap<String, bool> = uses
            .values()
            .flatten()
            .map(|name| (name.clone(), is_generated(name)))
            .filter(|(name, _)| self.get(name).is_err())
            .collect();
        self.ensure_used(&missing)?;
        if missing.is_empty() {
            return Ok(());
        }
        let uses = uses.clone();
        self.inner.database.write(Durability::Normal, move |tx| {
            for (container, volumes) in &uses {
                for volume in volumes {
                    record::insert_use(tx, container, volume)?;
                }
            }
            Ok(())
        })
    }

    fn ensure(&self, volumes: Vec<VolumeView>) -> Result<()> {
        if volumes.is_empty() {
            return Ok(());
        }
        for volume in &volumes {
            check_name(&volume.name)?;
        }
        let write = move |tx: &Transaction<'_>| {
            let mut made = Vec::new();
            for volume in &volumes {
                if record::insert(tx, volume)? {
                    made.push(volume.name.clone());
                }
            }
            Ok(made)
        };
        let made = self.inner.database.write(Durability::Full, write)?;
        gantry_base::failpoint!("volume.row");
        for name in made {
            self.directory(&name)?;
            self.publish("create", &name);
        }
        Ok(())
    }

    fn remove_now(&self, name: &str) -> Result<()> {
        let key = name.to_owned();
        let begin = move |tx: &Transaction<'_>| record::begin_removal(tx, &key);
        self.inner.database.write(Durability::Full, begin)?;
        gantry_base::failpoint!("volume.removing");
        self.finish_removal(name)
    }

    fn finish_removal(&self, name: &str) -> Result<()> {
        check_name(name)?;
        match std::fs::remove_dir_all(self.inner.root.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::from(error).prefixed(format!("remove {name}")));
            }
            _ => {}
        }
        let key = name.to_owned();
        let write = move |tx: &Transaction<'_>| record::delete(tx, &key);
        self.inner.database.write(Durability::Normal, write)?;
        self.publish("destroy", name);
        Ok(())
    }

    fn publish(&self, action: &str, name: &str) {
        let attributes = IndexMap::from([("driver".to_owned(), "local".to_owned())]);
        self.inner
            .events
            .publish("volume", action, name, attributes);
    }

    fn located(&self, volume: VolumeView, is_used: bool) -> VolumeView {
        VolumeView {
            mountpoint: self.mountpoint(&volume.name),
            is_used,
            ..volume
        }
    }
}

/// A name for a volume without one.
pub(crate) fn anonymous_name() -> String {
    ContainerId::from_random(crate::random_bytes)
        .as_str()
        .to_owned()
}

fn is_generated(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A name becomes a path component, so its form is checked.
fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    // The longest name of a directory.
    if first
        && name.len() <= 255
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

fn check_options(options: &VolumeOptions) -> Result<()> {
    if !matches!(options.driver.as_str(), "" | "local") {
        return Err(Error::not_found(format!(
            "error looking up volume plugin {0}: plugin \"{0}\" not found",
            options.driver
        )));
    }
    check_name(&options.name)?;
    let mut given = options.options.iter().flatten().map(|(name, _)| name);
    if let Some(name) = given.clone().find(|name| !OPTIONS.contains(&name.as_str())) {
        return Err(Error::invalid(format!("invalid option: \"{name}\"")));
    }
    match given.next() {
        Some(name) => Err(Error::not_implemented(format!(
            "volume option {name} is not supported yet"
        ))),
        None => Ok(()),
    }
}

/// Apparent sizes of all files beneath a directory; what cannot be read counts as nothing.
fn tree_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::internal("the volume's change ended unexpectedly"))?
}
