//! A store in a directory of its own.

use gantry_base::ContainerId;
use gantry_image::{Images, Limits};
use gantry_state::Database;
use std::path::{Path, PathBuf};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) images: Images,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }
    pub(crate) fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("is made");
        let images = open(folder.path(), limits);
        Self { folder, images }
    }
    /// As after a restart of the daemon.
    pub(crate) fn reopen(&mut self) {
        self.images = open(self.folder.path(), Limits::default());
    }
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("images")
    }
    /// Names in one of the store's directories.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root().join(folder)).expect("is listed");
        let mut names: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect("is listed")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
    /// The only unpacked layer.
    pub(crate) fn only_layer(&self) -> PathBuf {
        let names = self.names("layers");
        assert_eq!(names.len(), 1, "{names:?}");
        self.root().join("layers").join(&names[0]).join("diff")
    }
    /// Nothing is left of what failed.
    pub(crate) fn assert_empty(&self, case: &str) {
        assert!(self.images.list().is_empty(), "{case}");
        for folder in ["layers", "ingest", "blobs/sha256"] {
            assert_eq!(self.names(folder), [""; 0], "{case}: {folder}");
        }
    }
}

fn open(folder: &Path, limits: Limits) -> Images {
    let database = Database::open(&folder.join("state.db")).expect("opens");
    Images::open_with(&folder.join("images"), database, limits).expect("opens")
}

pub(crate) fn container(number: u8) -> ContainerId {
    ContainerId::parse(&format!("{number:064x}")).expect("is an id")
}
