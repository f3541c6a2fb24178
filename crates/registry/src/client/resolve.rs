//! Names to addresses: `/etc/hosts`, then the name servers of `/etc/resolv.conf`.
//!
//! Our executables are static, so that the C library cannot load the modules that its own lookup may ask for. This does
//! what programs in Go do in the same place: hosts file, search list, both address families, TCP where an answer is cut.
//! Source: RFC 1035; resolv.conf(5).

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;
const SERVERS_MAX: usize = 3;
/// Names that lead to names.
const ALIASES_MAX: usize = 16;
const MESSAGE_BYTES_MAX: usize = 4096;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;

/// Looks names up for the HTTP client; reads its files at each lookup, since they change.
#[derive(Debug, Default)]
pub(super) struct Resolver;

#[derive(Debug, Default, PartialEq)]
struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = lookup(&name).await?;
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, BoxError> {
    if let Ok(address) = name.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    let hosts = tokio::fs::read_to_string("/etc/hosts")
        .await
        .unwrap_or_default();
    let mut found = from_hosts(&hosts, name);
    let bare = name.trim_end_matches('.');
    if found.is_empty() && (bare == "localhost" || bare.ends_with(".localhost")) {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let text = tokio::fs::read_to_string("/etc/resolv.conf")
        .await
        .unwrap_or_default();
    let config = Arc::new(parse_config(&text));
    let server = config
        .servers
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut failure = "no such host".to_owned();
    for candidate in candidates(name, &config) {
        let (v4, v6) = tokio::join!(
            query(&config, &candidate, TYPE_A),
            query(&config, &candidate, TYPE_AAAA)
        );
        let mut addresses = Vec::new();
        for answer in [v4, v6] {
            match answer {
                Ok(more) => addresses.extend(more),
                Err(error) => failure = error,
            }
        }
        if !addresses.is_empty() {
            return Ok(addresses);
        }
    }
    Err(format!("dial tcp: lookup {name} on {server}: {failure}").into())
}

fn from_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    found
}

fn parse_config(text: &str) -> Config {
    let mut config = Config {
        ndots: 1,
        ..Config::default()
    };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                // A zone (`fe80::1%eth0`) cannot be had without an interface's number.
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                if config.servers.len() < SERVERS_MAX {
                    config
                        .servers
                        .extend(address.map(|address| SocketAddr::new(address, 53)));
                }
            }
            Some("search" | "domain") => {
                config.search = words
                    .map(|word| word.trim_end_matches('.').to_owned())
                    .collect();
            }
            Some("options") => {
                for word in words {
                    if let Some(number) = word.strip_prefix("ndots:") {
                        config.ndots = number.parse().unwrap_or(1).min(15);
                    }
                }
            }
            _ => {}
        }
    }
    if config.servers.is_empty() {
        config
            .servers
            .push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
    }
    config
}

/// The names to ask for: with the search list after a name with dots enough, before any other.
fn candidates(name: &str, config: &Config) -> Vec<String> {
    if let Some(absolute) = name.strip_suffix('.') {
        return vec![absolute.to_owned()];
    }
    let searched = config
        .search
        .iter()
        .map(|domain| format!("{name}.{domain}"));
    let own = std::iter::once(name.to_owned());
    if name.matches('.').count() >= config.ndots {
        own.chain(searched).collect()
    } else {
        searched.chain(own).collect()
    }
}

async fn query(config: &Config, name: &str, kind: u16) -> Result<Vec<IpAddr>, String> {
    let mut failure = "no such host".to_owned();
    for _ in 0..ATTEMPTS {
        for server in &config.servers {
            match tokio::time::timeout(ATTEMPT_TIMEOUT, exchange(*server, name, kind)).await {
                Ok(Ok(Answer::Addresses(found))) => return Ok(found),
                Ok(Ok(Answer::NoSuchName)) => return Err("no such host".into()),
                Ok(Ok(Answer::Failed)) => failure = "server misbehaving".into(),
                Ok(Err(error)) => failure = gantry_base::Error::from(error).to_string(),
                Err(_) => failure = "i/o timeout".into(),
            }
        }
    }
    Err(failure)
}

