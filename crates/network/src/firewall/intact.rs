//! Notices that somebody else changed our table: `nft flush ruleset`, a firewall that is reloaded, a clumsy script.
//!
//! The kernel counts all changes of all tables. While that number stays, nothing is looked at; when it moved, chains, rules
//! and the elements that do not change with ports are counted. Rules that were exchanged one for one are not noticed.

use super::encode::{
    FAMILY_INET, GET_ELEMENT, GET_GENERATION, GET_RULE, NLM_F_DUMP, single_message,
};
use super::{Firewall, Ruleset};
use crate::netlink::{Attributes, Refusal};
use gantry_base::{Context as _, Result};
use std::collections::BTreeMap;

/// Bytes before the attributes of a netfilter message: its netlink header and its own.
const HEADERS_BYTES: usize = 20;

impl Firewall {
    /// Whether the table still says what `ruleset` says, apart from published ports. If not, [`Firewall::apply`] mends it.
    pub fn is_intact(&mut self, ruleset: &Ruleset) -> Result<bool> {
        let what = || "cannot compare the nftables table with what it should be";
        let generation = self.generation().with_context(what)?;
        if self.intact_generation == Some(generation) {
            return Ok(true);
        }
        let is_intact = self.has_rules_of(ruleset).with_context(what)?;
        self.intact_generation = is_intact.then_some(generation);
        Ok(is_intact)
    }

    fn has_rules_of(&mut self, ruleset: &Ruleset) -> Result<bool, Refusal> {
        let table = self.table().to_owned();
        let present: BTreeMap<String, usize> = self
            .chains()?
            .into_iter()
            .filter(|chain| chain.is_in(&table))
            .map(|chain| (chain.name, 0))
            .collect();
        let mut counted = present;
        self.dump(GET_RULE, &table, None, |attributes| {
            if let Some(chain) = Attributes::new(attributes).find(|(kind, _)| *kind == 2) {
                let name = String::from_utf8_lossy(chain.1)
                    .trim_end_matches('\0')
                    .to_owned();
                *counted.entry(name).or_default() += 1;
            }
        })?;
        let wanted: BTreeMap<String, usize> = ruleset
            .chains
            .iter()
            .map(|chain| (chain.name.clone(), chain.rules.len()))
            .collect();
        if counted != wanted {
            return Ok(false);
        }
        for set in ruleset
            .sets
            .iter()
            .filter(|set| !set.name.starts_with("ports_"))
        {
            let mut elements = 0;
            let dumped = self.dump(GET_ELEMENT, &table, Some(&set.name), |attributes| {
                let list = Attributes::new(attributes).find(|(kind, _)| *kind == 3);
                elements += list.map_or(0, |(_, list)| Attributes::new(list).count());
            });
            match dumped {
                Ok(()) if elements == set.elements.len() => {}
                Err(refusal) if refusal.errno != libc::ENOENT => return Err(refusal),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn dump(
        &mut self,
        kind: u8,
        table: &str,
        set: Option<&str>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        let sequence = self.socket.next_sequence();
        let request = single_message(kind, FAMILY_INET, NLM_F_DUMP, sequence, |a| {
            a.text(1, table);
            if let Some(set) = set {
                a.text(2, set);
            }
        });
        self.socket
            .dump_raw(&request, |_, message| {
                each(message.get(HEADERS_BYTES..).unwrap_or_default());
                Ok(())
            })
            .map(drop)
    }

    /// The number of changes of all tables of this network namespace.
    fn generation(&mut self) -> Result<u32, Refusal> {
        let sequence = self.socket.next_sequence();
        let request = single_message(GET_GENERATION, FAMILY_INET, 0, sequence, |_| {});
        let mut generation = None;
        self.socket.ask(&request, |message| {
            let attributes = message.get(HEADERS_BYTES..).unwrap_or_default();
            generation = Attributes::new(attributes)
                .find(|(kind, _)| *kind == 1)
                .and_then(|(_, value)| value.try_into().ok())
                .map(u32::from_be_bytes);
            Ok(())
        })?;
        generation.ok_or_else(|| Refusal::new(libc::EPROTO))
    }
}
