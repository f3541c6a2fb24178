//! Images on this machine: content, layers, records, and the writable snapshots of containers.
//!
//! Synchronous; blocks on disk and SQLite, never on a network. Knows neither HTTP nor what a container is.
//! Start reading at [`Images`]; `load` shows how an archive becomes layers and records, `snapshot` how layers become a
//! root file system (described, not mounted).

mod builtin;
mod chain;
mod changes;
mod compress;
pub mod content;
mod derive;
mod erofs;
mod export;
mod history;
mod import;
mod ingest;
mod load;
mod manifests;
mod partial;
mod record;
mod remove;
mod save;
mod signature;
mod snapshot;
mod source;
mod store;
mod tag;
mod tar;
mod time;
mod unpack;
mod usage;

pub use changes::{Change, ChangeKind, changes};
pub use derive::DeriveOptions;
pub use export::{TreeKind, export, export_directory, export_file};
pub use history::HistoryEntry;
pub use import::ImportOptions;
pub use ingest::{Compression, Ending, Ingest, Ingested, IngestedLayer, Piece, Pool, Purpose};
pub use load::{LoadEvent, Loaded};
pub use manifests::{Listed, ListedKind, Target, attestation_of};
pub use partial::{Partial, Segment};
pub use record::{Image, ImageId};
pub use remove::{RemoveOptions, Removed, Usage};
pub use save::ArchiveSink;
pub use signature::VerifiedSignature;
pub use snapshot::{RootfsMount, Snapshot, SnapshotUsage};
pub use source::{BlobReader, LayerBlob, StoredLayer};
pub use store::{
    Blobs, Images, LayerKind, Lease, Limits, Lower, Named, NewImage, NewLayers, Options, Variant,
};
pub use unpack::{ExtractOptions, extract};
pub use usage::Usage as DiskUsage;
