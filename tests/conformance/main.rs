//! The unmodified `docker` command line on Gantry and on a real dockerd: same output, same exit codes, same error texts.
//!
//! Needs root, a `docker` command line, and `GANTRY_PEER_SOCKET`; without one of them each test says so and passes.
//! Every test has a world of its own with a Gantry daemon in it; containers on the peer have names of the test's and are removed.

mod commit;
mod compose;
mod container;
mod copy;
mod debian;
mod details;
mod health;
mod image;
mod manifest;
mod network;
mod network_child;
mod output;
mod pair;
mod refusal;
mod registry;
mod system;
mod terminal;
mod update;
mod view;
mod volume;
