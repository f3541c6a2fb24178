//! Every path that Gantry owns, in one place. Paths inside containers and layers are never joined: they are resolved beneath descriptors.

use crate::ContainerId;
use std::path::{Path, PathBuf};

/// The two roots of one daemon: durable data, and run-time files on tmpfs.
#[derive(Debug, Clone)]
pub struct Layout {
    data_root: PathBuf,
    run_root: PathBuf,
}

impl Layout {
    /// `data_root` as `/var/lib/gantry`, `run_root` as `/run/gantry`; both absolute.
    pub fn new(data_root: impl Into<PathBuf>, run_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            run_root: run_root.into(),
        }
    }
    /// The durable root.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }
    /// The root on tmpfs.
    pub fn run_root(&self) -> &Path {
        &self.run_root
    }
    /// The SQLite file: the only record of intent.
    pub fn database(&self) -> PathBuf {
        self.data_root.join("state.db")
    }
    /// Root of the content store and the layers; its inside belongs to the `image` crate.
    pub fn images(&self) -> PathBuf {
        self.data_root.join("images")
    }
    /// The parent of all containers' durable directories.
    pub fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }
    /// One container's durable directory: its logs.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }
    /// The current log file of the json-file driver.
    pub fn container_log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }
    /// Directories renamed here wait for their deletion in the background.
    pub fn trash(&self) -> PathBuf {
        self.data_root.join("trash")
    }
    /// The parent of all volumes: `<name>/_data`.
    pub fn volumes(&self) -> PathBuf {
        self.data_root.join("volumes")
    }
    /// The parent of all containers' run directories.
    pub fn container_runs(&self) -> PathBuf {
        self.run_root.join("containers")
    }
    /// One container's run directory: `config.json shim.sock exit.json hosts hostname resolv.conf`.
    pub fn container_run(&self, id: &ContainerId) -> PathBuf {
        self.container_runs().join(id.as_str())
    }
}
