//! What tests and the benchmark are made of: a client, archives, and daemons in worlds of their own. Nothing here ships.
//!
//! [`world`] gives a test its own network and mounts, [`daemon`] runs our daemon in it, [`http`] asks it, [`tar`] makes images
//! out of nothing.

pub mod daemon;
pub mod http;
pub mod tar;
pub mod world;
