//! The registry over its protocol, with a client that is not ours: uploads, downloads, lists, garbage, access, bounds;
//! and our client's patience with another one.

mod access;
mod cache;
mod download;
mod garbage;
mod image;
mod limits;
mod listing;
mod patience;
mod upload;
