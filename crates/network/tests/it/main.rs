//! The crate against a real kernel, in network namespaces of its own: nothing here touches the machine's network.
//!
//! Needs root. Each test builds a [`world::World`] and lives in its "host" namespace, which no other test shares.

mod attach;
mod attack;
mod child;
mod firewall;
mod golden;
mod host;
mod mode;
mod port;
mod resolver;
mod speed;
mod world;
