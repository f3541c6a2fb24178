//! Encodes tables, sets, chains and rules as the messages of nfnetlink's nftables subsystem
//! (`linux/netfilter/nf_tables.h`). Numbers in attributes are in network byte order, except where they are compared with
//! what the kernel loads into a register in its own order.

use super::expression;
use super::ruleset::{Base, Chain, Data, DataType, Element, Field, Hook, Set, Value, Verdict};
use std::net::IpAddr;

/// Families (`linux/netfilter.h`).
pub(super) const FAMILY_UNSPEC: u8 = 0;
pub(super) const FAMILY_INET: u8 = 1;
pub(super) const FAMILY_V4: u8 = 2;
pub(super) const FAMILY_V6: u8 = 10;

/// Messages of the subsystem.
pub(super) const NEW_TABLE: u8 = 0;
pub(super) const GET_TABLE: u8 = 1;
pub(super) const DELETE_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
pub(super) const GET_CHAIN: u8 = 4;
const DELETE_CHAIN: u8 = 5;
pub(super) const NEW_RULE: u8 = 6;
pub(super) const GET_RULE: u8 = 7;
pub(super) const DELETE_RULE: u8 = 8;
const NEW_SET: u8 = 9;
pub(super) const NEW_ELEMENT: u8 = 12;
pub(super) const GET_ELEMENT: u8 = 13;
pub(super) const DELETE_ELEMENT: u8 = 14;
pub(super) const GET_GENERATION: u8 = 16;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NESTED: u16 = 0x8000;

const INTERFACE_NAME_BYTES: usize = 16;

const SET_FLAG_MAP: u32 = 0x8;
const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
/// A note of nft for itself, without which it prints names of interfaces as nothing: tag, length and number 1.
const KEY_IN_HOST_ORDER: [u8; 6] = if cfg!(target_endian = "little") {
    [0, 4, 1, 0, 0, 0]
} else {
    [0, 4, 0, 0, 0, 1]
};
/// Elements in one message: the length of their list is 16 bits wide.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// Messages of one transaction, growing.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    first_sequence: u32,
    next_sequence: u32,
    last_message: Option<usize>,
}

/// A finished transaction: what [`crate::netlink::Socket::transact`] needs.
pub(super) struct Transaction {
    pub(super) bytes: Vec<u8>,
    pub(super) first_sequence: u32,
    pub(super) last_sequence: u32,
}

impl Batch {
    /// An empty transaction whose messages are numbered from `first_sequence`.
    pub(super) fn new(first_sequence: u32) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            first_sequence,
            next_sequence: first_sequence,
            last_message: None,
        };
        batch.control(BATCH_BEGIN);
        batch
    }

    /// Ends it. Only the last message asks for an acknowledgement, as refusals come without asking.
    pub(super) fn finish(mut self) -> Transaction {
        let last_sequence = self.next_sequence.wrapping_sub(1);
        if let Some(start) = self.last_message {
            let flags =
                u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) | NLM_F_ACK;
            self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        }
        self.control(BATCH_END);
        Transaction {
            bytes: self.bytes,
            first_sequence: self.first_sequence,
            last_sequence,
        }
    }

    /// Appends one message.
    pub(super) fn message(
        &mut self,
        kind: u8,
        family: u8,
        flags: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.last_message = Some(self.bytes.len());
        let sequence = self.take_sequence();
        append_message(&mut self.bytes, kind, family, flags, sequence, attributes);
    }

    pub(super) fn add_table(&mut self, table: &str) {
        self.message(NEW_TABLE, FAMILY_INET, NLM_F_CREATE, |a| a.text(1, table));
    }

    pub(super) fn delete_table(&mut self, table: &str) {
        self.message(DELETE_TABLE, FAMILY_INET, 0, |a| a.text(1, table));
    }

    /// Deletes every rule of every chain.
    pub(super) fn delete_rules(&mut self, table: &str) {
        self.message(DELETE_RULE, FAMILY_INET, 0, |a| a.text(1, table));
    }

    /// Deletes every element of a set.
    pub(super) fn delete_elements(&mut self, table: &str, set: &str) {
        self.message(DELETE_ELEMENT, FAMILY_INET, 0, |a| {
            a.text(1, table);
            a.text(2, set);
        });
    }

    pub(super) fn delete_chain(&mut self, table: &str, chain: &str) {
        self.message(DELETE_CHAIN, FAMILY_INET, 0, |a| {
            a.text(1, table);
            a.text(3, chain);
        });
    }

    /// A set or map; its elements come later, when the chains that they name exist.
    pub(super) fn add_set(&mut self, table: &str, set: &Set, id: u32) {
        self.message(NEW_SET, FAMILY_INET, NLM_F_CREATE, |a| {
            a.text(1, table);
            a.text(2, &set.name);
            a.number(3, if set.data.is_some() { SET_FLAG_MAP } else { 0 });
            a.number(4, type_number(&set.key));
            a.number(5, width(&set.key));
            match &set.data {
                Some(DataType::Fields(fields)) => {
                    a.number(6, type_number(fields));
                    a.number(7, width(fields));
                }
                Some(DataType::Verdict) => a.number(6, DATA_TYPE_VERDICT),
                None => {}
            }
            a.number(10, id);
            if set.key == [Field::Interface] {
                a.bytes(13, &KEY_IN_HOST_ORDER);
            }
        });
    }

    /// Adds or deletes elements of a set.
    pub(super) fn elements(&mut self, kind: u8, table: &str, set: &str, elements: &[Element]) {
        let flags = if kind == NEW_ELEMENT { NLM_F_CREATE } else { 0 };
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(kind, FAMILY_INET, flags, |a| {
                a.text(1, table);
                a.text(2, set);
                a.nested(3, |list| {
                    for element in chunk {
                        add_element(list, element);
                    }
                });
            });
        }
    }

    pub(super) fn add_chain(&mut self, table: &str, chain: &Chain) {
        self.message(NEW_CHAIN, FAMILY_INET, NLM_F_CREATE, |a| {
            a.text(1, table);
            a.text(3, &chain.name);
            if let Some(Base {
                kind,
                hook,
                priority,
            }) = chain.base
            {
                a.nested(4, |a| {
                    a.number(1, hook_number(hook));
                    a.bytes(2, &priority.to_be_bytes());
                });
                a.number(5, verdict_code(&Verdict::Accept));
                a.text(7, kind);
            }
        });
    }

    pub(super) fn add_rules(&mut self, table: &str, chain: &Chain) {
        for rule in &chain.rules {
            self.message(NEW_RULE, FAMILY_INET, NLM_F_CREATE | NLM_F_APPEND, |a| {
                a.text(1, table);
                a.text(2, &chain.name);
                a.nested(4, |list| {
                    for statement in rule {
                        expression::add_statement(list, statement);
                    }
                });
            });
        }
    }

    fn control(&mut self, kind: u16) {
        let sequence = self.take_sequence();
        let start = begin_message(
            &mut self.bytes,
            kind,
            NLM_F_REQUEST,
            sequence,
            FAMILY_UNSPEC,
            SUBSYSTEM,
        );
        end_message(&mut self.bytes, start);
    }

    fn take_sequence(&mut self) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        sequence
    }
}

