//! Asks the kernel whether it has what networks need, by trying it in a throw-away namespace.

use gantry_base::{Error, Result};

/// What the kernel can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// Why bridges and veth pairs cannot be made; none if they can.
    pub bridge_problem: Option<String>,
    /// Why the nftables table cannot be made; none if it can.
    pub firewall_problem: Option<String>,
}

/// Tries a bridge, a veth pair and a whole table in a fresh network namespace.
pub fn probe() -> Result<Support> {
    Err(Error::not_implemented("to be written"))
}
