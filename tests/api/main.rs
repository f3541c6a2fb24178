//! The HTTP API of Gantry and of a real dockerd side by side: same status, same error text, same members of the answers.
//!
//! Needs root and `GANTRY_PEER_SOCKET`; without them each test says so and passes. What is not supported yet, and so differs, is
//! listed with what ours answers instead; such a line fails once it is no longer true.

mod bad_registry;
mod both;
mod create;
mod hijack;
mod platforms;
mod refusal;
mod shape;
mod signature;
mod transfer;
