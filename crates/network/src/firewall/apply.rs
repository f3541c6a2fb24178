//! Transactions that bring a table to the kernel, change its maps, and remove it.

use super::encode::{
    Batch, DELETE_ELEMENT, FAMILY_INET, GET_TABLE, NEW_ELEMENT, Transaction, single_message,
};
use super::port_map::PortMap;
use super::{PublishedPort, Ruleset};
use crate::netlink::{Refusal, Socket};
use gantry_base::{Context as _, Error, Result};

/// Above this the socket's buffer is widened: a transaction must leave in one piece.
const USUAL_SEND_BYTES: usize = 96 << 10;
/// `NLM_F_ACK`: the answer to a single request ends with an acknowledgement.
const NLM_F_ACK: u16 = 0x4;

/// One nftables table of family `inet`, and the socket to change it.
#[derive(Debug)]
pub struct Firewall {
    table: String,
    pub(super) socket: Socket,
    /// The state of all tables in which this one was found intact.
    pub(super) intact_generation: Option<u32>,
}

impl Firewall {
    /// The table called `table` in this thread's network namespace (`gantry`; another name for each further daemon).
    /// Changes nothing yet.
    pub fn open(table: &str) -> Result<Self> {
        let is_name = table
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !is_name || !table.starts_with(|c: char| c.is_ascii_alphabetic()) || table.len() > 64 {
            return Err(Error::invalid(format!(
                "invalid name of an nftables table: {table:?}"
            )));
        }
        Ok(Self {
            table: table.to_owned(),
            socket: Socket::netfilter()?,
            intact_generation: None,
        })
    }

    /// The table's name.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Makes the table what `ruleset` says, in one transaction: each packet sees either the old rules or the new ones.
    ///
    /// Chains that hang in the packets' way stay and only change their rules. Were the table deleted and made again, a packet
    /// could pass the new chain just before the change and the old one just after, and find both empty.
    pub fn apply(&mut self, ruleset: &Ruleset) -> Result<()> {
        let table = self.table.clone();
        let what = || format!("cannot change the nftables table {table}");
        let present = self.own_chains().with_context(what)?;
        let changed = match self.change_in_place(ruleset, present.as_deref()) {
            // Another version of us left chains or maps of the same names but of another shape.
            Err(refusal) if present.is_some() && is_about_shape(&refusal) => self.replace(ruleset),
            other => other,
        };
        changed.map_err(lacking).with_context(what)
    }

    /// `present` are the names of the table's chains, if there is a table.
    fn change_in_place(
        &mut self,
        ruleset: &Ruleset,
        present: Option<&[String]>,
    ) -> Result<(), Refusal> {
        let table = self.table.clone();
        let mut batch = self.batch();
        batch.add_table(&table);
        if present.is_some() {
            batch.delete_rules(&table);
        }
        add_sets_and_chains(&mut batch, &table, ruleset);
        if present.is_some() {
            for set in &ruleset.sets {
                batch.delete_elements(&table, &set.name);
            }
        }
        add_elements_and_rules(&mut batch, &table, ruleset);
        for name in present.unwrap_or_default() {
            if !ruleset.chains.iter().any(|chain| chain.name == *name) {
                batch.delete_chain(&table, name);
            }
        }
        self.commit(batch)
    }

    /// Deletes the table and makes it anew, also in one transaction, but see [`Firewall::apply`].
    fn replace(&mut self, ruleset: &Ruleset) -> Result<(), Refusal> {
        let table = self.table.clone();
        let mut batch = self.batch();
        batch.delete_table(&table);
        batch.add_table(&table);
        add_sets_and_chains(&mut batch, &table, ruleset);
        add_elements_and_rules(&mut batch, &table, ruleset);
        self.commit(batch)
    }

    /// The names of the table's chains; none if there is no table.
    fn own_chains(&mut self) -> Result<Option<Vec<String>>> {
        if !self.is_present()? {
            return Ok(None);
        }
        let table = self.table.clone();
        let chains = self.chains()?;
        Ok(Some(
            chains
                .into_iter()
                .filter(|chain| chain.is_in(&table))
                .map(|chain| chain.name)
                .collect(),
        ))
    }

    /// Publishes one port: one map element.
    pub fn add_port(&mut self, port: &PublishedPort) -> Result<()> {
        self.add_ports(std::slice::from_ref(port))
    }

    /// Publishes several ports in one transaction: all or none. An element that a crash left for the same host port is replaced.
    pub fn add_ports(&mut self, ports: &[PublishedPort]) -> Result<()> {
        check_families(ports)?;
        let added = match self.change(NEW_ELEMENT, ports) {
            Err(refusal) if matches!(refusal.errno, libc::EBUSY | libc::EEXIST) => {
                self.remove_ports(ports)?;
                self.change(NEW_ELEMENT, ports)
            }
            other => other,
        };
        added.with_context(|| format!("cannot publish {}", described(ports)))
    }

