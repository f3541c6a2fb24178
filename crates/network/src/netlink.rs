//! A small synchronous netlink socket: requests with acknowledgement, batches, dumps, and errors with the kernel's own words.
//!
//! Route messages are built and read with netlink-packet-route; netfilter messages are bytes that [`crate::firewall`]
//! encodes. A socket serves the network namespace in which it was opened, from whatever thread it is used.
//! The kernel handles a request inside `send`, so all replies but the later parts of a dump wait when it returns.

use gantry_base::{Error, ErrorKind, Result};
use gantry_sys::netlink::Family;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use std::fmt;
use std::os::fd::OwnedFd;

/// Types of control messages (`linux/netlink.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The acknowledgement carries attributes (`NLM_F_ACK_TLVS`), and not the request (`NLM_F_CAPPED`).
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER_BYTES: usize = 16;
/// The kernel fills a dump's parts up to the size of the reader's buffer, at most 32 KiB.
const RECEIVE_BYTES: usize = 32 << 10;
/// How often a dump is begun again because the dumped table changed meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// One netlink socket of one network namespace.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Why the kernel refused a message, or why it could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Position of the refused message in its batch; 0 for single requests.
    pub index: usize,
    /// The error number, positive.
    pub errno: i32,
    /// The kernel's explanation, where it gives one.
    pub explanation: Option<String>,
}

/// One raw message of a reply.
struct Received<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
    whole: &'a [u8],
}

impl Socket {
    /// A socket to rtnetlink in this thread's network namespace.
    pub fn route() -> Result<Self> {
        Self::open(Family::Route)
    }

    /// A socket to nfnetlink in this thread's network namespace.
    pub fn netfilter() -> Result<Self> {
        Self::open(Family::Netfilter)
    }

    fn open(family: Family) -> Result<Self> {
        Ok(Self {
            fd: gantry_sys::netlink::open(family)?,
            sequence: 0,
            buffer: Vec::new(),
        })
    }

