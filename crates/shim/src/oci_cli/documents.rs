//! `spec` and `features`: documents that need no container.

use gantry_oci::capability;
use gantry_oci::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, OCI_VERSION, Process, Resources,
    Rlimit, Root, Spec,
};
use gantry_runtime::bundle::CONFIG_FILE;
use gantry_runtime::{Error, Result};
use serde_json::json;
use std::path::Path;

use super::Context;
use super::flags::Matches;
use super::store::at;

pub(super) fn spec(_context: &Context, matches: &Matches) -> Result<i32> {
    let path = Path::new(matches.value("bundle").unwrap_or(".")).join(CONFIG_FILE);
    if path.exists() {
        return Err(Error::invalid(format!(
            "File {CONFIG_FILE} exists. Remove it first"
        )));
    }
    let mut spec = example();
    if matches.has("rootless") {
        make_rootless(&mut spec);
    }
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(
        &mut text,
        serde_json::ser::PrettyFormatter::with_indent(b"\t"),
    );
    serde::Serialize::serialize(&spec, &mut serializer)
        .map_err(|error| Error::internal(error.to_string()))?;
    std::fs::write(&path, text).map_err(|error| at(&path, error))?;
    Ok(0)
}

/// What runc's `spec` writes.
fn example() -> Spec {
    let words = |text: &str| {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let capabilities = words("CAP_AUDIT_WRITE CAP_KILL CAP_NET_BIND_SERVICE");
    let namespaces = words("pid network ipc uts mount")
        .into_iter()
        .map(|kind| Namespace {
            kind,
            path: String::new(),
        });
    Spec {
        oci_version: OCI_VERSION.to_owned(),
        process: Some(Process {
            terminal: true,
            args: words("sh"),
            env: words(
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=xterm",
            ),
            cwd: "/".to_owned(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit {
                kind: "RLIMIT_NOFILE".to_owned(),
                hard: 1024,
                soft: 1024,
            }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root {
            path: "rootfs".to_owned(),
            readonly: true,
        }),
        hostname: "gantry".to_owned(),
        mounts: example_mounts(),
        linux: Some(Linux {
            resources: Some(Resources {
                devices: vec![DeviceRule {
                    allow: false,
                    access: "rwm".to_owned(),
                    ..DeviceRule::default()
                }],
                ..Resources::default()
            }),
            namespaces: namespaces.collect(),
            masked_paths: words(
                "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug /sys/firmware /proc/scsi",
            ),
            readonly_paths: words("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn example_mounts() -> Vec<Mount> {
    let words = |text: &str| {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mount = |destination: &str, kind: &str, source: &str, options: &str| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: words(options),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "proc", ""),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            "nosuid strictatime mode=755 size=65536k",
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            "nosuid noexec nodev mode=1777 size=65536k",
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            "nosuid noexec nodev relatime ro",
        ),
    ]
}

/// Changes what an unprivileged user cannot have: the network of the host, no cgroups, the own ids as root.
fn make_rootless(spec: &mut Spec) {
    let Some(linux) = &mut spec.linux else { return };
    linux
        .namespaces
        .retain(|namespace| namespace.kind != "network");
    linux.namespaces.push(Namespace {
        kind: "user".to_owned(),
        path: String::new(),
    });
    let map = |host_id: u32| {
        vec![IdMapping {
            container_id: 0,
            host_id,
            size: 1,
        }]
    };
    linux.uid_mappings = map(rustix::process::geteuid().as_raw());
    linux.gid_mappings = map(rustix::process::getegid().as_raw());
    linux.resources = None;
    for mount in &mut spec.mounts {
        mount
            .options
            .retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
    }
    spec.mounts
        .retain(|mount| mount.destination != "/sys" && mount.destination != "/sys/fs/cgroup");
    spec.mounts.push(Mount {
        destination: "/sys".to_owned(),
        kind: "none".to_owned(),
        source: "/sys".to_owned(),
        options: ["rbind", "nosuid", "noexec", "nodev", "ro"]
            .map(str::to_owned)
            .to_vec(),
        ..Mount::default()
    });
}

pub(super) fn features(_context: &Context, _matches: &Matches) -> Result<i32> {
    let text = serde_json::to_string_pretty(&document())
        .map_err(|error| Error::internal(error.to_string()))?;
    println!("{text}");
    Ok(0)
}

fn document() -> serde_json::Value {
    let namespaces = [
        "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
    ];
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": &MOUNT_OPTIONS[..],
        "linux": {
            "namespaces": namespaces,
            "capabilities": &capability::NAMES[..],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
        "annotations": {},
        "potentiallyUnsafeConfigAnnotations": [],
    })
}

const MOUNT_OPTIONS: [&str; 63] = [
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_what_it_says() {
        let text = serde_json::to_string(&example()).expect("is written");
        let back: Spec = serde_json::from_str(&text).expect("is read");
        assert_eq!(back, example());
        assert!(text.contains("\"readonly\":true") && text.contains("CAP_NET_BIND_SERVICE"));
        let mut rootless = example();
        make_rootless(&mut rootless);
        let linux = rootless.linux.expect("is there");
        assert!(
            linux.resources.is_none()
                && linux
                    .namespaces
                    .iter()
                    .any(|namespace| namespace.kind == "user")
        );
    }
}
