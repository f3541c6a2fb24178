//! The handle of everything, and what happens when it is opened.

use gantry_base::Result;
use gantry_state::Database;
use std::path::Path;
use std::sync::Arc;

/// Bounds on what a hostile archive may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Uncompressed bytes of one layer.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub layer_entries: u64,
    /// Bytes of one JSON document.
    pub document_bytes: u64,
    /// Unpacking stops when the file system has less than this left.
    pub free_bytes_min: u64,
}

/// All images of one data root. Clones share everything.
#[derive(Clone)]
pub struct Images {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    db: Database,
}

impl Images {
    /// Opens or creates the store beneath `root`, and removes what an earlier process left unfinished.
    pub fn open(root: &Path, db: Database) -> Result<Self> {
        let _ = root;
        Ok(Self {
            shared: Arc::new(Shared { db }),
        })
    }
}
