//! Transactions that bring a table to the kernel, change its maps, and remove it.

use super::{Desired, ForeignDrop, PublishedPort, Ruleset};
use crate::netlink::Socket;
use gantry_base::{Error, Result};

/// One nftables table of family `inet`, and the socket to change it.
#[derive(Debug)]
pub struct Firewall {
    table: String,
    socket: Socket,
}

impl Firewall {
    /// The table called `table` (`gantry`; another one for each further daemon) in this thread's network namespace. Changes nothing yet.
    pub fn open(table: &str) -> Result<Self> {
        Ok(Self { table: table.to_owned(), socket: Socket::netfilter()? })
    }
    /// Replaces the whole table by `ruleset` in one transaction; packets see either the old one or the new one.
    pub fn apply(&mut self, _ruleset: &Ruleset) -> Result<()> {
        Err(Error::not_implemented("to be written"))
    }
    /// Publishes one port: a map element. Fails if the table or the bridge's rules are not there.
    pub fn add_port(&mut self, _port: &PublishedPort) -> Result<()> {
        Err(Error::not_implemented("to be written"))
    }
    /// Publishes several ports in one transaction: all or none.
    pub fn add_ports(&mut self, _ports: &[PublishedPort]) -> Result<()> {
        Err(Error::not_implemented("to be written"))
    }
    /// Takes back published ports; those that are not there are fine.
    pub fn remove_ports(&mut self, _ports: &[PublishedPort]) -> Result<()> {
        Err(Error::not_implemented("to be written"))
    }
    /// Whether the table is in the kernel (somebody may have flushed it).
    pub fn is_present(&mut self) -> Result<bool> {
        Err(Error::not_implemented("to be written"))
    }
    /// Deletes the table; false if it was not there.
    pub fn remove(&mut self) -> Result<bool> {
        Err(Error::not_implemented("to be written"))
    }
    /// Lets our bridges through the `FORWARD` chain of iptables where that drops by default (as dockerd makes it), and lists
    /// the chains of others that would still drop their packets, to be reported.
    pub fn ensure_foreign_accepts(&mut self, _desired: &Desired) -> Result<Vec<ForeignDrop>> {
        Err(Error::not_implemented("to be written"))
    }
    /// Takes back what [`Firewall::ensure_foreign_accepts`] added.
    pub fn remove_foreign_accepts(&mut self) -> Result<()> {
        Err(Error::not_implemented("to be written"))
    }
    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }
}
