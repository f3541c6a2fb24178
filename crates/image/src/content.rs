//! Content-addressed files: `<root>/<algorithm>/<hex>`, each exactly what its name says.
//!
//! Content arrives in a file elsewhere on the same file system, is hashed on its way, and gets its name only when the digest
//! is right and the bytes are on the disk. Knows no rows: who refers to what is the caller's matter.

use gantry_base::{Context, Error, Result};
use gantry_oci::ContentDigest;
use gantry_oci::content_digest::{Algorithm, ContentHasher};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Size of a read when a file is hashed again.
const READ_BYTES: usize = 256 << 10;

/// A directory of content.
#[derive(Debug, Clone)]
pub struct Content {
    root: PathBuf,
}

impl Content {
    /// Opens or creates the directory and one below for each algorithm.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for algorithm in Algorithm::ALL {
            crate::store::make_private(&root.join(algorithm.as_str()))?;
        }
        Ok(Self { root })
    }

    /// Where this content is, if it is there.
    pub fn path(&self, digest: &ContentDigest) -> PathBuf {
        self.root
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    /// Opens content for reading.
    ///
    /// # Errors
    /// Not found, or what the disk says.
    pub fn read(&self, digest: &ContentDigest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return Error::not_found(format!("no content {digest}"));
            }
            Error::from(error).prefixed(format!("cannot open {}", path.display()))
        })
    }

    /// Removes content; does nothing if it is not there.
    ///
    /// # Errors
    /// When the file stays.
    pub fn remove(&self, digest: &ContentDigest) -> Result<()> {
        let path = self.path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn list(&self) -> Result<Vec<ContentDigest>> {
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL {
            let folder = self.root.join(algorithm.as_str());
            let read = || format!("cannot read {}", folder.display());
            for entry in std::fs::read_dir(&folder).with_context(read)? {
                let entry = entry.with_context(read)?;
                let name = entry.file_name();
                let text = format!("{}:{}", algorithm.as_str(), name.to_string_lossy());
                // Another program's files are in nobody's way.
                found.extend(ContentDigest::parse(&text));
            }
        }
        Ok(found)
    }
}

/// Content on its way in: a file that grows, and its hash so far.
pub struct Arriving {
    path: PathBuf,
    file: Option<File>,
    size_bytes: u64,
    /// None where it was not followed from the first byte; then the file is read again at the end.
    hasher: Option<ContentHasher>,
}

impl Arriving {
    /// Begins with an empty file at `path`, which must not exist.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: impl Into<PathBuf>, algorithm: Algorithm) -> Result<Self> {
        let path = path.into();
        let file =
            File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self {
            path,
            file: Some(file),
            size_bytes: 0,
            hasher: Some(ContentHasher::new(algorithm)),
        })
    }

    /// Goes on with a file that an earlier process left.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let metadata = std::fs::symlink_metadata(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            path,
            file: None,
            size_bytes: metadata.len(),
            hasher: None,
        })
    }

    /// How much has arrived.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Takes the next bytes. After a failure only what was counted before counts.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let write = || format!("cannot write {}", self.path.display());
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::options()
                .append(true)
                .open(&self.path)
                .with_context(write)?,
        };
        if let Err(error) = file.write_all(bytes) {
            // A part may have been written.
            file.set_len(self.size_bytes).with_context(write)?;
            return Err(error).with_context(write);
        }
        self.file = Some(file);
        self.size_bytes += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(())
    }

    /// Gives the descriptor back until the next write.
    pub fn pause(&mut self) {
        self.file = None;
    }

    /// Names the content `expected`, durably, if that is what it is. The file is gone afterwards in either case.
    ///
    /// # Errors
    /// Invalid, if the digest is another one; or what the disk says.
    pub fn finish(mut self, content: &Content, expected: &ContentDigest) -> Result<u64> {
        let placed = self.place(content, expected);
        if placed.is_err() {
            // The failure before is the one to tell; a file that stays is swept with other leavings.
            drop(std::fs::remove_file(&self.path));
        }
        placed.map(|()| self.size_bytes)
    }

    fn place(&mut self, content: &Content, expected: &ContentDigest) -> Result<()> {
        let digest = match self.hasher.take() {
            Some(hasher) if hasher.algorithm() == expected.algorithm() => hasher.finish(),
            _ => digest_of_file(&self.path, expected.algorithm())?,
        };
        if digest != *expected {
            return Err(Error::invalid(format!(
                "digest did not match: got {digest}, expected {expected}"
            )));
        }
        let target = content.path(expected);
        let write = || format!("cannot write {}", target.display());
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).with_context(write)?,
        };
        file.sync_all().with_context(write)?;
        std::fs::rename(&self.path, &target).with_context(write)?;
        let folder = target.parent().expect("content is in a folder");
        gantry_sys::file::sync_directory(folder)
    }
}

fn digest_of_file(path: &Path, algorithm: Algorithm) -> Result<ContentDigest> {
    let read = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(read)?;
    let mut hasher = ContentHasher::new(algorithm);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer).with_context(read)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (tempfile::TempDir, Content) {
        let folder = tempfile::tempdir().expect("is made");
        let content = Content::open(folder.path().join("blobs")).expect("opens");
        (folder, content)
    }

    #[test]
    fn content_gets_its_name_only_when_it_is_right() {
        let (folder, content) = world();
        let arriving = folder.path().join("a");
        for algorithm in Algorithm::ALL {
            let digest = ContentDigest::of(algorithm, b"hello world");
            // Hashed with the other algorithm, so that the file has to be read again for one of both.
            let mut file = Arriving::create(&arriving, Algorithm::Sha256).expect("begins");
            file.write(b"hello ").expect("is written");
            file.pause();
            file.write(b"world").expect("is written");
            assert_eq!(file.finish(&content, &digest).expect("is right"), 11);
            assert_eq!(
                std::fs::read(content.path(&digest)).expect("is there"),
                b"hello world"
            );
        }
        let wrong = ContentDigest::of(Algorithm::Sha256, b"other");
        let mut file = Arriving::create(&arriving, Algorithm::Sha256).expect("begins");
        file.write(b"hello").expect("is written");
        let error = file.finish(&content, &wrong).expect_err("is another");
        assert_eq!(error.kind(), gantry_base::ErrorKind::InvalidParameter);
        assert!(!arriving.exists() && !content.path(&wrong).exists());
        assert_eq!(content.list().expect("is listed").len(), 2);
    }

    #[test]
    fn an_interrupted_arrival_goes_on() {
        let (folder, content) = world();
        let path = folder.path().join("a");
        let mut first = Arriving::create(&path, Algorithm::Sha256).expect("begins");
        first.write(b"hello ").expect("is written");
        drop(first);
        let mut second = Arriving::resume(&path).expect("goes on");
        assert_eq!(second.size_bytes(), 6);
        second.write(b"world").expect("is written");
        let digest = ContentDigest::of(Algorithm::Sha256, b"hello world");
        second.finish(&content, &digest).expect("is right");
        content.remove(&digest).expect("is removed");
        content.remove(&digest).expect("is not there");
        assert!(content.read(&digest).is_err());
    }
}
