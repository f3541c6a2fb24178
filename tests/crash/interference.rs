//! Somebody else on the host deletes what is ours: it comes back by itself, with the containers on it.

use crate::support::{IMAGE, answers};
use gantry_testkit::daemon::Daemon;
use gantry_testkit::world;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Much longer than it takes, so that a slow machine is no failure.
const PATIENCE: Duration = Duration::from_mins(2);

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn deleted_bridges_and_rules_come_back() {
    if !world::enter("interference::deleted_bridges_and_rules_come_back") {
        return;
    }
    let mut daemon = Daemon::new("interference");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let mut client = daemon.client();
    let bridge = client
        .json("GET", "/networks/bridge", None)
        .expect("is there");
    let bridge = bridge["Options"]["com.docker.network.bridge.name"]
        .as_str()
        .expect("has a name")
        .to_owned();
    let own = "br-interference";
    let network = json!({"Name": "own", "Options": {"com.docker.network.bridge.name": own, "com.docker.network.bridge.enable_icc": "false"}});
    client
        .json("POST", "/networks/create", Some(&network))
        .expect("is made");
    for (name, network, port) in [("one", "bridge", 18_011_u16), ("two", "own", 18_012)] {
        let body = json!({"Image": IMAGE, "Cmd": ["serve"], "ExposedPorts": {"80/tcp": {}}, "HostConfig": {
            "NetworkMode": network, "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]}}});
        client
            .json(
                "POST",
                &format!("/containers/create?name={name}"),
                Some(&body),
            )
            .expect("is created");
        client
            .request("POST", &format!("/containers/{name}/start"), None)
            .expect("starts");
        until("the port answers", || answers(port));
    }
    let index = |name: &str| {
        let path = PathBuf::from("/sys/class/net").join(name).join("ifindex");
        std::fs::read_to_string(path).ok()
    };
    for (name, port) in [(bridge.as_str(), 18_011), (own, 18_012)] {
        let before = index(name);
        assert!(before.is_some() && succeeds("ip", &["link", "del", name]));
        until("another bridge of the name", || {
            index(name).is_some_and(|now| Some(now) != before)
        });
        until("the port answers again", || answers(port));
    }
    let isolated = std::fs::read_dir(format!("/sys/class/net/{own}/brif"))
        .expect("has ports")
        .flatten()
        .all(|port| {
            std::fs::read_to_string(port.path().join("isolated")).is_ok_and(|on| on.trim() == "1")
        });
    assert!(isolated, "the new bridge lets containers reach each other");
    if succeeds("nft", &["flush", "ruleset"]) {
        for port in [18_011, 18_012] {
            until("the port answers with new rules", || answers(port));
        }
    } else {
        println!("skipped: nft is not installed");
    }
    for name in ["one", "two"] {
        client
            .request("DELETE", &format!("/containers/{name}?force=1"), None)
            .expect("can be removed");
    }
    client
        .request("DELETE", "/networks/own", None)
        .expect("can be removed");
    assert!(index(own).is_none());
}
