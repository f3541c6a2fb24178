//! Encodes statements of rules as the kernel's expressions: loads into registers, and what is done with them.
//!
//! The numbers are those of `linux/netfilter/nf_tables.h`; attributes of an expression are numbered from 1.

use super::encode::{
    Attributes, add_verdict, address_bytes, family_number, interface_bytes, width,
};
use super::ruleset::{Direction, End, Field, Statement, Verdict};

/// Registers: the verdict, and the first of sixteen with four bytes each.
const REGISTER_VERDICT: u32 = 0;
const REGISTER: u32 = 8;

/// Appends the expressions of one statement.
pub(super) fn add_statement(list: &mut Attributes<'_>, statement: &Statement) {
    match statement {
        Statement::Interface {
            direction,
            is,
            name,
        } => {
            load_interface(list, *direction);
            compare(list, *is, &interface_bytes(name));
        }
        Statement::InterfaceSet { direction, is, set } => {
            load_interface(list, *direction);
            list.expression("lookup", |a| {
                a.text(1, set);
                a.number(2, REGISTER);
                if !is {
                    a.number(5, 1);
                }
            });
        }
        Statement::InterfaceVerdict { direction, map } => {
            load_interface(list, *direction);
            list.expression("lookup", |a| {
                a.text(1, map);
                a.number(2, REGISTER);
                a.number(3, REGISTER_VERDICT);
            });
        }
        Statement::Address { end, is, network } => {
            load_address(list, Field::of(network.addr()), *end, REGISTER);
            mask(list, &address_bytes(network.netmask()));
            compare(list, *is, &address_bytes(network.network()));
        }
        // ESTABLISHED and RELATED among the bits of a connection's state.
        Statement::Established => connection_bits(list, 0, 0b110),
        // IPS_DST_NAT among the bits of its status.
        Statement::DestinationTranslated => connection_bits(list, 2, 1 << 5),
        Statement::DestinationLocal => {
            list.expression("fib", |a| {
                a.number(1, REGISTER);
                a.number(2, 3);
                a.number(3, 1 << 1);
            });
            compare(list, true, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
        }
        Statement::DestinationSet { field, set } => {
            load_destination(list, *field);
            list.expression("lookup", |a| {
                a.text(1, set);
                a.number(2, REGISTER);
            });
        }
        Statement::ControlMessage(field) => control_message(list, *field),
        Statement::TranslateDestination {
            field,
            is_bound,
            map,
        } => {
            translate_destination(list, *field, *is_bound, map);
        }
        Statement::Masquerade => list.expression("masq", |_| {}),
        Statement::Verdict(verdict) => add_verdict_expression(list, verdict),
    }
}

/// Looks protocol and port (and address) up in a map, and translates to the address and port found there.
fn translate_destination(list: &mut Attributes<'_>, field: Field, is_bound: bool, map: &str) {
    if is_bound {
        load_destination(list, field);
    } else {
        require_family(list, field);
        load_service(list, REGISTER);
    }
    list.expression("lookup", |a| {
        a.text(1, map);
        a.number(2, REGISTER);
        a.number(3, REGISTER);
    });
    list.expression("nat", |a| {
        a.number(1, 1);
        a.number(2, u32::from(family_number(field)));
        a.number(3, REGISTER);
        a.number(5, REGISTER + width(&[field]) / 4);
    });
}

/// Whether the packet is of the control protocol of its family.
fn control_message(list: &mut Attributes<'_>, field: Field) {
    let protocol = match field {
        Field::V6 => libc::IPPROTO_ICMPV6,
        _ => libc::IPPROTO_ICMP,
    };
    load_meta(list, 16, REGISTER);
    let byte = u8::try_from(protocol).expect("protocols of the header are one byte");
    compare(list, true, &[byte]);
}

/// Loads the destination's address, protocol and port, one after the other.
fn load_destination(list: &mut Attributes<'_>, field: Field) {
    load_address(list, field, End::Destination, REGISTER);
    load_service(list, REGISTER + width(&[field]) / 4);
}

/// Loads protocol and port of the destination.
fn load_service(list: &mut Attributes<'_>, register: u32) {
    load_meta(list, 16, register);
    load_payload(list, 2, 2, 2, register + 1);
}

/// Expressions for rules in chains of iptables, which must be of the kind that iptables itself writes.
pub(super) fn accept_interface(list: &mut Attributes<'_>, direction: Direction, name: &str) {
    load_interface(list, direction);
    compare(list, true, &interface_bytes(name));
    add_verdict_expression(list, &Verdict::Accept);
}

fn load_interface(list: &mut Attributes<'_>, direction: Direction) {
    load_meta(
        list,
        if direction == Direction::In { 6 } else { 7 },
        REGISTER,
    );
}

/// Loads an address, after checking that the packet is of its family.
fn load_address(list: &mut Attributes<'_>, field: Field, end: End, register: u32) {
    require_family(list, field);
    let offset = match (field, end) {
        (Field::V6, End::Source) => 8,
        (Field::V6, End::Destination) => 24,
        (_, End::Source) => 12,
        (_, End::Destination) => 16,
    };
    load_payload(list, 1, offset, width(&[field]), register);
}

fn require_family(list: &mut Attributes<'_>, field: Field) {
    load_meta(list, 15, REGISTER);
    compare(list, true, &[family_number(field)]);
}

fn load_meta(list: &mut Attributes<'_>, key: u32, register: u32) {
    list.expression("meta", |a| {
        a.number(2, key);
        a.number(1, register);
    });
}

fn load_payload(list: &mut Attributes<'_>, base: u32, offset: u32, length: u32, register: u32) {
    list.expression("payload", |a| {
        a.number(1, register);
        a.number(2, base);
        a.number(3, offset);
        a.number(4, length);
    });
}

/// Whether any of `bits` of a connection's state or status is set.
fn connection_bits(list: &mut Attributes<'_>, key: u32, bits: u32) {
    list.expression("ct", |a| {
        a.number(2, key);
        a.number(1, REGISTER);
    });
    mask(list, &bits.to_ne_bytes());
    compare(list, false, &0_u32.to_ne_bytes());
}

fn mask(list: &mut Attributes<'_>, mask: &[u8]) {
    list.expression("bitwise", |a| {
        a.number(1, REGISTER);
        a.number(2, REGISTER);
        a.number(3, u32::try_from(mask.len()).expect("at most 16 bytes"));
        a.nested(4, |a| a.bytes(1, mask));
        a.nested(5, |a| a.bytes(1, &vec![0; mask.len()]));
    });
}

fn compare(list: &mut Attributes<'_>, is: bool, value: &[u8]) {
    list.expression("cmp", |a| {
        a.number(1, REGISTER);
        a.number(2, u32::from(!is));
        a.nested(3, |a| a.bytes(1, value));
    });
}

fn add_verdict_expression(list: &mut Attributes<'_>, verdict: &Verdict) {
    list.expression("immediate", |a| {
        a.number(1, REGISTER_VERDICT);
        a.nested(2, |a| add_verdict(a, verdict));
    });
}
