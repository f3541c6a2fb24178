//! Kernel parameters of a container: which may be set, and setting them through a verified procfs.
//!
//! Only parameters of a namespace that the container does not share are allowed; every other one belongs to the host.

use gantry_sys::namespace::Kind;
use indexmap::IndexMap;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Write;

use crate::error::{Context, Error, Result, quoted};
use crate::procfs::Proc;

/// Parameters of the IPC namespace beside `fs.mqueue.`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks all of them before anything is made. `namespaces` are the container's own (`CLONE_NEW…` bits).
pub(crate) fn validate(
    sysctl: &IndexMap<String, String>,
    namespaces: u64,
    has_hostname: bool,
) -> Result<()> {
    for (name, value) in sysctl {
        path(name)?;
        if value.contains(['\n', '\0']) {
            return Err(Error::invalid(format!(
                "sysctl {} has a value with a line break or NUL",
                quoted(name)
            )));
        }
        validate_namespace(&name.replace('/', "."), namespaces, has_hostname)?;
    }
    Ok(())
}

fn validate_namespace(name: &str, namespaces: u64, has_hostname: bool) -> Result<()> {
    let has = |kind: Kind| namespaces & kind.flag() != 0;
    let is_ipc = IPC.contains(&name) || name.starts_with("fs.mqueue.");
    if is_ipc {
        return if has(Kind::Ipc) {
            Ok(())
        } else {
            refuse(name, "is not allowed in the hosts ipc namespace")
        };
    }
    if name.starts_with("net.") {
        return if has(Kind::Network) {
            Ok(())
        } else {
            refuse(name, "not allowed in host network namespace")
        };
    }
    match name {
        "kernel.domainname" if has(Kind::Uts) => Ok(()),
        "kernel.domainname" => refuse(name, "is not allowed in the hosts uts namespace"),
        "kernel.hostname" if !has(Kind::Uts) => {
            refuse(name, "is not allowed in the hosts uts namespace")
        }
        "kernel.hostname" if has_hostname => {
            refuse(name, "conflicts with the hostname of the configuration")
        }
        "kernel.hostname" => Ok(()),
        _ => refuse(name, "is not in a separate kernel namespace"),
    }
}

fn refuse(name: &str, why: &str) -> Result<()> {
    Err(Error::invalid(format!("sysctl {} {why}", quoted(name))))
}

/// `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/forwarding` to a path in `sys`; the first separator tells which form it is.
fn path(name: &str) -> Result<String> {
    let is_slashed = name
        .find(['.', '/'])
        .is_some_and(|index| name.as_bytes()[index] == b'/');
    let path: String = if is_slashed {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    };
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.trim_matches('.').is_empty()
            && part
                .chars()
                .all(|c| !c.is_ascii_control() && c != '\0' && c != '=')
    };
    if !path.contains('/') || !path.split('/').all(is_plain) {
        return Err(Error::invalid(format!(
            "sysctl {} is not a valid name",
            quoted(name)
        )));
    }
    Ok(path)
}

/// Sets them, in order.
pub(crate) fn write_all(proc: &Proc, sysctl: &IndexMap<String, String>) -> Result<()> {
    for (name, value) in sysctl {
        let path = path(name)?;
        let file = proc
            .open(&format!("sys/{path}"), OFlags::WRONLY)
            .with_context(|| format!("open /proc/sys/{path}"))?;
        File::from(file)
            .write_all(value.as_bytes())
            .with_context(|| format!("write /proc/sys/{path}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, kinds: &[Kind]) -> Result<()> {
        let namespaces = kinds.iter().fold(0, |flags, kind| flags | kind.flag());
        validate(
            &IndexMap::from([(name.to_owned(), value.to_owned())]),
            namespaces,
            false,
        )
    }

    #[test]
    fn only_namespaced_parameters_pass() {
        let own = [Kind::Network, Kind::Ipc, Kind::Uts];
        for name in [
            "net.ipv4.ip_forward",
            "net/ipv4/conf/eth0.1/forwarding",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
        ] {
            check(name, "1", &own).expect("is allowed");
            assert!(check(name, "1", &[]).is_err(), "{name}");
        }
        for name in [
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel.shm_next_id",
            "net",
            "kernel.pid_max",
        ] {
            assert!(check(name, "1", &own).is_err(), "{name}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        let own = [Kind::Network, Kind::Ipc, Kind::Uts];
        for name in [
            "net/../kernel/core_pattern",
            "net...kernel.core_pattern",
            "net.ipv4\nx",
            "net..x",
            "net.a=1+kernel.core_pattern",
            "/net/x",
            "net.\0",
        ] {
            assert!(check(name, "1", &own).is_err(), "{name:?}");
        }
        assert!(check("net.ipv4.ip_forward", "1\nkernel.core_pattern=x", &own).is_err());
        assert!(check("net.ipv4.ip_forward", "1\0", &own).is_err());
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding").expect("is a name"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }
}
