//! A store in a directory of its own.

use gantry_base::ContainerId;
use gantry_image::{Images, LayerKind, Limits, Options};
use gantry_state::Database;
use std::path::{Path, PathBuf};

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) images: Images,
    options: Options,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }
    pub(crate) fn with(limits: Limits) -> Self {
        Self::with_options(Options {
            limits,
            ..Options::default()
        })
    }
    pub(crate) fn of_kind(kind: LayerKind) -> Self {
        Self::with_options(Options {
            layer_kind: Some(kind),
            ..Options::default()
        })
    }
    fn with_options(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("is made");
        let images = open(folder.path(), options);
        Self {
            folder,
            images,
            options,
        }
    }
    /// As after a restart of the daemon.
    pub(crate) fn reopen(&mut self) {
        self.images = open(self.folder.path(), self.options);
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
    /// The only unpacked layer, mounted if it is a file.
    pub(crate) fn only_layer(&self) -> PathBuf {
        let images = self.images.list();
        assert_eq!((images.len(), self.names("layers").len()), (1, 1));
        let snapshot = self
            .images
            .prepare_snapshot(&container(250), &images[0])
            .expect("is prepared");
        snapshot.lowers[0].path.clone()
    }
    /// Nothing is left of what failed.
    pub(crate) fn assert_empty(&self, case: &str) {
        assert!(self.images.list().is_empty(), "{case}");
        for folder in ["layers", "ingest", "blobs/sha256"] {
            assert_eq!(self.names(folder), [""; 0], "{case}: {folder}");
        }
    }
}

fn open(folder: &Path, options: Options) -> Images {
    let database = Database::open(&folder.join("state.db")).expect("opens");
    Images::open_with(
        &folder.join("images"),
        &folder.join("run"),
        database,
        options,
    )
    .expect("opens")
}

pub(crate) fn container(number: u8) -> ContainerId {
    ContainerId::parse(&format!("{number:064x}")).expect("is an id")
}

/// The kinds of layer that this machine can have.
pub(crate) fn kinds() -> Vec<LayerKind> {
    match World::new().images.layer_kind() {
        LayerKind::Erofs => vec![LayerKind::Dir, LayerKind::Erofs],
        LayerKind::Dir => {
            eprintln!("the kernel mounts no layers here: only directories are tested");
            vec![LayerKind::Dir]
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.images.close();
    }
}
