//! The files that a container finds in `/etc`: written to its run directory on tmpfs at each start.

use crate::container::config::NetworkConfig;
use crate::settings::Settings;
use gantry_base::{Context, Error, Result};
use gantry_network::hosts::{self, HostEntry};
use gantry_network::resolv_conf::{self, Overrides, Source};
use indexmap::IndexMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

/// Targets in the container, in the order of [`NAMES`].
pub(crate) const TARGETS: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];
/// File names in the run directory.
pub(crate) const NAMES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// Kernel parameters that take IPv6 off the container's loopback.
const V6_SWITCHES: [&str; 2] = [
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv6.conf.lo.disable_ipv6",
];

/// What the files depend on.
pub(crate) struct FilesInput<'a> {
    pub(crate) network: &'a NetworkConfig,
    pub(crate) sysctls: &'a IndexMap<String, String>,
    pub(crate) settings: &'a Settings,
    pub(crate) hostname: &'a str,
    pub(crate) domainname: &'a str,
    /// The container's own addresses.
    pub(crate) addresses: &'a [IpAddr],
    /// What `host-gateway` means.
    pub(crate) gateway: Option<IpAddr>,
    /// Whether the container has a name server of its own.
    pub(crate) has_names: bool,
}

/// Writes all three.
pub(crate) fn write(run_dir: &Path, input: &FilesInput<'_>) -> Result<()> {
    let contents = [
        resolv_conf(input),
        format!("{}\n", input.hostname),
        hosts(input)?,
    ];
    for (name, content) in NAMES.iter().zip(contents) {
        let path = run_dir.join(name);
        std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Follows a change of a running container's networks: addresses of `/etc/hosts`, and `/etc/resolv.conf` if nobody changed it.
pub(crate) fn follow(
    run_dir: &Path,
    before: &FilesInput<'_>,
    after: &FilesInput<'_>,
) -> Result<()> {
    let [resolv, _, hosts_file] = NAMES.map(|name| run_dir.join(name));
    let write = |path: &Path, text: String| {
        // In place: the container has this very file mounted.
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let wanted = resolv_conf(after);
    let present = std::fs::read_to_string(&resolv)?;
    if present == resolv_conf(before) && present != wanted {
        write(&resolv, wanted)?;
    }
    let gone = |line: &str| {
        let address = line
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        address.is_some_and(|address| {
            before.addresses.contains(&address) && !after.addresses.contains(&address)
        })
    };
    let mut text: String = std::fs::read_to_string(&hosts_file)?
        .split_inclusive('\n')
        .filter(|line| !gone(line))
        .collect();
    let names = hosts::own_names(after.hostname, after.domainname);
    for address in after.addresses {
        if !before.addresses.contains(address) {
            writeln!(text, "{address}\t{names}").expect("a string takes everything");
        }
    }
    write(&hosts_file, text)
}

fn resolv_conf(input: &FilesInput<'_>) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host = read(resolv_conf::HOST_FILE);
    let text = |list: &[IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let or = |own: Vec<String>, default: Vec<String>| if own.is_empty() { default } else { own };
    let overrides = Overrides {
        nameservers: or(text(&input.network.dns), text(&input.settings.dns)),
        search: or(
            input.network.dns_search.clone(),
            input.settings.dns_search.clone(),
        ),
        options: or(
            input.network.dns_options.clone(),
            input.settings.dns_options.clone(),
        ),
    };
    if input.network.mode == "host" {
        return resolv_conf::for_host(&host, &overrides);
    }
    let (path, text) = if resolv_conf::is_only_resolved(&host) {
        (resolv_conf::RESOLVED_FILE, read(resolv_conf::RESOLVED_FILE))
    } else {
        (resolv_conf::HOST_FILE, host)
    };
    let source = Source {
        path,
        text: &text,
        has_v6: input.addresses.iter().any(IpAddr::is_ipv6),
    };
    if input.has_names {
        resolv_conf::render_internal(source, &overrides)
    } else {
        resolv_conf::render_bridge(source, &overrides)
    }
}

fn hosts(input: &FilesInput<'_>) -> Result<String> {
    let mut extra = Vec::new();
    for line in &input.network.extra_hosts {
        let (names, address) = line.split_once([':', '=']).ok_or_else(|| bad_host(line))?;
        let address = match (address, input.gateway) {
            ("host-gateway", Some(gateway)) => gateway,
            ("host-gateway", None) => {
                return Err(Error::invalid(
                    "unable to derive the IP value for host-gateway",
                ));
            }
            (text, _) => text
                .trim_matches(['[', ']'])
                .parse()
                .map_err(|_| bad_host(line))?,
        };
        extra.push(HostEntry {
            address,
            names: names.to_owned(),
        });
    }
    if input.network.mode == "host" && extra.is_empty() {
        return std::fs::read_to_string("/etc/hosts")
            .or_else(|_| Ok(hosts::render(true, &[], &[])));
    }
    let names = hosts::own_names(input.hostname, input.domainname);
    let own: Vec<HostEntry> = input
        .addresses
        .iter()
        .map(|address| HostEntry {
            address: *address,
            names: names.clone(),
        })
        .collect();
    let has_v6 = V6_SWITCHES
        .iter()
        .all(|name| input.sysctls.get(*name).is_none_or(|value| value != "1"));
    Ok(hosts::render(has_v6, &extra, &own))
}

fn bad_host(line: &str) -> Error {
    Error::invalid(format!("bad format for add-host: \"{line}\""))
}
