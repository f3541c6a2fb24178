//! Every key of `daemon.json` and the flag that says the same: one row each, with what becomes of it here.
//!
//! Source: dockerd(8) 28.5 and its reference; `hosts`, `labels` and such are lists in the file and repeated flags in the singular.

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Text,
    Number,
    List,
    /// An object in the file, `name=value` as a flag.
    Map,
    /// A list of objects in the file, repeated flags of `member=value,…`.
    Pools,
    /// An object or list that only the file can say.
    Document,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Used,
    /// Accepted with these values only, as they say what is so anyway; anything else is refused by name.
    Only(&'static [&'static str]),
    /// Kept for `info`, or a matter of parts that are not there yet and that it cannot break.
    Kept,
    Refused,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Empty: the file only.
    pub(crate) flag: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    pub(crate) fate: Fate,
}

const fn key(name: &'static str, flag: &'static str, kind: Kind, fate: Fate) -> Key {
    Key {
        name,
        flag,
        short: None,
        kind,
        fate,
    }
}

const fn short(name: &'static str, flag: &'static str, short: char, kind: Kind, fate: Fate) -> Key {
    Key {
        name,
        flag,
        short: Some(short),
        kind,
        fate,
    }
}

use Fate::{Kept, Only, Refused, Used};
use Kind::{Bool, Document, List, Map, Number, Pools, Text};

const OFF: Fate = Only(&["false"]);