/// One message outside a transaction, such as a dump request.
pub(super) fn single_message(
    kind: u8,
    family: u8,
    flags: u16,
    sequence: u32,
    attributes: impl FnOnce(&mut Attributes<'_>),
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    append_message(&mut bytes, kind, family, flags, sequence, attributes);
    bytes
}

fn append_message(
    bytes: &mut Vec<u8>,
    kind: u8,
    family: u8,
    flags: u16,
    sequence: u32,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    let kind = (SUBSYSTEM << 8) | u16::from(kind);
    let start = begin_message(bytes, kind, flags | NLM_F_REQUEST, sequence, family, 0);
    attributes(&mut Attributes { bytes });
    end_message(bytes, start);
}

fn begin_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    start
}

fn end_message(bytes: &mut [u8], start: usize) {
    let length = u32::try_from(bytes.len() - start).expect("a message is far below 4 GiB");
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// Appends attributes to a message.
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.end(start);
    }

    pub(super) fn text(&mut self, kind: u16, value: &str) {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.end(start);
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn nested(&mut self, kind: u16, content: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.begin(kind | NESTED);
        content(&mut Attributes { bytes: self.bytes });
        self.end(start);
    }

    /// One expression of a rule.
    pub(super) fn expression(&mut self, name: &str, content: impl FnOnce(&mut Attributes<'_>)) {
        self.nested(1, |a| {
            a.text(1, name);
            a.nested(2, content);
        });
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn end(&mut self, start: usize) {
        let length =
            u16::try_from(self.bytes.len() - start).expect("lists are cut into chunks that fit");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn add_element(list: &mut Attributes<'_>, element: &Element) {
    list.nested(1, |a| {
        a.nested(1, |a| a.bytes(1, &value_bytes(&element.key)));
        match &element.data {
            Some(Data::Values(values)) => a.nested(2, |a| a.bytes(1, &value_bytes(values))),
            Some(Data::Verdict(verdict)) => a.nested(2, |a| add_verdict(a, verdict)),
            None => {}
        }
    });
}

pub(super) fn add_verdict(a: &mut Attributes<'_>, verdict: &Verdict) {
    a.nested(2, |a| {
        a.number(1, verdict_code(verdict));
        if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
            a.text(2, chain);
        }
    });
}

fn verdict_code(verdict: &Verdict) -> u32 {
    let code: i32 = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Jump(_) => -3,
        Verdict::Goto(_) => -4,
        Verdict::Return => -5,
    };
    code.cast_unsigned()
}

fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

pub(super) fn family_number(field: Field) -> u8 {
    if field == Field::V6 {
        FAMILY_V6
    } else {
        FAMILY_V4
    }
}

/// Bytes that fields take in registers and elements: each is filled up to four.
pub(super) fn width(fields: &[Field]) -> u32 {
    fields
        .iter()
        .map(|field| match field {
            Field::V4 | Field::Protocol | Field::Service => 4,
            Field::V6 | Field::Interface => 16,
        })
        .sum()
}

/// nft's number for the type of a set's key: the kernel only keeps it, `nft list` prints by it.
fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| {
        let field: u32 = match field {
            Field::V4 => 7,
            Field::V6 => 8,
            Field::Protocol => 12,
            Field::Service => 13,
            Field::Interface => 41,
        };
        number << 6 | field
    })
}

fn value_bytes(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    for value in values {
        match value {
            Value::Address(address) => bytes.extend(address_bytes(*address)),
            Value::Protocol(protocol) => bytes.push(protocol.number()),
            Value::Service(port) => bytes.extend(port.to_be_bytes()),
            Value::Interface(name) => bytes.extend(interface_bytes(name)),
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

pub(super) fn interface_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(INTERFACE_NAME_BYTES, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_say_their_true_length() {
        let mut bytes = Vec::new();
        Attributes { bytes: &mut bytes }.nested(3, |a| a.text(1, "abcd"));
        assert_eq!(bytes[..4], [16, 0, 3, 0x80]);
        assert_eq!(bytes[4..], [9, 0, 1, 0, b'a', b'b', b'c', b'd', 0, 0, 0, 0]);
    }
}
