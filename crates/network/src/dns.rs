//! Questions to a container's name server and their answers, as bytes. Pure.
//!
//! Only what such a server needs: one question is read, addresses and names are answered; everything else is passed on as it
//! came, so that no record of the outside has to be understood. Nothing here trusts a packet (RFC 1035, RFC 6891).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types of records.
pub const A: u16 = 1;
/// See [`A`].
pub const PTR: u16 = 12;
/// See [`A`].
pub const AAAA: u16 = 28;
const OPT: u16 = 41;
const INTERNET: u16 = 1;

/// Codes of answers.
pub const FORMAT_ERROR: u8 = 1;
/// See [`FORMAT_ERROR`].
pub const SERVER_FAILURE: u8 = 2;
/// See [`FORMAT_ERROR`].
pub const NO_SUCH_NAME: u8 = 3;

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 255;
/// What a packet may have without the extension that says more.
const PLAIN_BYTES_MAX: usize = 512;
/// What we say that we take.
const OWN_BYTES_MAX: u16 = 1232;
/// Docker's, in seconds.
const TIME_TO_LIVE_S: u32 = 600;

const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    packet: &'a [u8],
    question_end: usize,
    /// The name in lower case, without a dot at its end; none if it has bytes that no host name has.
    pub name: Option<String>,
    /// Type of the records asked for.
    pub kind: u16,
    class: u16,
    has_extension: bool,
    /// The largest answer that the client takes over UDP.
    pub udp_bytes_max: usize,
}

impl<'a> Query<'a> {
    /// Reads a packet; none if it is no question that can be answered.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = packet.get(..HEADER_BYTES)?;
        let is_question = header[2] & (RESPONSE | OPCODE) == 0
            && number(packet, 4)? == 1
            && number(packet, 6)? == 0;
        if !is_question {
            return None;
        }
        let (name, end) = name(packet, HEADER_BYTES)?;
        let kind = number(packet, end)?;
        let class = number(packet, end + 2)?;
        let question_end = end + 4;
        let extension = extension(packet, question_end);
        Some(Self {
            packet,
            question_end,
            name,
            kind,
            class,
            has_extension: extension.is_some(),
            udp_bytes_max: extension
                .map_or(PLAIN_BYTES_MAX, usize::from)
                .max(PLAIN_BYTES_MAX),
        })
    }

    /// The number that its client gave it.
    pub fn number(&self) -> u16 {
        number(self.packet, 0).unwrap_or_default()
    }

    /// Whether it asks for records of the internet: all that we have.
    pub fn is_of_internet(&self) -> bool {
        self.class == INTERNET
    }

    /// The answer with those of `addresses` that are of the type asked for; without one, it says that there are none.
    pub fn addresses(&self, addresses: &[IpAddr]) -> Vec<u8> {
        let data = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) if self.kind == A => Some(v4.octets().to_vec()),
            IpAddr::V6(v6) if self.kind == AAAA => Some(v6.octets().to_vec()),
            _ => None,
        });
        self.answer(data.collect())
    }

    /// The answer to a question by address; none if `name` cannot be written.
    pub fn pointer(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.answer(vec![encoded(name)?]))
    }

    /// The answer that says why there is none.
    pub fn failure(&self, code: u8) -> Vec<u8> {
        let mut bytes = self.head(code);
        self.append_extension(&mut bytes);
        bytes
    }

    /// Whether `reply` answers this very question: number, flags and question are the same.
    pub fn is_answered_by(&self, reply: &[u8]) -> bool {
        let question = |packet: &'a [u8]| packet.get(HEADER_BYTES..self.question_end);
        reply.get(..2) == self.packet.get(..2)
            && reply.get(2).is_some_and(|flags| flags & RESPONSE != 0)
            && match (
                reply.get(HEADER_BYTES..self.question_end),
                question(self.packet),
            ) {
                (Some(theirs), Some(ours)) => theirs.eq_ignore_ascii_case(ours),
                _ => false,
            }
    }

    /// `reply` if the client takes as much over UDP, else one that makes it ask again over TCP.
    pub fn fitting(&self, reply: Vec<u8>) -> Vec<u8> {
        if reply.len() <= self.udp_bytes_max {
            return reply;
        }
        let code = reply.get(3).map_or(SERVER_FAILURE, |flags| flags & 0x0f);
        let mut bytes = self.failure(code);
        bytes[2] |= TRUNCATED;
        bytes
    }

    fn answer(&self, data: Vec<Vec<u8>>) -> Vec<u8> {
        let mut bytes = self.head(0);
        let mut count = 0_u16;
        for data in data {
            let Ok(length) = u16::try_from(data.len()) else {
                continue;
            };
            // A pointer to the name in the question.
            bytes.extend([0xc0, 12]);
            bytes.extend(self.kind.to_be_bytes());
            bytes.extend(INTERNET.to_be_bytes());
            bytes.extend(TIME_TO_LIVE_S.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend(data);
            count += 1;
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        self.append_extension(&mut bytes);
        bytes
    }

    /// Header and question of a reply.
    fn head(&self, code: u8) -> Vec<u8> {
        let mut bytes = self.packet[..self.question_end].to_vec();
        bytes[2] = RESPONSE | (bytes[2] & RECURSION_DESIRED);
        bytes[3] = RECURSION_AVAILABLE | code;
        bytes[6..HEADER_BYTES].fill(0);
        bytes
    }

    fn append_extension(&self, bytes: &mut Vec<u8>) {
        if !self.has_extension {
            return;
        }
        bytes.push(0);
        bytes.extend(OPT.to_be_bytes());
        bytes.extend(OWN_BYTES_MAX.to_be_bytes());
        bytes.extend([0; 6]);
        bytes[11] = 1;
    }
}

/// The reply to a packet that is a question, but not one that can be read; none for anything else.
pub fn format_error(packet: &[u8]) -> Option<Vec<u8>> {
    let header = packet.get(..HEADER_BYTES)?;
    if header[2] & RESPONSE != 0 {
        return None;
    }
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..2].copy_from_slice(&header[..2]);
    bytes[2] = RESPONSE | (header[2] & (OPCODE | RECURSION_DESIRED));
    bytes[3] = RECURSION_AVAILABLE | FORMAT_ERROR;
    Some(bytes)
}

