//! The unmodified docker command line against our daemon and against a real dockerd: same output, same error texts, same exit
//! codes, but for ids, times and addresses.
//!
//! `GANTRY_PEER_SOCKET` names dockerd's socket; without it (or without a docker command line) the comparisons say that they skip.

mod both;
mod containers;
mod errors;
mod images;
mod limits;
mod logs;
mod normal;
mod streams;
mod terminal;
