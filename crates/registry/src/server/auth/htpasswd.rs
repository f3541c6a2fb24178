//! A file of names and bcrypt hashes, as `htpasswd -B` writes it.
//!
//! bcrypt takes its time on purpose. So few passwords are checked at a time, and one that was right is remembered for a while,
//! as a hash under a key that dies with the process.

use crate::server::failure::Failure;
use gantry_base::{Context, Error, Result};
use hyper::StatusCode;
use hyper::header;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

/// Passwords checked at a time.
const CHECKS_AT_A_TIME: usize = 2;
/// How long a check waits for its turn.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a right password is remembered.
const REMEMBERED: Duration = Duration::from_mins(5);
/// Right passwords remembered.
const REMEMBERED_MAX: usize = 1024;
/// bcrypt looks at no more.
const PASSWORD_LENGTH_MAX: usize = 72;
/// What an unknown name is checked against, so that it takes as long as a known one.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8lLBsGJcRFxjYz0Rq6xM2nJ0NE4x2q";

/// The file, and what is remembered of it.
pub(crate) struct PasswordFile {
    path: PathBuf,
    key: [u8; 32],
    read: Mutex<Read>,
    turns: Semaphore,
}

#[derive(Default)]
struct Read {
    modified: Option<SystemTime>,
    hashes: HashMap<String, String>,
    remembered: HashMap<[u8; 32], Instant>,
}

impl PasswordFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|error| Error::internal(format!("no random bytes: {error}")))?;
        let file = Self {
            path,
            key,
            read: Mutex::default(),
            turns: Semaphore::new(CHECKS_AT_A_TIME),
        };
        file.refresh()?;
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads the file again if it has changed.
    fn refresh(&self) -> Result<()> {
        let read = || format!("cannot read {}", self.path.display());
        let modified = std::fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .with_context(read)?;
        if self.lock().modified == Some(modified) {
            return Ok(());
        }
        let text = std::fs::read_to_string(&self.path).with_context(read)?;
        let hashes = parse(&text).with_context(read)?;
        *self.lock() = Read {
            modified: Some(modified),
            hashes,
            remembered: HashMap::new(),
        };
        Ok(())
    }

    /// Whether the password is that of the name.
    pub(crate) async fn verify(
        self: Arc<Self>,
        name: &str,
        password: String,
    ) -> Result<bool, Failure> {
        if let Err(error) = self.refresh() {
            // The file may be in the course of being replaced; what was read before still counts.
            tracing::warn!(%error, "the password file was not read again");
        }
        let fingerprint = self.fingerprint(name, &password);
        let hash = {
            let read = self.lock();
            let until = read.remembered.get(&fingerprint);
            if until.is_some_and(|until| *until > Instant::now()) {
                return Ok(true);
            }
            read.hashes.get(name).cloned()
        };
        let turn = tokio::time::timeout(CHECK_TIMEOUT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                crate::error_document::code::TOO_MANY_REQUESTS,
                "too many passwords to check",
            )
            .header(header::RETRY_AFTER, "10"));
        };
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let is_short = password.len() <= PASSWORD_LENGTH_MAX;
        let checked = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        let is_right = is_known && is_short && checked.is_ok_and(|right| right.unwrap_or(false));
        if is_right {
            self.remember(fingerprint);
        }
        Ok(is_right)
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let mut read = self.lock();
        let now = Instant::now();
        read.remembered.retain(|_, until| *until > now);
        if read.remembered.len() < REMEMBERED_MAX {
            read.remembered.insert(fingerprint, now + REMEMBERED);
        }
    }

    fn fingerprint(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(password);
        hash.finalize().into()
    }
}

fn parse(text: &str) -> Result<HashMap<String, String>> {
    let mut hashes = HashMap::new();
    for (position, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |what: &str| Error::invalid(format!("line {}: {what}", position + 1));
        let (name, hash) = line
            .split_once(':')
            .ok_or_else(|| refuse("not a name, a colon and a hash"))?;
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|start| hash.starts_with(start));
        if !is_bcrypt {
            return Err(refuse("not a bcrypt hash, use htpasswd -B"));
        }
        hashes.insert(name.to_owned(), hash.to_owned());
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_are_checked_and_the_file_is_read_again() {
        let folder = tempfile::tempdir().expect("is made");
        let path = folder.path().join("passwords");
        let line = |name: &str, password: &str| {
            format!("{name}:{}\n", bcrypt::hash(password, 4).expect("is hashed"))
        };
        std::fs::write(&path, line("anna", "one")).expect("is written");
        let file = Arc::new(PasswordFile::open(path.clone()).expect("opens"));
        for (name, password, is_right) in [
            ("anna", "one", true),
            ("anna", "one", true),
            ("anna", "two", false),
            ("bert", "one", false),
            ("", "", false),
        ] {
            let found = file.clone().verify(name, password.to_owned()).await;
            assert_eq!(found.expect("is checked"), is_right, "{name} {password}");
        }
        std::fs::write(&path, line("bert", "three")).expect("is written");
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(later))
            .expect("is touched");
        assert!(
            file.clone()
                .verify("bert", "three".into())
                .await
                .expect("is checked")
        );
        assert!(
            !file
                .clone()
                .verify("anna", "one".into())
                .await
                .expect("is checked")
        );
    }

    #[test]
    fn weak_hashes_and_nonsense_are_refused() {
        assert!(parse("a:$apr1$x$y").is_err() && parse("a:plain").is_err() && parse("a").is_err());
        assert!(parse("# none\n\n").expect("is empty").is_empty());
        assert!(!bcrypt::verify("x", NOBODY).expect("is a hash"));
    }
}
