//! A table as data, and its text in nft's language, laid out as `nft list table` prints it.
//!
//! Only the sets, matches and statements that we use. [`super::encode`] turns the same data into netlink messages.

use super::PortProtocol;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// The content of one table of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ruleset {
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
}

/// A set, or, with data, a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) key: Vec<Field>,
    pub(super) data: Option<DataType>,
    pub(super) elements: Vec<Element>,
}

/// One part of a key or of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    V4,
    V6,
    Protocol,
    Service,
    Interface,
}

/// What a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataType {
    Fields(Vec<Field>),
    Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<Value>,
    pub(super) data: Option<Data>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Values(Vec<Value>),
    Verdict(Verdict),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Address(IpAddr),
    Protocol(PortProtocol),
    Service(u16),
    Interface(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    /// Where packets enter it; none for chains that others jump to.
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Vec<Statement>>,
}

/// How a chain hangs in the packet's way; its policy is always to accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) kind: &'static str,
    pub(super) hook: Hook,
    pub(super) priority: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Forward,
    Output,
    Postrouting,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// The interface is, or is not, this one.
    Interface {
        direction: Direction,
        is: bool,
        name: String,
    },
    /// The interface is in a set, or is not.
    InterfaceSet {
        direction: Direction,
        is: bool,
        set: &'static str,
    },
    /// The interface decides, by a map.
    InterfaceVerdict {
        direction: Direction,
        map: &'static str,
    },
    /// The address is in a network.
    Address {
        end: End,
        is: bool,
        network: IpNet,
    },
    /// `ct state established,related`
    Established,
    /// `ct status dnat`: the connection's destination was translated.
    DestinationTranslated,
    /// `fib daddr type local`
    DestinationLocal,
    /// Address, protocol and port of the destination are in a set.
    DestinationSet {
        field: Field,
        set: &'static str,
    },
    /// The control messages of the address family.
    ControlMessage(Field),
    /// Translates the destination to what a map says for protocol and port, and for the address before them if `is_bound`.
    TranslateDestination {
        field: Field,
        is_bound: bool,
        map: &'static str,
    },
    Masquerade,
    Verdict(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

impl Ruleset {
    /// The whole table called `table` as nft's text: `nft -f` takes it, golden files compare it.
    pub fn text(&self, table: &str) -> String {
        format!("table inet {table} {{\n{self}}}\n")
    }
}

impl Field {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
    /// The word for addresses of this family in matches.
    fn family_word(self) -> &'static str {
        if self == Self::V6 { "ip6" } else { "ip" }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for set in &self.sets {
            writeln!(f, "{set}")?;
        }
        for (position, chain) in self.chains.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{chain}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.data.is_some() { "map" } else { "set" };
        write!(
            f,
            "\t{word} {} {{\n\t\ttype {}",
            self.name,
            Joined(&self.key, " . ")
        )?;
        match &self.data {
            Some(DataType::Fields(fields)) => write!(f, " : {}", Joined(fields, " . "))?,
            Some(DataType::Verdict) => f.write_str(" : verdict")?,
            None => {}
        }
        f.write_str("\n")?;
        if !self.elements.is_empty() {
            writeln!(
                f,
                "\t\telements = {{ {} }}",
                Joined(&self.elements, ",\n\t\t\t     ")
            )?;
        }
        f.write_str("\t}\n")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(Base {
            kind,
            hook,
            priority,
        }) = self.base
        {
            writeln!(
                f,
                "\t\ttype {kind} hook {hook} priority {}; policy accept;",
                priority_word(hook, priority)
            )?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{}", Joined(rule, " "))?;
        }
        f.write_str("\t}\n")
    }
}

/// The names that nft gives to the usual priorities.
fn priority_word(hook: Hook, priority: i32) -> String {
    let word = match (hook, priority) {
        (_, -300) => "raw",
        (_, 0) => "filter",
        (Hook::Prerouting, -100) => "dstnat",
        (Hook::Postrouting, 100) => "srcnat",
        _ => return priority.to_string(),
    };
    word.to_owned()
}

/// The type's name; the alternate form is the name of the address family.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f.write_str(if *self == Self::V6 { "ipv6" } else { "ipv4" });
        }
        f.write_str(match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Service => "inet_service",
            Self::Interface => "ifname",
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Joined(&self.key, " . "))?;
        match &self.data {
            Some(Data::Values(values)) => write!(f, " : {}", Joined(values, " . ")),
            Some(Data::Verdict(verdict)) => write!(f, " : {verdict}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Service(port) => port.fmt(f),
            Self::Interface(name) => write!(f, "\"{name}\""),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "iifname",
            Self::Out => "oifname",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "saddr",
            Self::Destination => "daddr",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unless = |is: &bool| if *is { "" } else { "!= " };
        match self {
            Self::Interface {
                direction,
                is,
                name,
            } => write!(f, "{direction} {}\"{name}\"", unless(is)),
            Self::InterfaceSet { direction, is, set } => {
                write!(f, "{direction} {}@{set}", unless(is))
            }
            Self::InterfaceVerdict { direction, map } => write!(f, "{direction} vmap @{map}"),
            Self::Address { end, is, network } => {
                let family = Field::of(network.addr()).family_word();
                // nft leaves the length out where it is that of the whole address.
                if network.prefix_len() == network.max_prefix_len() {
                    return write!(f, "{family} {end} {}{}", unless(is), network.addr());
                }
                write!(f, "{family} {end} {}{network}", unless(is))
            }
            Self::Established => f.write_str("ct state established,related"),
            Self::DestinationTranslated => f.write_str("ct status dnat"),
            Self::DestinationLocal => f.write_str("fib daddr type local"),
            Self::DestinationSet { field, set } => {
                let family = field.family_word();
                write!(f, "{family} daddr . meta l4proto . th dport @{set}")
            }
            Self::ControlMessage(Field::V6) => f.write_str("meta l4proto ipv6-icmp"),
            Self::ControlMessage(_) => f.write_str("meta l4proto icmp"),
            Self::TranslateDestination {
                field,
                is_bound,
                map,
            } => {
                let family = field.family_word();
                if *is_bound {
                    write!(
                        f,
                        "dnat {family} to {family} daddr . meta l4proto . th dport map @{map}"
                    )
                } else {
                    // An address in the key implies the family; without one it is a match of its own.
                    write!(
                        f,
                        "meta nfproto {field:#} dnat {family} to meta l4proto . th dport map @{map}"
                    )
                }
            }
            Self::Masquerade => f.write_str("masquerade"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

/// Items with a separator between them.
struct Joined<'a, T>(&'a [T], &'a str);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, item) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(self.1)?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
