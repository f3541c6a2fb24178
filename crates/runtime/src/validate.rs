//! Refuses configurations that contradict themselves, ask for what the container does not have, or for what is not supported.
//!
//! Pure but for the paths of namespaces. Texts are runc's where it has the same check.

use gantry_oci::runtime::{Linux, Process, Spec};
use gantry_sys::namespace::Kind;

use crate::error::{Error, Result, quoted};
use crate::sysctl;

/// Checks a whole document before anything of the container exists, as the command line does.
pub(crate) fn validate_spec(spec: &Spec) -> Result<()> {
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let process = spec
        .process
        .as_ref()
        .ok_or_else(|| Error::invalid("process property must not be empty"))?;
    let mut namespaces = 0;
    for namespace in &linux.namespaces {
        let Some(kind) = Kind::parse(&namespace.kind) else {
            return Err(Error::invalid(format!(
                "namespace {} does not exist",
                quoted(&namespace.kind)
            )));
        };
        if namespaces & kind.flag() != 0 {
            let (kind, path) = (quoted(&namespace.kind), quoted(&namespace.path));
            return Err(Error::invalid(format!(
                "malformed spec file: duplicated ns {{{kind} {path}}}"
            )));
        }
        namespaces |= kind.flag();
        if !namespace.path.is_empty()
            && let Err(error) = std::fs::symlink_metadata(&namespace.path)
        {
            let text = Error::from(error).message;
            return Err(Error::invalid(format!(
                "unable to create new parent process: namespace path: lstat {}: {text}",
                namespace.path
            )));
        }
    }
    for device in &linux.devices {
        if !matches!(device.kind.as_str(), "c" | "u" | "b" | "p") {
            return Err(Error::invalid(format!(
                "invalid device type {}",
                quoted(&device.kind)
            )));
        }
    }
    validate(spec, linux, process, namespaces)
}

/// `namespaces` are the container's own (`CLONE_NEW…` bits).
pub(crate) fn validate(
    spec: &Spec,
    linux: &Linux,
    process: &Process,
    namespaces: u64,
) -> Result<()> {
    let has = |kind: Kind| namespaces & kind.flag() != 0;
    if process.args.is_empty() {
        return Err(Error::invalid("args must not be empty"));
    }
    if process.cwd.is_empty() {
        return Err(Error::invalid("Cwd property must not be empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::invalid("Cwd must be an absolute path"));
    }
    if !spec.hostname.is_empty() && !has(Kind::Uts) {
        return Err(Error::invalid(
            "unable to set hostname without a private UTS namespace",
        ));
    }
    if !spec.domainname.is_empty() && !has(Kind::Uts) {
        return Err(Error::invalid(
            "unable to set domainname without a private UTS namespace",
        ));
    }
    let hides = !linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty();
    if hides && !has(Kind::Mount) {
        return Err(Error::invalid(
            "unable to restrict sys entries without a private MNT namespace",
        ));
    }
    if !linux.time_offsets.is_empty() && !has(Kind::Time) {
        return Err(Error::invalid(
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ));
    }
    let has_maps = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if has_maps && !has(Kind::User) {
        return Err(Error::invalid(
            "user namespace mappings specified, but USER namespace isn't enabled in the config",
        ));
    }
    if linux.intel_rdt.is_some() {
        return Err(Error::unsupported("intelRdt is not supported"));
    }
    for mount in &spec.mounts {
        if !mount.destination.starts_with('/') && mount.destination.is_empty() {
            return Err(Error::invalid("a mount has no destination"));
        }
        if mount.destination.contains('\0') || mount.source.contains('\0') {
            return Err(Error::invalid(format!(
                "invalid mount {}: NUL in a path",
                quoted(&mount.destination)
            )));
        }
    }
    sysctl::validate(&linux.sysctl, namespaces, !spec.hostname.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_oci::runtime::IdMapping;

    fn check(change: impl FnOnce(&mut Spec, &mut Linux, &mut Process)) -> Result<()> {
        let mut process = Process {
            args: vec!["sh".into()],
            cwd: "/".into(),
            ..Process::default()
        };
        let (mut spec, mut linux) = (Spec::default(), Linux::default());
        change(&mut spec, &mut linux, &mut process);
        validate(&spec, &linux, &process, Kind::Mount.flag())
    }

    #[test]
    fn contradictions_are_named() {
        check(|_, _, _| {}).expect("is valid");
        let text = |result: Result<()>| result.expect_err("is refused").message;
        assert_eq!(
            text(check(|_, _, process| process.cwd = "x".into())),
            "Cwd must be an absolute path"
        );
        assert!(text(check(|spec, _, _| spec.hostname = "h".into())).contains("UTS"));
        assert!(
            text(check(
                |_, linux, _| linux.uid_mappings = vec![IdMapping::default()]
            ))
            .contains("USER namespace")
        );
        assert!(
            text(check(
                |_, linux, _| linux.intel_rdt = Some(serde_json::Value::Null)
            ))
            .contains("intelRdt")
        );
        assert!(check(|_, _, process| process.args.clear()).is_err());
    }
}
