//! The members of answers: the same names and the same types, at the newest version that the peer speaks and at older ones.

use crate::both::Both;
use gantry_testkit::image::SHELL;
use gantry_testkit::world;
use serde_json::{Value, json};

const VERSIONS: [&str; 5] = ["1.51", "1.47", "1.43", "1.40", "1.24"];

/// Members that differ for a reason.
const KNOWN: [&str; 14] = [
    // Another storage layout, whose merged tree is reached through the process.
    "GraphDriver.Data",
    // There is no containerd.
    "Containerd",
    // Other runtimes.
    "Runtimes",
    // dockerd's own build.
    "BuildTime",
    "GoVersion",
    "GitCommit",
    "Components",
    "DockerVersion",
    // Drivers that are there.
    "DriverStatus",
    "Plugins",
    "CDISpecDirs",
    // What a request left out is not told from an empty list or table.
    "RepoDigests",
    "Options",
    // The peer listens on IPv6 where the world of a test has none.
    "Ports",
];

#[test]
fn members_and_types_are_alike_in_all_versions() {
    if !world::enter("shape::members_and_types_are_alike_in_all_versions") {
        return;
    }
    let Some(both) = Both::start("shape") else {
        return;
    };
    let lists = json!({
        "Dns": [], "DnsOptions": [], "DnsSearch": [], "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "Devices": [], "Ulimits": [],
        "PortBindings": {}
    });
    let mut host = lists.clone();
    host["Binds"] = json!(["/tmp:/y:ro"]);
    host["Tmpfs"] = json!({"/t": "size=1m"});
    host["Mounts"] = json!([{"Type": "bind", "Source": "/tmp", "Target": "/z"}]);
    host["PortBindings"] = json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]});
    let running = json!({
        "Cmd": ["sleep", "1000"], "Env": ["A=b"], "Labels": {"l": "1"}, "ExposedPorts": {"80/tcp": {}}, "HostConfig": host
    });
    both.create("running", &running);
    both.same("POST", "/v1.51/containers/@running/start", None);
    let mut host = lists;
    host["Memory"] = json!(64 << 20);
    host["Init"] = json!(true);
    host["CapAdd"] = json!(["NET_ADMIN"]);
    host["Ulimits"] = json!([{"Name": "nofile", "Soft": 5, "Hard": 6}]);
    host["RestartPolicy"] = json!({"Name": "on-failure", "MaximumRetryCount": 3});
    both.create(
        "idle",
        &json!({"Tty": true, "OpenStdin": true, "HostConfig": host}),
    );
    let image = format!("/images/{SHELL}/json");
    let history = format!("/images/{SHELL}/history");
    for version in VERSIONS {
        for path in [
            "/containers/@running/json",
            "/containers/@idle/json",
            "/containers/json?all=1&filters={\"name\":[\"@\"]}",
            &image,
            &history,
            "/images/json?filters={\"reference\":[\"gantry-test/shell\"]}",
            "/info",
            "/version",
            "/networks/none",
            "/networks/host",
            "/networks/bridge",
        ] {
            compare(&both, &format!("/v{version}{path}"));
        }
    }
    both.finish();
}

fn compare(both: &Both, path: &str) {
    let [ours, peer] = both.ask("GET", path, None);
    let parse = |(status, text): &(u16, String)| -> Value {
        assert_eq!(*status, 200, "{path}: {text}");
        serde_json::from_str(text).expect("the answer is JSON")
    };
    walk(both, path, "", &parse(&ours), &parse(&peer));
}

fn walk(both: &Both, path: &str, place: &str, ours: &Value, peer: &Value) {
    if KNOWN.iter().any(|known| {
        place
            .split_once('.')
            .is_some_and(|(_, place)| place == *known || place.ends_with(&format!(".{known}")))
    }) {
        return;
    }
    match (ours, peer) {
        (Value::Object(ours), Value::Object(peer)) => {
            // The keys of tables that are no structs are other in each daemon.
            if place.ends_with(".Containers") {
                return;
            }
            for name in ours
                .keys()
                .chain(peer.keys().filter(|name| !ours.contains_key(*name)))
            {
                let inner = format!("{place}.{name}");
                match (ours.get(name), peer.get(name)) {
                    (Some(ours), Some(peer)) => walk(both, path, &inner, ours, peer),
                    (Some(_), None) => note(both, path, &inner, "dockerd has no such member"),
                    _ => note(both, path, &inner, "ours has no such member"),
                }
            }
        }
        (Value::Array(ours), Value::Array(peer)) => {
            for (ours, peer) in ours.iter().zip(peer) {
                walk(both, path, &format!("{place}[]"), ours, peer);
            }
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => {}
        (Value::Bool(_), Value::Bool(_)) | (Value::Null, Value::Null) => {}
        _ => note(both, path, place, &format!("Gantry {ours}, dockerd {peer}")),
    }
}

fn note(both: &Both, path: &str, place: &str, what: &str) {
    if !KNOWN
        .iter()
        .any(|known| place == format!(".{known}") || place.ends_with(&format!(".{known}")))
    {
        both.note(format!("GET {path} {place}: {what}"));
    }
}
