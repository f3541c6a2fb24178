//! The directory in which the command line remembers its containers: one directory each, with `state.json`.
//!
//! What a container's status is, is asked of the kernel each time; nothing here is trusted to be still true.

use gantry_oci::runtime::Spec;
use gantry_runtime::cgroup::{Cgroup, Roots};
use gantry_runtime::{Error, HookState, Result};
use gantry_sys::pidfd;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The socket on which a created container's init waits for its start.
pub(super) const START_SOCKET: &str = "start.sock";
const STATE_FILE: &str = "state.json";

/// All containers below one root.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: PathBuf,
}

/// What is remembered of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) pid: i32,
    /// When that process started, in clock ticks since boot: tells it from a later one with the same number.
    pub(super) pid_start: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) created: String,
    pub(super) namespaces: u64,
    pub(super) cgroup: Vec<(String, String)>,
    pub(super) spec: Spec,
}

/// A container's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// One remembered container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) record: Record,
    pub(super) folder: PathBuf,
    roots: Arc<Roots>,
}

impl Store {
    /// Refuses ids that could be anything but the name of one directory.
    pub(super) fn check_id(id: &str) -> Result<()> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(is_plain)
        {
            return Err(Error::invalid("invalid container ID format"));
        }
        Ok(())
    }

    /// Takes an id; the directory is the claim.
    pub(super) fn claim(&self, id: &str) -> Result<PathBuf> {
        Self::check_id(id)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.root)
            .map_err(|error| at(&self.root, error))?;
        let folder = self.root.join(id);
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Error::invalid("container with given ID already exists"))
            }
            other => other
                .map(|()| folder.clone())
                .map_err(|error| at(&folder, error)),
        }
    }

    /// A container by id.
    pub(super) fn open(&self, id: &str) -> Result<Container> {
        Self::check_id(id)?;
        let folder = self.root.join(id);
        let path = folder.join(STATE_FILE);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::invalid("container does not exist"));
            }
            other => other.map_err(|error| at(&path, error))?,
        };
        let record = serde_json::from_slice(&text).map_err(|error| {
            Error::internal(format!("cannot parse {}: {error}", path.display()))
        })?;
        let roots = Arc::new(Roots::open().unwrap_or_else(|_| Roots::absent()));
        Ok(Container {
            record,
            folder,
            roots,
        })
    }

    /// All that can be read, by id.
    pub(super) fn list(&self) -> Vec<Container> {
        let entries = std::fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten();
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort();
        ids.iter().filter_map(|id| self.open(id).ok()).collect()
    }
}

impl Container {
    /// A container that was just made.
    pub(super) fn new(record: Record, folder: PathBuf, roots: Arc<Roots>) -> Self {
        Self {
            record,
            folder,
            roots,
        }
    }

    /// Writes the record, whole or not at all.
    pub(super) fn save(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.record)
            .map_err(|error| Error::internal(format!("cannot write the state: {error}")))?;
        let path = self.folder.join(STATE_FILE);
        let temporary = self.folder.join(".state.json");
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| at(&path, error))
    }

    pub(super) fn cgroup(&self) -> Cgroup {
        self.roots.find(&self.record.cgroup)
    }

    /// Init, if it is still the process that was remembered and has not ended.
    pub(super) fn init(&self) -> Option<OwnedFd> {
        let pidfd = pidfd::open(self.record.pid).ok()?;
        let (start, state) = process_stat(self.record.pid)?;
        // Checked after the descriptor was opened: from then on the number cannot be reused.
        (start == self.record.pid_start && !matches!(state, 'Z' | 'X')).then_some(pidfd)
    }

    pub(super) fn status(&self) -> Status {
        if self.init().is_none() {
            return Status::Stopped;
        }
        if self.cgroup().is_frozen().unwrap_or(false) {
            return Status::Paused;
        }
        if self.folder.join(START_SOCKET).exists() {
            Status::Created
        } else {
            Status::Running
        }
    }

    pub(super) fn hook_state(&self, pid: i32) -> HookState {
        HookState {
            id: self.record.id.clone(),
            pid,
            bundle: self.record.bundle.clone(),
            annotations: self
                .record
                .spec
                .annotations
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    /// Forgets a container that has ended: its cgroups, its directory, and what its hooks do about it.
    pub(super) fn forget(&self) -> Result<Vec<String>> {
        let cgroup = self.cgroup();
        // Without a pid namespace of its own, others may have outlived init.
        cgroup.kill_all()?;
        cgroup.remove()?;
        std::fs::remove_dir_all(&self.folder).map_err(|error| at(&self.folder, error))?;
        let hooks = self.record.spec.hooks.as_ref();
        Ok(hooks
            .map(|hooks| gantry_runtime::run_poststop(hooks, &self.hook_state(0)))
            .unwrap_or_default())
    }
}

/// Start time and state of a process.
pub(super) fn process_stat(pid: i32) -> Option<(u64, char)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, parentheses too.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some((
        fields.get(19)?.parse().ok()?,
        fields.first()?.chars().next()?,
    ))
}

/// An I/O error with the path it is about.
pub(super) fn at(path: &Path, error: std::io::Error) -> Error {
    Error::from(error).prefixed(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_one_directory() {
        for good in ["a", "web_1", "a.b+c-d", &"x".repeat(1024)] {
            Store::check_id(good).expect("is valid");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(1025)] {
            assert!(Store::check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn this_process_has_a_start_time() {
        let pid = i32::try_from(std::process::id()).expect("fits");
        let (start, state) = process_stat(pid).expect("is read");
        assert!(start > 0 && state != 'Z');
        assert!(process_stat(0).is_none());
    }
}
