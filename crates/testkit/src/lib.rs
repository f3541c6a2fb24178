//! What tests and the benchmark are made of: daemons in worlds of their own, clients, archives, images. Nothing here ships.
//!
//! [`world`] gives a test its own network and mounts, [`daemon`] runs our daemon in it, [`peer`] is a real dockerd to compare
//! with. [`program`] runs command lines, [`terminal`] runs them in a pseudo-terminal, [`http`] asks a daemon without any;
//! [`image`] and [`tar`] make images out of nothing, [`debian`] makes a real one, [`lan`] is another host, and
//! [`registry`] is a registry to pull from, [`bad_registry`] one that misbehaves.

pub mod bad_registry;
pub mod daemon;
pub mod debian;
pub mod http;
pub mod image;
pub mod lan;
pub mod peer;
pub mod program;
pub mod registry;
pub mod tar;
pub mod terminal;
pub mod world;
