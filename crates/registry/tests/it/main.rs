//! The registry over its protocol, with a client that is not ours: uploads, downloads, lists, garbage, access, bounds;
//! and our client: its patience with another one, settings of hosts, pushes that break.

mod access;
mod cache;
mod download;
mod garbage;
mod hosts;
mod image;
mod limits;
mod listing;
mod patience;
mod upload;
