//! Lists that are being made: a folder for each, with a file for each image, under `manifests` of the configuration.

use super::entry::{Entry, to_json};
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use gantry_oci::Reference;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            root: session.config_directory().join("manifests"),
        }
    }

    /// All images of a list, in the order of their names; none if there is no such list.
    pub(super) fn list(&self, list: &Reference) -> Outcome<Option<Vec<Entry>>> {
        let folder = self.folder(list);
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failure(&folder, error)),
        };
        let mut paths = Vec::new();
        for file in files {
            let path = file.map_err(|error| failure(&folder, error))?.path();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            // What a program that was killed was writing.
            if !name.starts_with(b".") {
                paths.push(path);
            }
        }
        paths.sort();
        let entries: Vec<Entry> = paths
            .iter()
            .map(|path| read(path))
            .collect::<Outcome<_>>()?;
        Ok((!entries.is_empty()).then_some(entries))
    }

    pub(super) fn get(&self, list: &Reference, image: &Reference) -> Outcome<Option<Entry>> {
        let path = self.folder(list).join(file_name(image));
        if path.exists() {
            read(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn save(&self, list: &Reference, image: &Reference, entry: &Entry) -> Outcome {
        let folder = self.folder(list);
        let path = folder.join(file_name(image));
        let text = to_json(entry)?;
        let write = || {
            fs::create_dir_all(&folder)?;
            let temporary = folder.join(format!(".{}", std::process::id()));
            let mut file = fs::File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| failure(&path, error))
    }

    /// Gives whether there was one.
    pub(super) fn remove(&self, list: &Reference) -> Outcome<bool> {
        let folder = self.folder(list);
        match fs::remove_dir_all(&folder) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failure(&folder, error)),
        }
    }

    fn folder(&self, list: &Reference) -> PathBuf {
        self.root.join(file_name(list))
    }
}

/// As docker names them.
fn file_name(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

fn read(path: &Path) -> Outcome<Entry> {
    let bytes = fs::read(path).map_err(|error| failure(path, error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn failure(path: &Path, error: std::io::Error) -> Failure {
    let error = gantry_base::Error::from(error);
    Failure::new(format!("{}: {error}", path.display()))
}
