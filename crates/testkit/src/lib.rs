//! What tests and the benchmark are made of: a client, archives, and daemons in worlds of their own. Nothing here ships.
//!
//! [`http`] asks a daemon, [`tar`] makes images out of nothing.

pub mod http;
pub mod tar;
