//! Linux capabilities by name and number, Docker's default set, and how `--cap-add` and `--cap-drop` change it.
//!
//! Pure; asks no kernel. Sources: capabilities(7), moby's documented defaults.

use gantry_base::{Error, Result};

/// Every capability up to Linux 6.18, at the index that is its number.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has by default, in the order in which Docker writes it.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";

/// The number of a capability written as `CAP_CHOWN`.
pub fn number(name: &str) -> Option<u8> {
    NAMES
        .iter()
        .position(|known| *known == name)
        .and_then(|position| u8::try_from(position).ok())
}

/// The name of the capability with this number.
pub fn name(number: u8) -> Option<&'static str> {
    NAMES.get(usize::from(number)).copied()
}

/// Capabilities `0..=last`, as a kernel whose `cap_last_cap` is `last` knows them.
pub fn known_to_kernel(last: u8) -> &'static [&'static str] {
    &NAMES[..NAMES.len().min(usize::from(last) + 1)]
}

/// The capabilities of a container: `--cap-add` and `--cap-drop` applied to `defaults`, among those that the kernel knows (`known`).
///
/// Names may be in any case and may lack `CAP_`. `ALL` in `drops` starts from nothing, `ALL` in `adds` from everything.
/// A privileged container has everything, whatever was added or dropped; unknown names are refused nevertheless.
pub fn tweak(
    known: &[&str],
    defaults: &[&str],
    adds: &[String],
    drops: &[String],
    privileged: bool,
) -> Result<Vec<String>> {
    let adds = normalize("CapAdd", known, adds)?;
    let drops = normalize("CapDrop", known, drops)?;
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    if privileged {
        return Ok(owned(known));
    }
    let add_all = adds.iter().any(|name| name == ALL);
    let drop_all = drops.iter().any(|name| name == ALL);
    Ok(if add_all {
        known
            .iter()
            .filter(|name| !drops.iter().any(|drop| drop == *name))
            .map(|name| (*name).to_owned())
            .collect()
    } else if drop_all {
        adds
    } else {
        let mut result: Vec<String> = defaults
            .iter()
            .filter(|name| !drops.iter().any(|drop| drop == *name))
            .map(|name| (*name).to_owned())
            .collect();
        for add in adds {
            if !result.contains(&add) {
                result.push(add);
            }
        }
        result
    })
}

fn normalize(field: &str, known: &[&str], names: &[String]) -> Result<Vec<String>> {
    let mut normal: Vec<String> = Vec::new();
    for given in names {
        let mut name = given.to_uppercase();
        if name != ALL && !name.starts_with("CAP_") {
            name.insert_str(0, "CAP_");
        }
        if name != ALL && !NAMES.contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "invalid {field}: unknown capability: \"{name}\""
            )));
        }
        if name != ALL && !known.contains(&name.as_str()) {
            return Err(Error::invalid(format!(
                "invalid {field}: capability not supported by your kernel or not available in the current environment: \"{name}\""
            )));
        }
        if !normal.contains(&name) {
            normal.push(name);
        }
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn tweaked(adds: &[&str], drops: &[&str], privileged: bool) -> Vec<String> {
        tweak(
            &NAMES,
            &DOCKER_DEFAULT,
            &names(adds),
            &names(drops),
            privileged,
        )
        .expect("is valid")
    }

    #[test]
    fn numbers_are_the_kernel_s() {
        assert_eq!(
            (
                number("CAP_CHOWN"),
                number("CAP_SYS_ADMIN"),
                number("CAP_CHECKPOINT_RESTORE")
            ),
            (Some(0), Some(21), Some(40))
        );
        assert_eq!(
            (name(38), name(41), number("SYS_ADMIN")),
            (Some("CAP_PERFMON"), None, None)
        );
        let mask: u64 = DOCKER_DEFAULT
            .iter()
            .map(|name| 1 << number(name).expect("is known"))
            .sum();
        assert_eq!(mask, 0xa804_25fb);
        assert_eq!(
            (
                known_to_kernel(0).len(),
                known_to_kernel(40).len(),
                known_to_kernel(63).len()
            ),
            (1, 41, 41)
        );
    }

    #[test]
    fn adding_and_dropping_is_docker_s() {
        assert_eq!(tweaked(&[], &[], false), DOCKER_DEFAULT);
        assert_eq!(
            tweaked(&["net_admin", "cap_chown"], &["Mknod"], false).len(),
            14
        );
        assert!(tweaked(&["net_admin"], &[], false).contains(&"CAP_NET_ADMIN".to_owned()));
        assert_eq!(tweaked(&["NET_ADMIN"], &["all"], false), ["CAP_NET_ADMIN"]);
        assert_eq!(tweaked(&["ALL"], &["SYS_ADMIN", "CHOWN"], false).len(), 39);
        assert_eq!(
            tweaked(&["ALL"], &["ALL"], false).len(),
            41,
            "adding everything is above dropping everything"
        );
        assert_eq!(tweaked(&[], &["ALL"], false), names(&[]));
        assert_eq!(tweaked(&[], &["ALL"], true).len(), 41);
    }

    #[test]
    fn names_are_refused_in_docker_s_words() {
        let refusal = |adds: &[&str], drops: &[&str]| {
            let error = tweak(
                known_to_kernel(37),
                &DOCKER_DEFAULT,
                &names(adds),
                &names(drops),
                true,
            )
            .expect_err("must be refused");
            error.to_string()
        };
        assert_eq!(
            refusal(&["foo"], &[]),
            "invalid CapAdd: unknown capability: \"CAP_FOO\""
        );
        assert_eq!(
            refusal(&[], &["CAP_ALL"]),
            "invalid CapDrop: unknown capability: \"CAP_ALL\""
        );
        assert_eq!(
            refusal(&["bpf"], &[]),
            "invalid CapAdd: capability not supported by your kernel or not available in the current environment: \"CAP_BPF\""
        );
    }
}
