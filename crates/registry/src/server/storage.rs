//! Content files and their rows together: how content comes in, is found, and goes.
//!
//! Beneath the root: `blobs/<algorithm>/<hex>`, `uploads/<id>` (arriving), `catalog.db`. Blocks; the routes call it on threads
//! for it.

use super::catalog::{Catalog, GarbageAge};
use super::name::{RepositoryName, UploadId};
use gantry_base::{Context, Error, Result, failpoint};
use gantry_image::content::{Arriving, Content};
use gantry_oci::ContentDigest;
use gantry_oci::content_digest::Algorithm;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

/// Everything on the disk.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) content: Content,
    pub(crate) catalog: Catalog,
    uploads: PathBuf,
    /// Read by those who place a file and then write its row; written by a collection between row and file.
    placing: Arc<RwLock<()>>,
    /// Held for as long as the process lives: one root, one server.
    _lock: Arc<std::fs::File>,
}

/// What a collection removed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Collected {
    pub(crate) links: usize,
    pub(crate) blobs: usize,
}

impl Storage {
    /// Opens or creates the directory, and removes what an earlier process left unfinished. Uploads stay, to be gone on with.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let uploads = root.join("uploads");
        make_private(root)?;
        let lock = lock(root)?;
        make_private(&uploads)?;
        let storage = Self {
            content: Content::open(root.join("blobs"))?,
            catalog: Catalog::open(&root.join("catalog.db"))?,
            uploads,
            placing: Arc::default(),
            _lock: Arc::new(lock),
        };
        storage.sweep()?;
        Ok(storage)
    }

    /// Removes content without a row, and uploads of which only the file or only the row is there.
    fn sweep(&self) -> Result<()> {
        let known = self.catalog.blobs()?;
        for digest in self.content.list()? {
            if !known.contains(&digest) {
                self.content.remove(&digest)?;
            }
        }
        let files: HashSet<OsString> = self
            .upload_files()?
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let mut rows = HashSet::new();
        for id in self.catalog.uploads()? {
            if files.contains(&OsString::from(id.as_str())) {
                rows.insert(OsString::from(id.as_str()));
            } else {
                self.catalog.end_upload(&id)?;
            }
        }
        for name in files.difference(&rows) {
            remove_file(&self.uploads.join(name))?;
        }
        Ok(())
    }

    /// Whether rows can be read and files written, for a health check.
    pub(crate) fn probe(&self) -> Result<()> {
        self.catalog.probe()?;
        let path = self.upload_path(&new_upload_id()?);
        drop(Arriving::create(&path, Algorithm::Sha256)?);
        remove_file(&path)
    }

    /// The file of an upload.
    pub(crate) fn upload_path(&self, id: &UploadId) -> PathBuf {
        self.uploads.join(id.as_str())
    }

    pub(crate) fn begin_upload(
        &self,
        id: &UploadId,
        repository: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<Arriving> {
        let arriving = Arriving::create(self.upload_path(id), algorithm)?;
        self.catalog.begin_upload(id, repository)?;
        Ok(arriving)
    }

    /// An upload that an earlier process began, if there is such a one.
    pub(crate) fn resume_upload(
        &self,
        id: &UploadId,
        repository: &RepositoryName,
    ) -> Result<Option<Arriving>> {
        if !self.catalog.upload_is_known(id, repository)? {
            return Ok(None);
        }
        Arriving::resume(self.upload_path(id)).map(Some)
    }

    /// Makes an upload a blob of the repository; durable when it returns. The upload has ended in any case.
    pub(crate) fn finish_upload(
        &self,
        id: &UploadId,
        arriving: Arriving,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<()> {
        let placed = self.place(arriving, repository, digest);
        self.catalog.end_upload(id)?;
        placed
    }

    fn place(
        &self,
        arriving: Arriving,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<()> {
        let _placing = self.placing();
        let size_bytes = arriving.finish(&self.content, digest)?;
        failpoint!("registry.blob_placed");
        self.catalog
            .link_blob(repository, digest, size_bytes, now_s())
    }

    pub(crate) fn cancel_upload(&self, id: &UploadId) -> Result<()> {
        remove_file(&self.upload_path(id))?;
        self.catalog.end_upload(id)
    }

    /// Writes content of which the caller has the bytes, and then its rows.
    pub(crate) fn put<T>(
        &self,
        digest: &ContentDigest,
        bytes: &[u8],
        record: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _placing = self.placing();
        let path = self.upload_path(&new_upload_id()?);
        let mut arriving = Arriving::create(path, digest.algorithm())?;
        arriving.write(bytes)?;
        arriving.finish(&self.content, digest)?;
        failpoint!("registry.manifest_placed");
        record()
    }

    fn placing(&self) -> std::sync::RwLockReadGuard<'_, ()> {
        self.placing
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Removes what nothing keeps. Serving goes on; only those who place content wait, for one turn at a time.
    pub(crate) fn collect(&self, age: GarbageAge) -> Result<Collected> {
        let mut collected = Collected {
            links: self.catalog.collect_links(age)?,
            ..Collected::default()
        };
        loop {
            let _alone = self
                .placing
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let digests = self.catalog.collect_blobs()?;
            failpoint!("registry.blobs_forgotten");
            if digests.is_empty() {
                break;
            }
            collected.blobs += digests.len();
            for digest in &digests {
                self.content.remove(digest)?;
            }
        }
        Ok(collected)
    }

    /// Uploads to which nothing was added for this long.
    pub(crate) fn idle_uploads(&self, age: Duration) -> Result<Vec<UploadId>> {
        let is_old = |touched: &SystemTime| touched.elapsed().is_ok_and(|idle| idle > age);
        let files = self.upload_files()?;
        let old = files.iter().filter(|(_, touched)| is_old(touched));
        Ok(old
            .filter_map(|(name, _)| UploadId::parse(name.to_str()?))
            .collect())
    }

    fn upload_files(&self) -> Result<Vec<(OsString, SystemTime)>> {
        let read = || format!("cannot read {}", self.uploads.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.uploads).with_context(read)? {
            let entry = entry.with_context(read)?;
            // One that has ended meanwhile is of no interest.
            if let Ok(touched) = entry.metadata().and_then(|metadata| metadata.modified()) {
                files.push((entry.file_name(), touched));
            }
        }
        Ok(files)
    }
}

/// An id that nobody can guess: whoever knows it may go on with the upload, if they may push at all.
pub(crate) fn new_upload_id() -> Result<UploadId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::internal(format!("no random bytes: {error}")))?;
    Ok(UploadId::from_random(bytes))
}

/// Seconds since 1970.
pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path);
    made.with_context(|| format!("cannot create {}", path.display()))
}

fn lock(root: &Path) -> Result<std::fs::File> {
    let path = root.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.try_lock().map_err(|_| {
        Error::conflict(format!("{} is in use by another registry", root.display()))
    })?;
    Ok(file)
}
