//! Other people's chains on the way of forwarded packets.
//!
//! An accept in our table does not override a drop in another one. Where iptables' `FORWARD` drops by default, as dockerd
//! and ufw make it, two rules for each bridge are appended to it, so that whatever others put before them still counts.
//! Other chains with such a policy are left alone and reported.

use super::Firewall;
use super::encode::{
    DELETE_RULE, FAMILY_INET, FAMILY_UNSPEC, FAMILY_V4, FAMILY_V6, GET_CHAIN, GET_RULE, NEW_RULE,
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, single_message,
};
use super::expression::accept_interface;
use super::ruleset::Direction;
use crate::netlink::{Attributes, Refusal};
use gantry_base::{Context as _, Result};
use std::fmt;

const HOOK_FORWARD: u32 = 2;
const POLICY_DROP: u32 = 0;
/// Bytes before the attributes of a netfilter message: its netlink header and its own.
const HEADERS_BYTES: usize = 20;
/// nft's tag for a rule's comment among its user data.
const COMMENT: u8 = 0;
/// Lists the tables of the older iptables, which nftables does not see.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// A base chain of somebody else's table that drops forwarded packets by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDrop {
    /// Family and name of the table, such as `inet firewalld`.
    pub table: String,
    /// Name of the chain.
    pub chain: String,
}

/// What we read about a chain.
pub(super) struct ChainFound {
    family: u8,
    table: String,
    pub(super) name: String,
    drops_forwarded: bool,
}

struct RuleFound {
    handle: [u8; 8],
    comment: Option<String>,
}

impl Firewall {
    /// Lets the packets of `bridges` through iptables' `FORWARD` where that drops by default, and returns the chains that
    /// still drop them, to be reported. Rules of ours for bridges that are gone are deleted.
    pub fn ensure_foreign_accepts(&mut self, bridges: &[&str]) -> Result<Vec<ForeignDrop>> {
        let wanted: Vec<(Direction, &str)> = bridges
            .iter()
            .flat_map(|bridge| [(Direction::In, *bridge), (Direction::Out, *bridge)])
            .collect();
        let mut remaining = Vec::new();
        for chain in self
            .chains()
            .context("cannot list the chains of nftables")?
        {
            if !chain.drops_forwarded || chain.is_in(self.table()) {
                continue;
            }
            if chain.is_iptables_forward() {
                self.sync_accepts(&chain, &wanted)
                    .with_context(|| format!("cannot let our bridges through {chain}"))?;
            } else {
                remaining.push(ForeignDrop {
                    table: chain.table_text(),
                    chain: chain.name,
                });
            }
        }
        let legacy = std::fs::read_to_string(LEGACY_TABLES).unwrap_or_default();
        if legacy.lines().any(|table| table == "filter") {
            remaining.push(ForeignDrop {
                table: "iptables-legacy filter".to_owned(),
                chain: "FORWARD".to_owned(),
            });
        }
        Ok(remaining)
    }

    /// Deletes what [`Firewall::ensure_foreign_accepts`] added.
    pub fn remove_foreign_accepts(&mut self) -> Result<()> {
        for chain in self
            .chains()
            .context("cannot list the chains of nftables")?
        {
            if chain.is_iptables_forward() {
                self.sync_accepts(&chain, &[])
                    .with_context(|| format!("cannot take our rules out of {chain}"))?;
            }
        }
        Ok(())
    }

    fn sync_accepts(
        &mut self,
        chain: &ChainFound,
        wanted: &[(Direction, &str)],
    ) -> Result<(), Refusal> {
        let prefix = format!("gantry {}: ", self.table());
        let text =
            |(direction, bridge): &(Direction, &str)| format!("{prefix}{direction} {bridge}");
        let present = self.rules(chain)?;
        let is_present = |want| {
            present
                .iter()
                .any(|rule| rule.comment.as_deref() == Some(text(want).as_str()))
        };
        let missing: Vec<_> = wanted.iter().filter(|want| !is_present(want)).collect();
        let obsolete: Vec<_> = present
            .iter()
            .filter(|rule| {
                let comment = rule.comment.as_deref().unwrap_or_default();
                comment.starts_with(&prefix) && !wanted.iter().any(|want| text(want) == comment)
            })
            .collect();
        if missing.is_empty() && obsolete.is_empty() {
            return Ok(());
        }
        let mut batch = self.batch();
        for rule in obsolete {
            batch.message(DELETE_RULE, chain.family, 0, |a| {
                a.text(1, &chain.table);
                a.text(2, &chain.name);
                a.bytes(3, &rule.handle);
            });
        }
        for want in missing {
            batch.message(NEW_RULE, chain.family, NLM_F_CREATE | NLM_F_APPEND, |a| {
                a.text(1, &chain.table);
                a.text(2, &chain.name);
                a.nested(4, |list| accept_interface(list, want.0, want.1));
                a.bytes(7, &comment_bytes(&text(want)));
            });
        }
        self.commit(batch)
    }