/// Whether a reply was cut, so that it must be asked for over TCP.
pub fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = labels.rsplit('.');
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts
            .next()
            .is_none()
            .then(|| Ipv4Addr::from(octets).into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut number = 0_u128;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let digit = u128::from_str_radix(label, 16)
            .ok()
            .filter(|_| label.len() == 1)?;
        number = number << 4 | digit;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(number).into())
}

fn number(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?))
}

/// The name that begins at `at`, and where it ends. A question's name is the first of its packet, so that it cannot point to another.
fn name(packet: &[u8], at: usize) -> Option<(Option<String>, usize)> {
    let mut text = Some(String::new());
    let mut position = at;
    loop {
        let length = usize::from(*packet.get(position)?);
        position += 1;
        if length == 0 {
            break;
        }
        if length > 63 || position + length - at > NAME_BYTES_MAX {
            return None;
        }
        let label = packet.get(position..position + length)?;
        position += length;
        let is_plain = label.iter().all(|b| b.is_ascii_graphic() && *b != b'.');
        text = text.filter(|_| is_plain).map(|mut text| {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
            text
        });
    }
    Some((text, position))
}

/// The size that the extension record after the question names. Clients send nothing before it.
fn extension(packet: &[u8], at: usize) -> Option<u16> {
    let is_extension = *packet.get(at)? == 0 && number(packet, at + 1)? == OPT;
    is_extension.then(|| number(packet, at + 3))?
}

