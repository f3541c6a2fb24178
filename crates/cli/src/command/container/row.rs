//! One container of a list, as templates see it.

use crate::format::{ellipsis, float, go_quote, human_size_with, short_id};
use crate::listing::{Fields, join_labels, label_method};
use crate::template::Value;
use crate::timestamp;
use gantry_oci::Reference;
use std::fmt::Write as _;

const COMMAND_WIDTH: usize = 20;
const MOUNT_WIDTH: usize = 15;

pub(in crate::command) const HEADER: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// The fields of a container summary; with `is_cut`, long ones are shortened.
pub(in crate::command) fn fields(container: &Value, is_cut: bool) -> Fields {
    let id = container.get("Id").str();
    let command = container.get("Command").str();
    let command = if is_cut {
        ellipsis(command, COMMAND_WIDTH)
    } else {
        command.to_owned()
    };
    let created = container.get("Created").integer();
    let networks: Vec<&str> = container
        .at(&["NetworkSettings", "Networks"])
        .entries()
        .map(|(name, _)| name)
        .collect();
    let mounts = container.get("Mounts").list();
    let local_volumes = mounts
        .iter()
        .filter(|mount| mount.get("Driver").str() == "local")
        .count();
    vec![
        (
            "ID",
            Value::from(if is_cut { short_id(id) } else { id.to_owned() }),
        ),
        ("Names", Value::from(names(container, is_cut))),
        ("Image", Value::from(image(container, is_cut))),
        ("Command", Value::from(go_quote(&command))),
        ("CreatedAt", Value::from(timestamp::go_local(created))),
        (
            "RunningFor",
            Value::from(format!(
                "{} ago",
                timestamp::human_duration(timestamp::now_s() - created)
            )),
        ),
        ("Ports", Value::from(ports(container.get("Ports")))),
        ("State", container.get("State").clone()),
        ("Status", container.get("Status").clone()),
        ("Size", Value::from(size(container))),
        ("Labels", Value::from(join_labels(container.get("Labels")))),
        ("Label", label_method(container.get("Labels"))),
        ("Mounts", Value::from(mount_names(mounts, is_cut))),
        ("LocalVolumes", Value::from(local_volumes.to_string())),
        ("Networks", Value::from(networks.join(","))),
        (
            "Platform",
            container
                .at(&["ImageManifestDescriptor", "platform"])
                .clone(),
        ),
    ]
}

/// With `is_cut`, only the first name that is no link's.
fn names(container: &Value, is_cut: bool) -> String {
    let names = container
        .get("Names")
        .list()
        .iter()
        .map(|name| name.str().get(1..).unwrap_or_default());
    let names: Vec<&str> = names.collect();
    match names.iter().find(|name| !name.contains('/')) {
        Some(own) if is_cut => (*own).to_owned(),
        _ => names.join(","),
    }
}

fn image(container: &Value, is_cut: bool) -> String {
    let image = container.get("Image").str();
    if image.is_empty() {
        return "<no image>".into();
    }
    if !is_cut {
        return image.to_owned();
    }
    let id = short_id(container.get("ImageID").str());
    if id == short_id(image) {
        return id;
    }
    match Reference::parse(image) {
        Ok(reference) => Reference {
            digest: None,
            ..reference
        }
        .familiar(),
        Err(_) => image.to_owned(),
    }
}

fn size(container: &Value) -> String {
    let own = human_size_with(float(container.get("SizeRw").integer()), 3);
    match container.get("SizeRootFs").integer() {
        total @ 1.. => format!("{own} (virtual {})", human_size_with(float(total), 3)),
        _ => own,
    }
}

fn mount_names(mounts: &[Value], is_cut: bool) -> String {
    let names = mounts.iter().map(|mount| {
        let name = Some(mount.get("Name").str()).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| mount.get("Source").str());
        if is_cut {
            ellipsis(name, MOUNT_WIDTH)
        } else {
            name.to_owned()
        }
    });
    names.collect::<Vec<_>>().join(",")
}

/// `0.0.0.0:80->80/tcp, 90/tcp`: neighbours that are published on the same number are joined to a range.
fn ports(ports: &Value) -> String {
    struct Port<'a> {
        private: i64,
        public: i64,
        ip: &'a str,
        kind: &'a str,
    }
    let mut all: Vec<Port<'_>> = ports
        .list()
        .iter()
        .map(|port| Port {
            private: port.get("PrivatePort").integer(),
            public: port.get("PublicPort").integer(),
            ip: port.get("IP").str(),
            kind: port.get("Type").str(),
        })
        .collect();
    all.sort_by(|a, b| {
        (a.private, a.ip, a.public, a.kind).cmp(&(b.private, b.ip, b.public, b.kind))
    });
    let mut groups: Vec<(&str, &str, i64, i64)> = Vec::new();
    let mut closed = Vec::new();
    let mut mapped = Vec::new();
    for port in all {
        if !port.ip.is_empty() && port.public != port.private {
            mapped.push(format!(
                "{}->{}/{}",
                join_host(port.ip, &port.public.to_string()),
                port.private,
                port.kind
            ));
            continue;
        }
        match groups
            .iter_mut()
            .find(|(ip, kind, ..)| (*ip, *kind) == (port.ip, port.kind))
        {
            None => groups.push((port.ip, port.kind, port.private, port.private)),
            Some((.., last)) if port.private == *last + 1 => *last = port.private,
            Some(group) => {
                closed.push(group_text(*group));
                *group = (port.ip, port.kind, port.private, port.private);
            }
        }
    }
    closed.extend(groups.into_iter().map(group_text));
    closed.extend(mapped);
    closed.join(", ")
}

fn group_text((ip, kind, first, last): (&str, &str, i64, i64)) -> String {
    let mut range = first.to_string();
    if first != last {
        let _ = write!(range, "-{last}");
    }
    if ip.is_empty() {
        format!("{range}/{kind}")
    } else {
        format!("{}->{range}/{kind}", join_host(ip, &range))
    }
}

fn join_host(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped() {
        let json = br#"[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
            {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
            {"PrivatePort":90,"Type":"tcp"},{"PrivatePort":91,"Type":"tcp"},{"PrivatePort":93,"Type":"udp"},
            {"IP":"0.0.0.0","PrivatePort":70,"PublicPort":70,"Type":"tcp"}]"#;
        let text = ports(&Value::from_json(json).expect("is JSON"));
        assert_eq!(
            text,
            "0.0.0.0:70->70/tcp, 90-91/tcp, 93/udp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
    }

    #[test]
    fn images_lose_their_digest_when_cut() {
        let container = Value::from_json(br#"{"Image":"busybox:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","ImageID":"sha256:ff"}"#).expect("is JSON");
        assert_eq!(image(&container, true), "busybox:1");
    }
}