pub(crate) const KEYS: &[Key] = &[
    short("hosts", "host", 'H', List, Used),
    key("data-root", "data-root", Text, Used),
    key("exec-root", "exec-root", Text, Used),
    short("pidfile", "pidfile", 'p', Text, Used),
    short("debug", "debug", 'D', Bool, Used),
    short("log-level", "log-level", 'l', Text, Used),
    key("log-format", "log-format", Text, Used),
    key("raw-logs", "raw-logs", Bool, Kept),
    short("group", "group", 'G', Text, Used),
    key("labels", "label", List, Used),
    key("experimental", "experimental", Bool, Used),
    key("features", "feature", Map, Used),
    key("min-api-version", "min-api-version", Text, Kept),
    // Storage and runtime.
    short(
        "storage-driver",
        "storage-driver",
        's',
        Text,
        Only(&["", "overlay2", "overlayfs", "overlay"]),
    ),
    key("storage-opts", "storage-opt", List, Refused),
    key("init", "init", Bool, Used),
    key("init-path", "init-path", Text, Refused),
    key("cgroup-parent", "cgroup-parent", Text, Used),
    key(
        "exec-opts",
        "exec-opt",
        List,
        Only(&["native.cgroupdriver=cgroupfs"]),
    ),
    key("default-cgroupns-mode", "default-cgroupns-mode", Text, Used),
    key("default-ipc-mode", "default-ipc-mode", Text, Used),
    key("default-shm-size", "default-shm-size", Text, Used),
    key("default-ulimits", "default-ulimit", Map, Used),
    key("default-stop-timeout", "default-stop-timeout", Number, Used),
    key("shutdown-timeout", "shutdown-timeout", Number, Kept),
    key("seccomp-profile", "seccomp-profile", Text, Used),
    key("no-new-privileges", "no-new-privileges", Bool, Used),
    key("live-restore", "live-restore", Bool, Used),
    key("oom-score-adjust", "oom-score-adjust", Number, Only(&["0"])),
    key(
        "default-runtime",
        "default-runtime",
        Text,
        Only(&["", "runc", "gantry"]),
    ),
    key("runtimes", "add-runtime", Map, Refused),
    key("selinux-enabled", "selinux-enabled", Bool, OFF),
    key("userns-remap", "userns-remap", Text, Only(&[""])),
    key("rootless", "rootless", Bool, OFF),
    key("cpu-rt-period", "cpu-rt-period", Number, Only(&["0"])),
    key("cpu-rt-runtime", "cpu-rt-runtime", Number, Only(&["0"])),
    key("cdi-spec-dirs", "cdi-spec-dir", List, Refused),
    key("nri-opts", "nri-opts", Map, Refused),
    key(
        "node-generic-resources",
        "node-generic-resource",
        List,
        Refused,
    ),
    key("containerd", "containerd", Text, Only(&[""])),
    key("containerd-namespace", "containerd-namespace", Text, Kept),
    key(
        "containerd-plugin-namespace",
        "containerd-plugins-namespace",
        Text,
        Kept,
    ),
    key("cri-containerd", "cri-containerd", Bool, OFF),
    // Network.
    short("bridge", "bridge", 'b', Text, Used),
    key("bip", "bip", Text, Used),
    key("bip6", "bip6", Text, Only(&[""])),
    key("fixed-cidr", "fixed-cidr", Text, Used),
    key("fixed-cidr-v6", "fixed-cidr-v6", Text, Only(&[""])),
    key("default-gateway", "default-gateway", Text, Only(&[""])),
    key(
        "default-gateway-v6",
        "default-gateway-v6",
        Text,
        Only(&[""]),
    ),
    key("mtu", "mtu", Number, Used),
    key("icc", "icc", Bool, Used),
    key("ip", "ip", Text, Used),
    key("ip-forward", "ip-forward", Bool, Used),
    key("ip-forward-no-drop", "ip-forward-no-drop", Bool, OFF),
    key("ip-masq", "ip-masq", Bool, Used),
    key("iptables", "iptables", Bool, Used),
    key("ip6tables", "ip6tables", Bool, Kept),
    key("ipv6", "ipv6", Bool, OFF),
    key("userland-proxy", "userland-proxy", Bool, Kept),
    key(
        "userland-proxy-path",
        "userland-proxy-path",
        Text,
        Only(&[""]),
    ),
    key(
        "firewall-backend",
        "firewall-backend",
        Text,
        Only(&["", "nftables"]),
    ),
    key("allow-direct-routing", "allow-direct-routing", Bool, OFF),
    key(
        "bridge-accept-fwmark",
        "bridge-accept-fwmark",
        Text,
        Only(&[""]),
    ),
    key("default-address-pools", "default-address-pool", Pools, Used),
    key("default-network-opts", "default-network-opt", Map, Refused),
    key("dns", "dns", List, Used),
    key("dns-opts", "dns-opt", List, Used),
    key("dns-search", "dns-search", List, Used),
    key("host-gateway-ip", "host-gateway-ip", Text, Only(&[""])),
    key("host-gateway-ips", "", List, Refused),
    key(
        "network-control-plane-mtu",
        "network-control-plane-mtu",
        Number,
        Kept,
    ),
    key(
        "network-diagnostic-port",
        "network-diagnostic-port",
        Number,
        Only(&["0"]),
    ),
    // Logs.
    key("log-driver", "log-driver", Text, Used),
    key("log-opts", "log-opt", Map, Used),
    // Registries.
    key("registry-mirrors", "registry-mirror", List, Used),
    key("insecure-registries", "insecure-registry", List, Used),
    // Ours: dockerd has none such.
    key("signature-policy", "signature-policy", Text, Used),
    key(
        "max-concurrent-downloads",
        "max-concurrent-downloads",
        Number,
        Used,
    ),
    key(
        "max-concurrent-uploads",
        "max-concurrent-uploads",
        Number,
        Used,
    ),
    key(
        "max-download-attempts",
        "max-download-attempts",
        Number,
        Used,
    ),
    key("proxies", "", Document, Used),
    key("http-proxy", "http-proxy", Text, Used),
    key("https-proxy", "https-proxy", Text, Used),
    key("no-proxy", "no-proxy", Text, Used),
    // Access.
    key("tls", "tls", Bool, OFF),
    key("tlsverify", "tlsverify", Bool, OFF),
    key("tlscacert", "tlscacert", Text, Refused),
    key("tlscert", "tlscert", Text, Refused),
    key("tlskey", "tlskey", Text, Refused),
    key(
        "authorization-plugins",
        "authorization-plugin",
        List,
        Refused,
    ),
    key("metrics-addr", "metrics-addr", Text, Only(&[""])),
    // Builder and swarm.
    key("builder", "", Document, Refused),
    key(
        "swarm-default-advertise-addr",
        "swarm-default-advertise-addr",
        Text,
        Refused,
    ),
    key(
        "swarm-raft-heartbeat-tick",
        "swarm-raft-heartbeat-tick",
        Number,
        Refused,
    ),
    key(
        "swarm-raft-election-tick",
        "swarm-raft-election-tick",
        Number,
        Refused,
    ),
];

/// The row of a key of the file.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::KEYS;

    #[test]
    fn names_flags_and_letters_are_unique() {
        for (index, key) in KEYS.iter().enumerate() {
            for other in &KEYS[index + 1..] {
                assert_ne!(key.name, other.name);
                assert!(
                    key.flag.is_empty() || key.flag != other.flag,
                    "{}",
                    key.flag
                );
                assert!(
                    key.short.is_none() || key.short != other.short,
                    "{:?}",
                    key.short
                );
            }
        }
    }
}
