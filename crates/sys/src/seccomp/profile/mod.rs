//! Docker's format of seccomp profiles, and Docker's default profile, resolved for one container.
//!
//! A rule applies or not by the container's capabilities, the architecture and the kernel; what is left is an OCI document
//! for [`super::compile`]. Reads no files: the client sends a profile's text.

mod default;

use gantry_base::{Error, Result};
use gantry_oci::runtime::{Seccomp, SeccompArg, SeccompRule};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::Arch;

/// Docker's default profile for a container with `capabilities` (its bounding set) on `arch` with a kernel of version `kernel`.
pub fn default(capabilities: &[&str], arch: Arch, kernel: (u32, u32)) -> Seccomp {
    let sub_architectures: &[Arch] = match arch {
        Arch::X86_64 => &[Arch::X86, Arch::X32],
        Arch::Aarch64 => &[Arch::Arm],
        Arch::X86 | Arch::X32 | Arch::Arm => &[],
    };
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(1),
        architectures: [arch]
            .iter()
            .chain(sub_architectures)
            .map(|arch| arch.name().to_owned())
            .collect(),
        syscalls: resolve(default::calls(), capabilities, arch, kernel),
        ..Seccomp::default()
    }
}

/// A profile in Docker's JSON format (`--security-opt seccomp=FILE`), resolved like [`default`].
pub fn parse(json: &str, capabilities: &[&str], arch: Arch, kernel: (u32, u32)) -> Result<Seccomp> {
    let document: Document = serde_json::from_str(json).map_err(|error| {
        Error::invalid(format!("Decoding seccomp profile failed: {error}")).with_source(error)
    })?;
    if !document.architectures.is_empty() && !document.arch_map.is_empty() {
        return Err(Error::invalid(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ));
    }
    let mut calls = document.syscalls;
    for call in &mut calls {
        if call.name.is_empty() {
            continue;
        }
        if !call.names.is_empty() {
            return Err(Error::invalid(
                "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
            ));
        }
        call.names = vec![std::mem::take(&mut call.name)];
    }
    let mut architectures = document.architectures;
    if let Some(entry) = document
        .arch_map
        .into_iter()
        .find(|entry| entry.architecture == arch.name())
    {
        architectures.push(entry.architecture);
        architectures.extend(entry.sub_architectures.unwrap_or_default());
    }
    Ok(Seccomp {
        default_action: document.default_action,
        default_errno_ret: document.default_errno_ret,
        architectures,
        flags: document.flags,
        listener_path: document.listener_path,
        listener_metadata: document.listener_metadata,
        syscalls: resolve(calls, capabilities, arch, kernel),
    })
}

/// Major and minor version of the running kernel.
pub fn running_kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let mut numbers = name
        .release()
        .to_str()
        .unwrap_or_default()
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A whole profile.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    architectures: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    arch_map: Vec<ArchMap>,
    #[serde(deserialize_with = "nullable")]
    flags: Vec<String>,
    listener_path: String,
    listener_metadata: String,
    #[serde(deserialize_with = "nullable")]
    syscalls: Vec<Call>,
}

/// Architectures that come with another.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

/// A rule with its requirements.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Call {
    /// The old form of `names`.
    name: String,
    #[serde(deserialize_with = "nullable")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    args: Vec<SeccompArg>,
    #[serde(deserialize_with = "nullable")]
    includes: Requirement,
    #[serde(deserialize_with = "nullable")]
    excludes: Requirement,
}

/// When a rule applies.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Requirement {
    #[serde(deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    arches: Vec<String>,
    #[serde(deserialize_with = "kernel_version")]
    min_kernel: Option<(u32, u32)>,
}

impl Call {
    fn allow(names: &str) -> Self {
        Self {
            names: names.split_ascii_whitespace().map(str::to_owned).collect(),
            action: "SCMP_ACT_ALLOW".to_owned(),
            ..Self::default()
        }
    }
    fn errno(names: &str, errno: u32) -> Self {
        Self {
            action: "SCMP_ACT_ERRNO".to_owned(),
            errno_ret: Some(errno),
            ..Self::allow(names)
        }
    }
    fn argument(mut self, condition: SeccompArg) -> Self {
        self.args.push(condition);
        self
    }
    fn includes(mut self, requirement: Requirement) -> Self {
        self.includes = requirement;
        self
    }
    fn excludes(mut self, requirement: Requirement) -> Self {
        self.excludes = requirement;
        self
    }

    fn applies(&self, capabilities: &[&str], arch: Arch, kernel: (u32, u32)) -> bool {
        let held = |name: &String| capabilities.contains(&name.as_str());
        let here = |arches: &[String]| arches.iter().any(|name| name == arch.docker_name());
        let Requirement {
            caps,
            arches,
            min_kernel,
        } = &self.excludes;
        if here(arches) || caps.iter().any(held) || min_kernel.is_some_and(|min| kernel >= min) {
            return false;
        }
        let Requirement {
            caps,
            arches,
            min_kernel,
        } = &self.includes;
        (arches.is_empty() || here(arches))
            && caps.iter().all(held)
            && min_kernel.is_none_or(|min| kernel >= min)
    }
}