    /// Takes back published ports; those that are not published are fine. Connections that stand go on.
    pub fn remove_ports(&mut self, ports: &[PublishedPort]) -> Result<()> {
        match self.change(DELETE_ELEMENT, ports) {
            Err(refusal) if refusal.errno == libc::ENOENT && ports.len() > 1 => {
                // One that was missing took the others with it.
                for port in ports {
                    self.remove_ports(std::slice::from_ref(port))?;
                }
                Ok(())
            }
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(()),
            other => other.with_context(|| format!("cannot take back {}", described(ports))),
        }
    }

    /// Whether the table is there: somebody may have flushed it.
    pub fn is_present(&mut self) -> Result<bool> {
        let sequence = self.socket.next_sequence();
        let request = single_message(GET_TABLE, FAMILY_INET, NLM_F_ACK, sequence, |a| {
            a.text(1, &self.table);
        });
        match self.socket.transact(&request, sequence, sequence) {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(false),
            // The answer to a single request differs from that to a transaction.
            Err(refusal) if refusal.errno == libc::EINVAL => Err(no_nftables()),
            Err(refusal) => Err(refusal)
                .with_context(|| format!("cannot look for the nftables table {}", self.table)),
        }
    }

    /// Deletes the table; false if it was not there.
    pub fn remove(&mut self) -> Result<bool> {
        let table = self.table.clone();
        let mut batch = self.batch();
        batch.delete_table(&table);
        match self.commit(batch) {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(false),
            Err(refusal) => {
                Err(refusal).with_context(|| format!("cannot delete the nftables table {table}"))
            }
        }
    }

    pub(super) fn batch(&mut self) -> Batch {
        Batch::new(self.socket.next_sequence())
    }

    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), Refusal> {
        let Transaction {
            bytes,
            first_sequence,
            last_sequence,
        } = batch.finish();
        self.socket.skip_sequences_to(last_sequence.wrapping_add(1));
        if bytes.len() > USUAL_SEND_BYTES {
            self.socket.widen_send_buffer(bytes.len())?;
        }
        self.socket.transact(&bytes, first_sequence, last_sequence)
    }

    fn change(&mut self, kind: u8, ports: &[PublishedPort]) -> Result<(), Refusal> {
        if ports.is_empty() {
            return Ok(());
        }
        let table = self.table.clone();
        let mut batch = self.batch();
        for port in ports {
            let map = PortMap::of(port);
            batch.elements(kind, &table, map.name, &[map.element(port)]);
        }
        self.commit(batch)
    }
}

fn add_sets_and_chains(batch: &mut Batch, table: &str, ruleset: &Ruleset) {
    for (id, set) in (1..).zip(&ruleset.sets) {
        batch.add_set(table, set, id);
    }
    for chain in &ruleset.chains {
        batch.add_chain(table, chain);
    }
}

fn add_elements_and_rules(batch: &mut Batch, table: &str, ruleset: &Ruleset) {
    for set in ruleset.sets.iter().filter(|set| !set.elements.is_empty()) {
        batch.elements(NEW_ELEMENT, table, &set.name, &set.elements);
    }
    for chain in &ruleset.chains {
        batch.add_rules(table, chain);
    }
}

/// The refusal of a whole table in words that say what to do, where it can only mean that the kernel lacks something.
fn lacking(refusal: Refusal) -> Error {
    match refusal.errno {
        libc::EOPNOTSUPP if refusal.index == 0 => no_nftables(),
        libc::ENOENT | libc::EOPNOTSUPP => Error::not_implemented(
            "this kernel lacks a part of nftables: nft_chain_nat, nft_ct, nft_fib_inet, nft_masq and nft_nat are needed",
        )
        .with_source(refusal),
        _ => refusal.into(),
    }
}

fn no_nftables() -> Error {
    Error::not_implemented("this kernel has no nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET)")
}

/// Whether something of the same name but of another kind is in the way.
fn is_about_shape(refusal: &Refusal) -> bool {
    matches!(
        refusal.errno,
        libc::EEXIST | libc::EBUSY | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT
    )
}

fn check_families(ports: &[PublishedPort]) -> Result<()> {
    match ports
        .iter()
        .find(|port| port.host_ip.is_ipv4() != port.container_ip.is_ipv4())
    {
        None => Ok(()),
        Some(port) => Err(Error::invalid(format!(
            "cannot translate port {}/{} from {} to {}: they are of different families",
            port.host_port, port.protocol, port.host_ip, port.container_ip
        ))),
    }
}

fn described(ports: &[PublishedPort]) -> String {
    match ports {
        [port] => format!(
            "port {}/{} of {}",
            port.host_port, port.protocol, port.host_ip
        ),
        _ => format!("{} ports", ports.len()),
    }
}
