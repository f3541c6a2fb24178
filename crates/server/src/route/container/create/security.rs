//! Isolation: capabilities, security options and namespace modes, in dockerd's words.

use gantry_api::types::HostConfig;
use gantry_base::{Error, Result};
use gantry_engine::container::config::{Namespaces, SeccompChoice, Security};

/// Isolation of a request.
pub(super) fn convert(host: &HostConfig) -> Result<Security> {
    let mut security = Security {
        privileged: host.privileged,
        cap_add: capabilities(host.cap_add.as_deref(), "CapAdd")?,
        cap_drop: capabilities(host.cap_drop.as_deref(), "CapDrop")?,
        security_opt: host.security_opt.clone().unwrap_or_default(),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        sysctls: host
            .sysctls
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        ..Security::default()
    };
    for option in host.security_opt.iter().flatten() {
        apply(&mut security, option)?;
    }
    Ok(security)
}

fn apply(security: &mut Security, option: &str) -> Result<()> {
    match option {
        "no-new-privileges" => {
            security.no_new_privileges = Some(true);
            return Ok(());
        }
        "disable" => {
            security.selinux_label.push("disable".into());
            return Ok(());
        }
        _ => {}
    }
    // dockerd answers these two errors with 500.
    let invalid = |stage: u8| {
        let option = crate::request::quoted(option);
        Error::internal(format!("invalid --security-opt {stage}: {option}"))
    };
    let (name, value) = option
        .split_once('=')
        .or_else(|| option.split_once(':'))
        .ok_or_else(|| match option {
            "writable-cgroups" => writable_cgroups(),
            _ => invalid(1),
        })?;
    match name {
        "label" => security.selinux_label.push(value.to_owned()),
        "apparmor" => value.clone_into(&mut security.apparmor),
        "seccomp" => {
            security.seccomp = match value {
                "" => SeccompChoice::Default,
                "builtin" => SeccompChoice::Builtin,
                "unconfined" => SeccompChoice::Unconfined,
                profile => SeccompChoice::Profile(profile.to_owned()),
            };
        }
        "no-new-privileges" => {
            security.no_new_privileges = Some(go_bool(value).ok_or_else(|| invalid(2))?);
        }
        "writable-cgroups" => match go_bool(value) {
            Some(false) => {}
            Some(true) => return Err(writable_cgroups()),
            None => return Err(invalid(2)),
        },
        // The client turns this into empty lists of paths; some send it along.
        "systempaths" if value == "unconfined" => {
            security.masked_paths = Some(Vec::new());
            security.readonly_paths = Some(Vec::new());
        }
        _ => return Err(invalid(2)),
    }
    Ok(())
}

fn writable_cgroups() -> Error {
    Error::not_implemented("--security-opt writable-cgroups is not supported yet")
}

/// Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn capabilities(names: Option<&[String]>, field: &str) -> Result<Vec<String>> {
    let names = names.unwrap_or_default();
    for given in names {
        let mut name = given.to_ascii_uppercase();
        if name == "ALL" {
            continue;
        }
        if !name.starts_with("CAP_") {
            name.insert_str(0, "CAP_");
        }
        if gantry_oci::capability::number(&name).is_none() {
            let name = crate::request::quoted(&name);
            return Err(Error::invalid(format!(
                "invalid {field}: unknown capability: {name}"
            )));
        }
    }
    Ok(names.to_vec())
}

/// Namespaces of a request.
pub(super) fn namespaces(host: &HostConfig) -> Result<Namespaces> {
    let shares = |mode: &str| {
        mode.strip_prefix("container:")
            .is_some_and(|name| !name.is_empty())
    };
    let check = |valid: bool, what: &str, mode: &str| {
        if valid {
            Ok(())
        } else {
            Err(Error::invalid(format!("invalid {what} mode: {mode}")))
        }
    };
    let ipc = &host.ipc_mode;
    let ipc_is_valid =
        matches!(ipc.as_str(), "" | "none" | "private" | "shareable" | "host") || shares(ipc);
    check(ipc_is_valid, "IPC", ipc)?;
    let pid = &host.pid_mode;
    check(
        matches!(pid.as_str(), "" | "host") || shares(pid),
        "PID",
        pid,
    )?;
    check(
        matches!(host.uts_mode.as_str(), "" | "host"),
        "UTS",
        &host.uts_mode,
    )?;
    let cgroup = &host.cgroupns_mode;
    check(
        matches!(cgroup.as_str(), "" | "private" | "host"),
        "cgroup namespace",
        cgroup,
    )?;
    let user = if host.userns_mode == "host" {
        "host"
    } else {
        ""
    };
    Ok(Namespaces {
        pid: pid.clone(),
        ipc: ipc.clone(),
        uts: host.uts_mode.clone(),
        user: user.to_owned(),
        cgroup: cgroup.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_option(option: &str) -> Result<Security> {
        convert(&HostConfig {
            security_opt: Some(vec![option.to_owned()]),
            ..HostConfig::default()
        })
    }

    #[test]
    fn security_options_are_read() {
        assert_eq!(
            with_option("no-new-privileges")
                .expect("is valid")
                .no_new_privileges,
            Some(true)
        );
        assert_eq!(
            with_option("no-new-privileges:false")
                .expect("is valid")
                .no_new_privileges,
            Some(false)
        );
        assert_eq!(
            with_option("seccomp=unconfined").expect("is valid").seccomp,
            SeccompChoice::Unconfined
        );
        assert_eq!(
            with_option("seccomp={}").expect("is valid").seccomp,
            SeccompChoice::Profile("{}".into())
        );
        assert_eq!(with_option("apparmor=x").expect("is valid").apparmor, "x");
        let error = |option| with_option(option).expect_err("is invalid").to_string();
        assert_eq!(error("x"), "invalid --security-opt 1: \"x\"");
        assert_eq!(error("x=y"), "invalid --security-opt 2: \"x=y\"");
        assert_eq!(
            error("no-new-privileges:x"),
            "invalid --security-opt 2: \"no-new-privileges:x\""
        );
    }

    #[test]
    fn capabilities_and_modes_are_checked() {
        let error = |host: HostConfig| {
            convert(&host)
                .map(|_| ())
                .and_then(|()| namespaces(&host).map(|_| ()))
                .expect_err("is invalid")
                .to_string()
        };
        let base = HostConfig::default;
        let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        assert_eq!(
            error(HostConfig {
                cap_add: names(&["x"]),
                ..base()
            }),
            "invalid CapAdd: unknown capability: \"CAP_X\""
        );
        assert_eq!(
            error(HostConfig {
                ipc_mode: "x".into(),
                ..base()
            }),
            "invalid IPC mode: x"
        );
        assert_eq!(
            error(HostConfig {
                pid_mode: "container:".into(),
                ..base()
            }),
            "invalid PID mode: container:"
        );
        assert_eq!(
            error(HostConfig {
                cgroupns_mode: "x".into(),
                ..base()
            }),
            "invalid cgroup namespace mode: x"
        );
        let good = HostConfig {
            cap_add: names(&["all", "net_admin"]),
            cap_drop: names(&["CAP_CHOWN"]),
            ..base()
        };
        assert_eq!(
            convert(&good).expect("is valid").cap_add,
            ["all", "net_admin"]
        );
    }
}
