//! Forgets tracked UDP flows to a published port, so that they follow a change of its target at once.
//!
//! A flow keeps the translation of its first packet for as long as packets come. Without this, a client that goes on
//! sending would reach nothing after a port was published, and the address of the old container after it was taken back.
//! TCP needs none of it: its connections end with their socket.

use crate::firewall::{PortProtocol, PublishedPort};
use crate::netlink::{Attributes, Refusal, Socket};
use gantry_base::{Context as _, Result};
use std::net::IpAddr;

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NESTED: u16 = 0x8000;
const HEADERS_BYTES: usize = 20;

/// `CTA_TUPLE_ORIG`, `CTA_ZONE`, `CTA_FILTER` and what is in them (`linux/netfilter/nfnetlink_conntrack.h`).
const TUPLE_ORIGINAL: u16 = 1;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
/// Which parts of the given tuple the kernel compares: protocol number and destination port.
const FILTER_BY_PROTOCOL_AND_PORT: u32 = (1 << 3) | (1 << 5);

/// Deletes the tracked flows to the host's side of `port`, and returns how many; for other protocols than UDP there is
/// nothing to do. `socket` is one to netfilter.
pub fn flush_port(socket: &mut Socket, port: &PublishedPort) -> Result<usize> {
    if port.protocol != PortProtocol::Udp {
        return Ok(0);
    }
    let what = || format!("cannot forget the flows to udp port {}", port.host_port);
    let flows = list(socket, port).with_context(what)?;
    let mut deleted = 0;
    for flow in flows {
        let sequence = socket.next_sequence();
        let request = message(
            DELETE,
            family(port),
            NLM_F_REQUEST | NLM_F_ACK,
            sequence,
            &flow.attributes,
        );
        match socket.transact(&request, sequence, sequence) {
            Ok(()) => deleted += 1,
            // It ended meanwhile.
            Err(refusal) if refusal.errno == libc::ENOENT => {}
            Err(refusal) => return Err(refusal).with_context(what),
        }
    }
    Ok(deleted)
}

/// A flow by what identifies it: its original tuple, and its zone if it has one.
struct Flow {
    attributes: Vec<u8>,
}

fn list(socket: &mut Socket, port: &PublishedPort) -> Result<Vec<Flow>, Refusal> {
    let mut wanted = Vec::new();
    // The kernel then only hands out the flows of this port; one that does not know the filter hands out all.
    append(
        &mut wanted,
        FILTER | NESTED,
        &attribute(
            FILTER_ORIGINAL_FLAGS,
            &FILTER_BY_PROTOCOL_AND_PORT.to_ne_bytes(),
        ),
    );
    let protocol = [
        attribute(PROTOCOL_NUMBER, &[port.protocol.number()]),
        attribute(DESTINATION_PORT, &port.host_port.to_be_bytes()),
    ]
    .concat();
    append(
        &mut wanted,
        TUPLE_ORIGINAL | NESTED,
        &attribute(TUPLE_PROTOCOL | NESTED, &protocol),
    );
    let sequence = socket.next_sequence();
    let request = message(
        GET,
        family(port),
        NLM_F_REQUEST | NLM_F_DUMP,
        sequence,
        &wanted,
    );
    let mut flows = Vec::new();
    socket.dump_raw(&request, |_, bytes| {
        flows.extend(
            bytes
                .get(HEADERS_BYTES..)
                .and_then(|attributes| matching(attributes, port)),
        );
        Ok(())
    })?;
    Ok(flows)
}

/// The flow described by `attributes`, if it goes to the port.
fn matching(attributes: &[u8], port: &PublishedPort) -> Option<Flow> {
    let tuple = find(attributes, TUPLE_ORIGINAL)?;
    let protocol = find(tuple, TUPLE_PROTOCOL)?;
    let is_protocol = find(protocol, PROTOCOL_NUMBER)? == [port.protocol.number()];
    let is_port = find(protocol, DESTINATION_PORT)? == port.host_port.to_be_bytes();
    let addresses = find(tuple, TUPLE_ADDRESSES)?;
    let is_address = port.host_ip.is_unspecified()
        || match port.host_ip {
            IpAddr::V4(v4) => find(addresses, 2)? == v4.octets(),
            IpAddr::V6(v6) => find(addresses, 4)? == v6.octets(),
        };
    if !(is_protocol && is_port && is_address) {
        return None;
    }
    let mut identity = Vec::with_capacity(tuple.len() + 16);
    append(&mut identity, TUPLE_ORIGINAL | NESTED, tuple);
    if let Some(zone) = find(attributes, ZONE) {
        append(&mut identity, ZONE, zone);
    }
    Some(Flow {
        attributes: identity,
    })
}

fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    Attributes::new(attributes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

fn family(port: &PublishedPort) -> u8 {
    if port.host_ip.is_ipv4() { 2 } else { 10 }
}

fn message(kind: u16, family: u8, flags: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADERS_BYTES + attributes.len()).expect("a few attributes");
    let mut bytes = Vec::with_capacity(HEADERS_BYTES + attributes.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&(SUBSYSTEM << 8 | kind).to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[family, 0, 0, 0]);
    bytes.extend_from_slice(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 8);
    append(&mut bytes, kind, value);
    bytes
}

fn append(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("a tuple is small");
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