    /// Sends one route message and waits for its acknowledgement. `flags` are added to request and ack.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refusal> {
        self.batch([(message, flags)])
    }

    /// Sends several route messages in one packet. All of them are carried out, also after one was refused; the first
    /// refusal is returned.
    pub fn batch(
        &mut self,
        messages: impl IntoIterator<Item = (RouteNetlinkMessage, u16)>,
    ) -> Result<(), Refusal> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(512);
        for (message, flags) in messages {
            self.append(&mut bytes, message, flags | NLM_F_REQUEST | NLM_F_ACK);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.send(&bytes)?;
        self.acknowledgements(first, self.sequence)
    }

    /// Asks for one object and returns the kernel's answer.
    pub fn get(&mut self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Refusal> {
        let mut bytes = Vec::with_capacity(128);
        self.append(&mut bytes, message, NLM_F_REQUEST);
        let mut answer = None;
        self.ask(&bytes, |whole| {
            answer = Some(parse_route(whole)?);
            Ok(())
        })?;
        answer.ok_or_else(|| Refusal::new(libc::EPROTO))
    }

    /// Asks for one object without reading the answer: for what the kernel does on the way.
    pub(crate) fn get_and_ignore(&mut self, message: RouteNetlinkMessage) -> Result<(), Refusal> {
        let mut bytes = Vec::with_capacity(128);
        self.append(&mut bytes, message, NLM_F_REQUEST);
        self.ask(&bytes, |_| Ok(()))
    }

    /// The index of a link: an ioctl, as a netlink answer would describe all of it.
    pub(crate) fn index_of_link(&self, name: &str) -> Result<u32, Refusal> {
        Ok(rustix::net::netdevice::name_to_index(&self.fd, name)?)
    }

    /// The network namespace in which the socket was opened.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        gantry_sys::netns::of_socket(&self.fd)
    }

    /// Sends a request without the ack flag, so that the answer itself is the only reply.
    pub(crate) fn ask(
        &mut self,
        bytes: &[u8],
        mut answer: impl FnMut(&[u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.send(bytes)?;
        let (first, mut is_answered) = (self.sequence, false);
        while !is_answered {
            self.receive(RecvFlags::empty(), |received| {
                if received.sequence != first {
                    return Ok(());
                }
                is_answered = true;
                if received.kind == NLMSG_ERROR {
                    refusal(received, first)
                } else {
                    answer(received.whole)
                }
            })?;
        }
        Ok(())
    }

    /// All objects that match `message`. Begun again if the table changed during the dump.
    pub fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut bytes = Vec::with_capacity(128);
            self.append(&mut bytes, message.clone(), NLM_F_REQUEST | NLM_F_DUMP);
            let mut found = Vec::new();
            let is_consistent = self.dump_raw(&bytes, |_, whole| {
                found.push(parse_route(whole)?);
                Ok(())
            })?;
            if is_consistent {
                return Ok(found);
            }
        }
        Err(Refusal::new(libc::EAGAIN))
    }

    /// The next sequence number, for callers that encode messages themselves.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Says that numbers up to `sequence` were used.
    pub(crate) fn skip_sequences_to(&mut self, sequence: u32) {
        self.sequence = sequence;
    }

    /// Lets a packet of `bytes` leave in one piece.
    pub(crate) fn widen_send_buffer(&mut self, bytes: usize) -> Result<(), Refusal> {
        Ok(rustix::net::sockopt::set_socket_send_buffer_size_force(
            &self.fd,
            bytes + (64 << 10),
        )?)
    }

    /// Sends encoded messages, of which at least the one numbered `last` asks for an acknowledgement, and waits for it.
    pub(crate) fn transact(&mut self, bytes: &[u8], first: u32, last: u32) -> Result<(), Refusal> {
        self.send(bytes)?;
        self.acknowledgements(first, last)
    }

    /// Sends one encoded dump request and hands kind and bytes of each answer to `each`. False if the table changed meanwhile.
    pub(crate) fn dump_raw(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(u16, &[u8]) -> Result<(), Refusal>,
    ) -> Result<bool, Refusal> {
        self.send(bytes)?;
        let sequence = self.sequence;
        let (mut is_done, mut is_consistent) = (false, true);
        while !is_done {
            self.receive(RecvFlags::empty(), |received| {
                if received.sequence != sequence {
                    return Ok(());
                }
                is_consistent &= received.flags & NLM_F_DUMP_INTR == 0;
                match received.kind {
                    NLMSG_DONE => {
                        is_done = true;
                        refusal(received, sequence)
                    }
                    NLMSG_ERROR => refusal(received, sequence),
                    kind => each(kind, received.whole),
                }
            })?;
        }
        Ok(is_consistent)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.next_sequence();
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut bytes[start..]);
        bytes.resize(start + (bytes.len() - start).next_multiple_of(4), 0);
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, bytes, SendFlags::empty()))?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(Refusal::new(libc::EMSGSIZE))
        }
    }

    /// Reads until `last` is acknowledged or something in `first..=last` was refused.
    fn acknowledgements(&mut self, first: u32, last: u32) -> Result<(), Refusal> {
        let mut is_done = false;
        let mut refused = None;
        while !is_done {
            // After a refusal nothing is owed to us; take what is there.
            let flags = if refused.is_some() {
                RecvFlags::DONTWAIT
            } else {
                RecvFlags::empty()
            };
            let result = self.receive(flags, |received| {
                if received.kind != NLMSG_ERROR
                    || received.sequence.wrapping_sub(first) > last.wrapping_sub(first)
                {
                    return Ok(());
                }
                is_done |= received.sequence == last;
                if let Err(refusal) = refusal(received, first) {
                    refused.get_or_insert(refusal);
                }
                Ok(())
            });
            match result {
                Ok(()) => {}
                Err(end) if refused.is_some() && end.errno == libc::EAGAIN => is_done = true,
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Receives one packet and hands each of its messages to `each`.
    fn receive(
        &mut self,
        flags: RecvFlags,
        mut each: impl FnMut(&Received<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.buffer.clear();
        self.buffer.reserve(RECEIVE_BYTES);
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(
                &self.fd,
                spare_capacity(&mut self.buffer),
                flags | RecvFlags::TRUNC,
            )
        })?;
        if length > self.buffer.len() {
            return Err(Refusal::new(libc::EMSGSIZE));
        }
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let (message, after) = split_message(rest).ok_or_else(|| Refusal::new(libc::EPROTO))?;
            each(&message)?;
            rest = after;
        }
        Ok(())
    }
}

impl Refusal {
    pub(crate) fn new(errno: i32) -> Self {
        Self {
            index: 0,
            errno,
            explanation: None,
        }
    }

    /// Turns the refusal with this error number into success.
    pub fn unless(self, errno: i32) -> Result<(), Self> {
        if self.errno == errno {
            Ok(())
        } else {
            Err(self)
        }
    }
}

