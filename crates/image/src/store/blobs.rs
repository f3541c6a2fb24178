//! Content-addressed files: `<sha256 in hex>` in one directory. Durable once the caller has synced.
//!
//! A name is only given to bytes whose digest was computed: here by [`Blobs::put`], by the caller of [`Blobs::take_file`].

use super::make_private;
use gantry_base::{Context, Error, Result};
use gantry_oci::Digest;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A directory of blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Opens the directory (0700), or makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        make_private(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where the blob is, if it is here. A digest holds nothing but hexadecimal digits, so it cannot lead elsewhere.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// The blob and its length, if it is here.
    ///
    /// # Errors
    /// When it is here and cannot be opened.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>> {
        let path = self.path(digest);
        let opened = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.and_then(|file| file.metadata().map(|metadata| (file, metadata))),
        };
        let (file, metadata) = opened.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Some((file, metadata.len())))
    }

    /// Whether the blob is here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Stores small content, if it has this digest.
    ///
    /// # Errors
    /// When it has another digest, or cannot be written.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(Error::invalid(format!(
                "unexpected digest {found}, expected {digest}"
            )));
        }
        let path = self.path(digest);
        // Content that is here is right already: a name is only given to what has its digest.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() == bytes.len() as u64 => Ok(()),
            _ => gantry_sys::file::write_atomic(&path, bytes, 0o600),
        }
    }

    /// Gives a file of the same file system, whose digest the caller has computed, its place here.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn take_file(&self, file: &Path, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        std::fs::rename(file, &path).with_context(|| format!("cannot create {}", path.display()))
    }

    /// Makes the names of all blobs durable.
    ///
    /// # Errors
    /// When the directory cannot be synced.
    pub fn sync(&self) -> Result<()> {
        gantry_sys::file::sync_directory(&self.folder)
    }

    /// Removes the blob; fine if it is not here.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// All blobs that are here.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let read = || format!("cannot read {}", self.folder.display());
        let mut digests = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(read)? {
            let name = entry.with_context(read)?.file_name();
            // Files that are being written have other names.
            let digest = name
                .to_str()
                .and_then(|hex| Digest::parse(&format!("sha256:{hex}")).ok());
            digests.extend(digest);
        }
        Ok(digests)
    }
}
