//! What every crate may assume: the error type, identifiers and names, the paths we own, undo guards and failpoints.
//!
//! Does no I/O beyond failpoints and knows neither HTTP, Docker nor SQL.

mod error;
mod failpoint;
mod id;
mod layout;
mod undo;

pub use error::{Context, Error, ErrorKind, Result};
pub use failpoint::hit as failpoint_hit;
pub use id::{ContainerId, ContainerName, ExecId, NetworkId};
pub use layout::Layout;
pub use undo::Undo;
