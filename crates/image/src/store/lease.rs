//! Leases: what an unfinished pull, load, save or push relies on has no row that says so.
//!
//! A lease names digests of layers and blobs; collection passes over them while it lives.

use super::{Images, Shared};
use gantry_base::Result;
use gantry_oci::Digest;
use gantry_state::sql_error;
use rusqlite::OptionalExtension as _;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What all leases hold together.
#[derive(Default)]
pub(super) struct Held {
    /// Digests, with how many leases hold each.
    counts: HashMap<Digest, usize>,
    /// Whether a collection passed over something.
    pub(super) is_due: bool,
}

impl Held {
    pub(super) fn digests(&self) -> HashSet<Digest> {
        self.counts.keys().cloned().collect()
    }
}

/// Keeps what it was told to hold from being collected, while it lives.
pub struct Lease {
    images: Images,
    held: Mutex<HashSet<Digest>>,
}

impl Images {
    /// Begins a lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        Lease {
            images: self.clone(),
            held: Mutex::default(),
        }
    }
}

impl Lease {
    /// Holds the layer, blob or document with this digest, whether it is here already or not.
    pub fn hold(&self, digest: &Digest) {
        self.hold_locked(&mut self.images.shared.held(), digest);
    }

    /// The layer that came as this blob, or whose plain tar has this digest, by its diff id; holds it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn layer_of_blob(&self, blob: &Digest) -> Result<Option<Digest>> {
        // Held to the end, so that nothing is collected between the look and the hold.
        let mut held = self.images.shared.held();
        let found = self.images.shared.layer_of_blob(blob)?;
        if let Some(diff_id) = &found {
            self.hold_locked(&mut held, diff_id);
            self.hold_locked(&mut held, blob);
        }
        Ok(found)
    }

    fn hold_locked(&self, all: &mut Held, digest: &Digest) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.insert(digest.clone()) {
            *all.counts.entry(digest.clone()).or_default() += 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut all = self.images.shared.held();
        let held = std::mem::take(self.held.get_mut().unwrap_or_else(PoisonError::into_inner));
        for digest in held {
            if let Some(count) = all.counts.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    all.counts.remove(&digest);
                }
            }
        }
        if all.is_due {
            // What stays after a failure is swept when the store is opened next, or by the next collection.
            drop(self.images.shared.collect_held(&mut all));
        }
    }
}

impl Shared {
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layer that came as this blob, or whose plain tar has this digest.
    pub(super) fn layer_of_blob(&self, blob: &Digest) -> Result<Option<Digest>> {
        let found: Option<String> = self.db.read(|connection| {
            let mut statement = connection
                .prepare_cached(
                    "SELECT diff_id FROM layer WHERE diff_id = ?1
                     UNION ALL SELECT diff_id FROM layer JOIN layer_blob ON layer_blob.layer = layer.id WHERE digest = ?1
                     LIMIT 1",
                )
                .map_err(sql_error)?;
            statement
                .query_row([blob.as_str()], |row| row.get(0))
                .optional()
                .map_err(sql_error)
        })?;
        found.map(|diff_id| Digest::parse(&diff_id)).transpose()
    }
}