fn encoded(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    (bytes.len() <= NAME_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: u16, extension: Option<u16>) -> Vec<u8> {
        let mut bytes = vec![
            0x12,
            0x34,
            1,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(extension.is_some()),
        ];
        bytes.extend(encoded(name).expect("can be written"));
        bytes.extend(kind.to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        if let Some(size) = extension {
            bytes.push(0);
            bytes.extend(OPT.to_be_bytes());
            bytes.extend(size.to_be_bytes());
            bytes.extend([0; 6]);
        }
        bytes
    }

    #[test]
    fn addresses_of_the_type_asked_for_are_answered() {
        let packet = question("Web.Example", A, None);
        let query = Query::parse(&packet).expect("is a question");
        assert_eq!(query.name.as_deref(), Some("web.example"));
        let known: Vec<IpAddr> = ["10.0.0.2", "fd00::2", "10.0.0.3"]
            .map(|a| a.parse().expect("is one"))
            .into();
        let reply = query.addresses(&known);
        assert!(query.is_answered_by(&reply));
        assert_eq!((reply[3] & 0xf, reply[7]), (0, 2));
        assert!(reply.ends_with(&[0, 4, 10, 0, 0, 3]));
        let packet = question("web", AAAA, Some(4096));
        let query = Query::parse(&packet).expect("is a question");
        let reply = query.addresses(&known[..1]);
        assert_eq!(
            (reply[3] & 0xf, reply[7], reply[11]),
            (0, 0, 1),
            "the name exists, without such an address"
        );
        assert_eq!(query.udp_bytes_max, 4096);
    }

    #[test]
    fn what_does_not_fit_is_asked_for_again_over_tcp() {
        let packet = question("web", A, None);
        let query = Query::parse(&packet).expect("is a question");
        let many: Vec<IpAddr> = (0..64).map(|i| Ipv4Addr::new(10, 0, 0, i).into()).collect();
        let whole = query.addresses(&many);
        assert!(whole.len() > 512 && !is_truncated(&whole));
        let cut = query.fitting(whole.clone());
        assert!(is_truncated(&cut) && cut.len() <= 512 && query.is_answered_by(&cut));
        let packet = question("web", A, Some(4096));
        assert!(!is_truncated(
            &Query::parse(&packet).expect("is one").fitting(whole)
        ));
    }

    #[test]
    fn replies_to_other_questions_are_not_taken() {
        let (one, other) = (question("one", A, None), question("two", A, None));
        let (query, stranger) = (
            Query::parse(&one).expect("is one"),
            Query::parse(&other).expect("is one"),
        );
        assert!(!query.is_answered_by(&stranger.addresses(&[])));
        assert!(!query.is_answered_by(&one), "a question is no answer");
        let mut forged = query.addresses(&[]);
        forged[0] ^= 1;
        assert!(!query.is_answered_by(&forged));
    }

    #[test]
    fn addresses_are_read_backwards() {
        assert_eq!(
            reverse_address("77.9.99.10.in-addr.arpa"),
            Some("10.99.9.77".parse().expect("is one"))
        );
        let v6 = format!("2{}.d.f.ip6.arpa", ".0".repeat(29));
        assert_eq!(
            reverse_address(&v6),
            Some("fd00::2".parse().expect("is one"))
        );
        for bad in [
            "9.99.10.in-addr.arpa",
            "1.77.9.99.10.in-addr.arpa",
            "x.ip6.arpa",
            "web",
            "300.9.99.10.in-addr.arpa",
        ] {
            assert_eq!(reverse_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn damaged_packets_are_no_panic() {
        let whole = question("web.example", AAAA, Some(1400));
        for length in 0..=whole.len() {
            for wrong in 0..=u8::MAX {
                let mut bytes = whole[..length].to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last = wrong;
                }
                drop(format_error(&bytes));
                if let Some(query) = Query::parse(&bytes) {
                    let reply = query.failure(SERVER_FAILURE);
                    assert!(query.is_answered_by(&reply));
                    drop(query.fitting(vec![0; 70_000]));
                }
            }
        }
        let endless = [
            &[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
            &[0xc0, 12, 0, 1, 0, 1],
        ]
        .concat();
        assert!(
            Query::parse(&endless).is_none(),
            "a name that points to itself"
        );
    }
}