/// Success also where the refusal has one of the error numbers that mean "it is so already".
pub(crate) fn allow(result: Result<(), Refusal>, errnos: &[i32]) -> Result<(), Refusal> {
    match result {
        Err(refusal) if errnos.contains(&refusal.errno) => Ok(()),
        other => other,
    }
}

impl From<rustix::io::Errno> for Refusal {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::new(errno.raw_os_error())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Error::from(std::io::Error::from_raw_os_error(self.errno)).message())?;
        match &self.explanation {
            Some(explanation) => write!(f, " ({})", explanation.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.errno {
            libc::EPERM | libc::EACCES => ErrorKind::Forbidden,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, refusal.to_string()).with_source(refusal)
    }
}

/// The first message of a packet, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(Received<'_>, &[u8])> {
    let header = bytes.get(..HEADER_BYTES)?;
    let length = usize::try_from(read_u32(header, 0)?).ok()?;
    let whole = bytes.get(..length)?;
    let payload = whole.get(HEADER_BYTES..)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    let (kind, flags) = (read_u16(header, 4)?, read_u16(header, 6)?);
    Some((
        Received {
            kind,
            flags,
            sequence: read_u32(header, 8)?,
            payload,
            whole,
        },
        after,
    ))
}

/// The refusal that an error or end-of-dump message carries; zero is success.
fn refusal(received: &Received<'_>, first: u32) -> Result<(), Refusal> {
    let code = received
        .payload
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    if code == 0 {
        return Ok(());
    }
    let index = usize::try_from(received.sequence.wrapping_sub(first)).unwrap_or(0);
    Err(Refusal {
        index,
        errno: code.saturating_neg(),
        explanation: explanation(received),
    })
}

/// The text among the attributes of an acknowledgement.
fn explanation(received: &Received<'_>) -> Option<String> {
    if received.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // An error carries the code and the request's header, and, unless capped, the rest of the request.
    let mut offset = if received.kind == NLMSG_DONE {
        4
    } else {
        4 + HEADER_BYTES
    };
    if received.kind == NLMSG_ERROR && received.flags & NLM_F_CAPPED == 0 {
        let request = usize::try_from(read_u32(received.payload, 4)?).ok()?;
        offset = 4 + request.next_multiple_of(4);
    }
    Attributes::new(received.payload.get(offset..)?)
        .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
        .map(|(_, text)| {
            String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned()
        })
}

/// Iterates over encoded attributes; ends at the first one that does not fit.
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(read_u16(self.rest, 0)?);
        // The two highest bits say "nested" and "network byte order".
        let kind = read_u16(self.rest, 2)? & 0x3fff;
        let value = self.rest.get(4..length)?;
        self.rest = self
            .rest
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((kind, value))
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn parse_route(bytes: &[u8]) -> Result<RouteNetlinkMessage, Refusal> {
    let unreadable = |why: String| Refusal {
        index: 0,
        errno: libc::EBADMSG,
        explanation: Some(why),
    };
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
        .map_err(|e| unreadable(e.to_string()))?;
    match message.payload {
        NetlinkPayload::InnerMessage(message) => Ok(message),
        other => Err(unreadable(format!(
            "a message of type {}",
            other.message_type()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgement as the kernel sends it: refused, capped, with an explanation.
    fn refused() -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend((NLM_F_CAPPED | NLM_F_ACK_TLVS).to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend((-libc::EINVAL).to_ne_bytes());
        bytes.extend([0; HEADER_BYTES]);
        bytes.extend(9_u16.to_ne_bytes());
        bytes.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        bytes.extend(b"Why.\0\0\0\0");
        let length = u32::try_from(bytes.len()).expect("is short");
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_refusal_is_read_with_its_place_and_explanation() {
        let bytes = refused();
        let (message, after) = split_message(&bytes).expect("is whole");
        assert!(after.is_empty());
        let refusal = refusal(&message, 5).expect_err("is a refusal");
        assert_eq!((refusal.index, refusal.errno), (2, libc::EINVAL));
        assert_eq!(refusal.to_string(), "invalid argument (Why)");
    }

    #[test]
    fn damaged_messages_are_no_panic() {
        let whole = refused();
        for length in 0..whole.len() {
            assert!(split_message(&whole[..length]).is_none());
            for wrong in 0..=u8::MAX {
                let mut bytes = whole.clone();
                bytes[length] = wrong;
                if let Some((message, _)) = split_message(&bytes) {
                    drop(refusal(&message, 0));
                    Attributes::new(message.payload).for_each(drop);
                }
            }
        }
    }
}