impl Requirement {
    fn capability(name: &str) -> Self {
        Self {
            caps: vec![name.to_owned()],
            ..Self::default()
        }
    }
    fn arches(names: &[&str]) -> Self {
        Self {
            arches: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }
    fn kernel(major: u32, minor: u32) -> Self {
        Self {
            min_kernel: Some((major, minor)),
            ..Self::default()
        }
    }
}

fn resolve(
    calls: Vec<Call>,
    capabilities: &[&str],
    arch: Arch,
    kernel: (u32, u32),
) -> Vec<SeccompRule> {
    calls
        .into_iter()
        .filter(|call| call.applies(capabilities, arch, kernel))
        .map(|call| SeccompRule {
            names: call.names,
            action: call.action,
            errno_ret: call.errno_ret,
            args: call.args,
        })
        .collect()
}

/// Go's decoder takes `null` for every absent value, and profiles in the wild have it.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn kernel_version<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<(u32, u32)>, D::Error> {
    let text: String = nullable(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        D::Error::custom(format!(
            "invalid kernel version: \"{text}\", expected \"<kernel>.<major>\""
        ))
    };
    let (kernel, major) = text.split_once('.').ok_or_else(invalid)?;
    let number = |part: &str| part.parse::<u8>().map(u32::from).map_err(|_| invalid());
    let version = (number(kernel)?, number(major)?);
    if version == (0, 0) {
        return Err(D::Error::custom(format!(
            "invalid kernel version: \"{text}\", expected \"<kernel>.<major>\": version cannot be 0.0"
        )));
    }
    Ok(Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (Arch, (u32, u32)) = (Arch::X86_64, (6, 18));

    fn names(seccomp: &Seccomp) -> Vec<&str> {
        seccomp
            .syscalls
            .iter()
            .flat_map(|rule| &rule.names)
            .map(String::as_str)
            .collect()
    }

    #[test]
    fn rules_apply_by_capability_architecture_and_kernel() {
        let json = r#"{
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 95,
            "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}
            ],
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": null},
                {"name": "write", "action": "SCMP_ACT_ALLOW"},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]}},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.19"}},
                {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 1, "value": 7, "valueTwo": 8, "op": "SCMP_CMP_EQ"}]}
            ]
        }"#;
        let seccomp = parse(json, &["CAP_CHOWN"], HERE.0, HERE.1).expect("is valid");
        assert_eq!(
            names(&seccomp),
            ["read", "write", "clone", "arch_prctl", "bpf"]
        );
        assert_eq!(seccomp.default_errno_ret, Some(95));
        assert_eq!(seccomp.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        assert_eq!(
            seccomp.syscalls[4].args[0],
            SeccompArg {
                index: 1,
                value: 7,
                value_two: 8,
                op: "SCMP_CMP_EQ".to_owned()
            }
        );
        let other = parse(
            json,
            &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"],
            Arch::Aarch64,
            (7, 0),
        )
        .expect("is valid");
        assert_eq!(names(&other), ["read", "write", "mount", "ptrace", "bpf"]);
        assert_eq!(other.architectures, ["SCMP_ARCH_AARCH64"]);
    }

    #[test]
    fn contradictions_are_refused_in_docker_s_words() {
        let refusal = |json: &str| {
            parse(json, &[], HERE.0, HERE.1)
                .expect_err("must be refused")
                .to_string()
        };
        assert_eq!(
            refusal(
                r#"{"architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86"}], "syscalls": []}"#
            ),
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
        );
        assert_eq!(
            refusal(r#"{"syscalls": [{"name": "read", "names": ["write"]}]}"#),
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
        );
        for bad in ["4", "4.8.1", "a.b", "0.0", "-1.2"] {
            let json = format!(
                r#"{{"syscalls": [{{"names": [], "includes": {{"minKernel": "{bad}"}}}}]}}"#
            );
            assert!(refusal(&json).contains("invalid kernel version"), "{bad}");
        }
        assert!(refusal("{").starts_with("Decoding seccomp profile failed: "));
    }

    #[test]
    fn the_default_profile_depends_on_capabilities() {
        let plain = default(&[], HERE.0, HERE.1);
        let admin = default(&["CAP_SYS_ADMIN"], HERE.0, HERE.1);
        assert!(
            names(&plain).contains(&"clone3")
                && !names(&plain).contains(&"mount")
                && !names(&plain).contains(&"chroot")
        );
        assert!(names(&admin).contains(&"mount"));
        assert!(names(&plain).contains(&"arch_prctl"));
        assert!(!names(&default(&[], Arch::Aarch64, HERE.1)).contains(&"arch_prctl"));
        assert_eq!(plain.syscalls[0].names.len(), 361);
    }
}
