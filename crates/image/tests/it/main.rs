//! The image store from outside: archives in, records, layers and archives out.
//!
//! Needs root (owners, devices, `trusted.` attributes). Leaves nothing behind; sees no other store.

mod archive;
mod derive;
mod export;
mod hostile;
mod import;
mod load;
mod remove;
mod save;
mod snapshot;
mod world;