    /// Every chain of every table.
    pub(super) fn chains(&mut self) -> Result<Vec<ChainFound>, Refusal> {
        let sequence = self.socket.next_sequence();
        let request = single_message(GET_CHAIN, FAMILY_UNSPEC, NLM_F_DUMP, sequence, |_| {});
        let mut found = Vec::new();
        self.socket.dump_raw(&request, |_, message| {
            found.extend(ChainFound::read(message));
            Ok(())
        })?;
        Ok(found)
    }

    fn rules(&mut self, chain: &ChainFound) -> Result<Vec<RuleFound>, Refusal> {
        let sequence = self.socket.next_sequence();
        let request = single_message(GET_RULE, chain.family, NLM_F_DUMP, sequence, |a| {
            a.text(1, &chain.table);
            a.text(2, &chain.name);
        });
        let mut found = Vec::new();
        self.socket.dump_raw(&request, |_, message| {
            found.extend(RuleFound::read(message));
            Ok(())
        })?;
        Ok(found)
    }
}

impl ChainFound {
    /// Whether it belongs to the table of that name and of our family.
    pub(super) fn is_in(&self, table: &str) -> bool {
        self.family == FAMILY_INET && self.table == table
    }

    fn is_iptables_forward(&self) -> bool {
        matches!(self.family, FAMILY_V4 | FAMILY_V6)
            && self.table == "filter"
            && self.name == "FORWARD"
    }

    fn table_text(&self) -> String {
        let family = match self.family {
            FAMILY_INET => "inet",
            FAMILY_V4 => "ip",
            FAMILY_V6 => "ip6",
            _ => "other",
        };
        format!("{family} {}", self.table)
    }

    fn read(message: &[u8]) -> Option<Self> {
        let family = *message.get(HEADERS_BYTES - 4)?;
        let mut chain = Self {
            family,
            table: String::new(),
            name: String::new(),
            drops_forwarded: false,
        };
        let (mut hook, mut policy) = (None, None);
        for (kind, value) in Attributes::new(message.get(HEADERS_BYTES..)?) {
            match kind {
                1 => chain.table = text_of(value),
                3 => chain.name = text_of(value),
                4 => {
                    hook = Attributes::new(value)
                        .find(|(kind, _)| *kind == 1)
                        .and_then(|(_, value)| number_of(value));
                }
                5 => policy = number_of(value),
                _ => {}
            }
        }
        let is_ip = matches!(family, FAMILY_INET | FAMILY_V4 | FAMILY_V6);
        chain.drops_forwarded = is_ip && hook == Some(HOOK_FORWARD) && policy == Some(POLICY_DROP);
        Some(chain)
    }
}

impl fmt::Display for ChainFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} of table {}", self.name, self.table_text())
    }
}

impl RuleFound {
    fn read(message: &[u8]) -> Option<Self> {
        let (mut handle, mut comment) = (None, None);
        for (kind, value) in Attributes::new(message.get(HEADERS_BYTES..)?) {
            match kind {
                3 => handle = <[u8; 8]>::try_from(value).ok(),
                7 => comment = comment_of(value),
                _ => {}
            }
        }
        Some(Self {
            handle: handle?,
            comment,
        })
    }
}

/// User data that nft and iptables show as a rule's comment: tag, length, text with its NUL.
fn comment_bytes(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("names of tables and interfaces are limited");
    [&[COMMENT, length], text.as_bytes(), &[0]].concat()
}

fn comment_of(mut data: &[u8]) -> Option<String> {
    while let [tag, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *tag == COMMENT {
            return Some(text_of(value));
        }
        data = &rest[value.len()..];
    }
    None
}

fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value)
        .trim_end_matches('\0')
        .to_owned()
}

fn number_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_round_trip_and_short_data_is_no_panic() {
        let bytes = comment_bytes("gantry gantry: iifname gantry0");
        assert_eq!(
            comment_of(&bytes).as_deref(),
            Some("gantry gantry: iifname gantry0")
        );
        for length in 0..bytes.len() {
            assert_eq!(comment_of(&bytes[..length]), None);
        }
    }
}
