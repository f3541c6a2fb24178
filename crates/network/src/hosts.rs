//! The text of a container's `/etc/hosts`, as dockerd writes it. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

const V4_LINES: &str = "127.0.0.1\tlocalhost\n";
const V6_LINES: &str = "::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// The names, the canonical one first, as they stand in the line.
    pub names: String,
}

/// The fixed lines, `extra` (`--add-host`), then `own`: dockerd's order. Without IPv6 on the container's loopback, the fixed
/// lines leave it out.
pub fn render(has_v6: bool, extra: &[HostEntry], own: &[HostEntry]) -> String {
    let mut text = String::from(V4_LINES);
    if has_v6 {
        text.push_str(V6_LINES);
    }
    for HostEntry { address, names } in extra.iter().chain(own) {
        writeln!(text, "{address}\t{names}").expect("a string takes everything");
    }
    text
}

/// The names of a container's own line: `name.domain name`; a host name with dots is followed by its first part.
pub fn own_names(hostname: &str, domain: &str) -> String {
    let full = if domain.is_empty() {
        hostname.to_owned()
    } else {
        format!("{hostname}.{domain}")
    };
    match full.split_once('.') {
        Some((first, _)) => format!("{full} {first}"),
        None => full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_dockerds() {
        let entry = |address: &str, names: &str| HostEntry {
            address: address.parse().expect("an address"),
            names: names.into(),
        };
        let extra = [
            entry("1.2.3.4", "x"),
            entry("5.6.7.8", "x"),
            entry("::2", "z"),
        ];
        let text = render(
            true,
            &extra,
            &[entry("10.213.0.2", &own_names("foo", "bar.baz"))],
        );
        let expected = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
            ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n\
            1.2.3.4\tx\n5.6.7.8\tx\n::2\tz\n10.213.0.2\tfoo.bar.baz foo\n";
        assert_eq!(text, expected);
        assert_eq!(
            render(false, &[], &[entry("10.213.0.2", "e490ebb12d66")]),
            "127.0.0.1\tlocalhost\n10.213.0.2\te490ebb12d66\n"
        );
    }

    #[test]
    fn own_names_are_dockerds() {
        for (hostname, domain, expected) in [
            ("2b784a735549", "", "2b784a735549"),
            ("2b784a735549", "d.e", "2b784a735549.d.e 2b784a735549"),
            ("foo.bar.example", "", "foo.bar.example foo"),
            ("a.b.c", "d.e", "a.b.c.d.e a"),
        ] {
            assert_eq!(own_names(hostname, domain), expected);
        }
    }
}