#[derive(Debug, PartialEq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    Failed,
}

async fn exchange(server: SocketAddr, name: &str, kind: u16) -> std::io::Result<Answer> {
    let id = random_id();
    let Some(question) = question(id, name, kind) else {
        return Ok(Answer::NoSuchName);
    };
    let local: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut message).await?;
        match parse_answer(&message[..length], id, &question, kind) {
            Some(Parsed::Cut) => break,
            Some(Parsed::Whole(answer)) => return Ok(answer),
            // Not an answer to this question: somebody guesses, or it is late.
            None => {}
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&question).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(match parse_answer(&message, id, &question, kind) {
        Some(Parsed::Whole(answer)) => answer,
        _ => Answer::Failed,
    })
}

fn random_id() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    u16::try_from(RandomState::new().hash_one(0) & 0xffff).unwrap_or(0)
}

/// A query with recursion; none for what is no name.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(name.len() + 18);
    message.extend(id.to_be_bytes());
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..64).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    (message.len() <= 12 + 255 + 4).then_some(message)
}

enum Parsed {
    /// The whole comes by TCP.
    Cut,
    Whole(Answer),
}

fn parse_answer(message: &[u8], id: u16, question: &[u8], kind: u16) -> Option<Parsed> {
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ]))
    };
    let flags = word(2)?;
    let asked = message.get(12..question.len())?;
    if word(0)? != id || flags & 0x8000 == 0 || !asked.eq_ignore_ascii_case(&question[12..]) {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Parsed::Cut);
    }
    match flags & 0xf {
        0 => {}
        3 => return Some(Parsed::Whole(Answer::NoSuchName)),
        _ => return Some(Parsed::Whole(Answer::Failed)),
    }
    let mut at = question.len();
    let mut addresses = Vec::new();
    let mut aliases = 0;
    for _ in 0..word(6)? {
        at = skip_name(message, at)?;
        let (found, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        match found {
            TYPE_A if kind == TYPE_A => {
                addresses.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?));
            }
            TYPE_AAAA if kind == TYPE_AAAA => {
                addresses.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?));
            }
            TYPE_CNAME => aliases += 1,
            _ => {}
        }
        if aliases > ALIASES_MAX {
            return Some(Parsed::Whole(Answer::Failed));
        }
    }
    Some(Parsed::Whole(Answer::Addresses(addresses)))
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_system_reads_them() {
        let hosts = "127.0.0.1 localhost\n10.0.0.5 reg.local reg # b\nbad line\n::5 REG.local\n";
        let expected: Vec<IpAddr> = ["10.0.0.5", "::5"]
            .map(|a| a.parse().expect("is valid"))
            .into();
        assert_eq!(from_hosts(hosts, "reg.local"), expected);
        let text = "nameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch a.example b.example.\noptions ndots:2 edns0\n";
        let config = parse_config(text);
        assert_eq!(config.servers, ["10.0.0.2:53".parse().expect("is valid")]);
        assert_eq!(
            candidates("x.y", &config),
            ["x.y.a.example", "x.y.b.example", "x.y"]
        );
        assert_eq!(candidates("x.y.z", &config)[0], "x.y.z");
        assert_eq!(candidates("x.", &config), ["x"]);
    }

    #[test]
    fn answers_are_read_and_forged_ones_are_not() {
        let question = question(7, "reg.example", TYPE_A).expect("is a name");
        let mut message = question.clone();
        message[2] = 0x81;
        message[7] = 1;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3]);
        let parsed = parse_answer(&message, 7, &question, TYPE_A);
        let expected = Answer::Addresses(vec![[10, 1, 2, 3].into()]);
        assert!(matches!(parsed, Some(Parsed::Whole(answer)) if answer == expected));
        assert!(parse_answer(&message, 8, &question, TYPE_A).is_none());
        for end in 0..message.len() {
            // Cut anywhere, it is no answer, and no panic.
            let parsed = parse_answer(&message[..end], 7, &question, TYPE_A);
            assert!(parsed.is_none(), "{end}");
        }
    }
}
