//! The Go types behind the JSON of inspections, as far as templates show them: structs print without names, a null prints
//! as what it is a null of, and what was left out for being empty can be named all the same.

use crate::template::{Empty, Value};
use indexmap::IndexMap;
use std::rc::Rc;

/// Members that are maps; other objects are structs.
const MAPS: &[&str] = &[
    "Annotations",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Members that are lists.
const LISTS: &[&str] = &[
    "Aliases",
    "Args",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Capabilities",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceIDs",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "SecurityOpt",
    "Shell",
    "Test",
    "Ulimits",
    "VolumesFrom",
];

/// Members that are left out when they are nil, beside maps and lists.
const POINTERS: &[&str] = &[
    "BindOptions",
    "Descriptor",
    "Health",
    "Healthcheck",
    "Identity",
    "ImageManifestDescriptor",
    "Init",
    "Manifests",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "Storage",
    "TmpfsOptions",
    "VolumeOptions",
];

/// Members that are left out when they are empty.
const TEXTS: &[&str] = &[
    "Author",
    "Comment",
    "Container",
    "DockerVersion",
    "Driver",
    "MacAddress",
    "OsVersion",
    "Parent",
    "Runtime",
    "StopSignal",
    "Variant",
];

/// `value`, which is the member `key`, with Go's types.
pub(crate) fn of(value: Value, key: &str) -> Value {
    match value {
        Value::Nil if key.is_empty() => Value::Nil,
        Value::Nil => Value::Empty(empty(key)),
        Value::List(list) => {
            Value::List(list.iter().map(|element| of(element.clone(), "")).collect())
        }
        Value::Map(map) => {
            let is_map = MAPS.contains(&key)
                || (key == "Config" && map.values().all(|v| matches!(v, Value::Text(_))));
            // Keys of maps are names of the user's, which say nothing of types.
            let members = map.iter().map(|(name, member)| {
                let shaped = of(member.clone(), if is_map { "" } else { name });
                (name.clone(), shaped)
            });
            let members: Rc<IndexMap<String, Value>> = Rc::new(members.collect());
            if is_map {
                Value::Map(members)
            } else {
                Value::Struct(members)
            }
        }
        other => other,
    }
}

fn empty(key: &str) -> Empty {
    if MAPS.contains(&key) {
        Empty::Map
    } else if LISTS.contains(&key) {
        Empty::List
    } else {
        Empty::Pointer
    }
}

/// What a member that is not there stands for, where the daemon may leave it out.
pub(crate) fn optional(key: &str) -> Option<Value> {
    match key {
        "ArgsEscaped" | "NetworkDisabled" | "ReadOnly" => Some(Value::Bool(false)),
        _ if TEXTS.contains(&key) => Some(Value::text("")),
        _ if POINTERS.contains(&key) || MAPS.contains(&key) || LISTS.contains(&key) => {
            Some(Value::Empty(empty(key)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Rules, Template};

    fn render(template: &str) -> Result<String, String> {
        let json = br#"{"Config":{"Cmd":null,"Volumes":null,"Labels":{"a":"b"},"Env":["x"]},"State":{"Status":"up","Pid":3},
            "HostConfig":{"Init":null,"LogConfig":{"Type":"json-file","Config":{}}},"Ports":{"80/tcp":null}}"#;
        let value = of(Value::from_json(json).expect("is JSON"), "");
        let rules = Rules {
            missing_key_is_error: true,
            optional: Some(optional),
            is_header: false,
        };
        Template::parse(template)?.execute(&value, rules)
    }

    #[test]
    fn nulls_and_structs_print_as_in_go() {
        let cases = [
            (
                "{{.Config.Cmd}} {{.Config.Volumes}} {{.HostConfig.Init}}",
                "[] map[] <nil>",
            ),
            (
                "{{.State}} {{.HostConfig.LogConfig}}",
                "{up 3} {json-file map[]}",
            ),
            (
                "{{.Config.Labels}} {{index .Config.Labels \"x\"}}",
                "map[a:b] ",
            ),
            (
                "{{len .Config.Cmd}}{{range .Config.Cmd}}x{{end}}{{json .Config.Cmd}}",
                "0null",
            ),
            ("{{.State.Health}} {{if .State.Health}}x{{end}}", "<nil> "),
            (
                "{{.Config.ExposedPorts}} {{.Config.StopSignal}}|",
                "map[] |",
            ),
            (
                "{{not .HostConfig.Init}} {{eq .HostConfig.Init nil}}",
                "true true",
            ),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
        let error = render("{{.State.Health.Status}}").expect_err("there is none");
        assert!(
            error.ends_with("at <.State.Health.Status>: map has no entry for key \"Health\""),
            "{error}"
        );
        let error = render("{{.HostConfig.Init.X}}").expect_err("there is none");
        assert!(
            error.ends_with("nil pointer evaluating interface {}.X"),
            "{error}"
        );
    }
}
