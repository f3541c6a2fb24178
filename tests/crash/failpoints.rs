//! The daemon dies at each failpoint of create, start, exit, stop and remove; the next daemon settles it.

use crate::support::{IMAGE, assert_port_is_free, failpoints, remove_all, run, serves};
use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::world;
use serde_json::{Value, json};
use std::time::Duration;

/// A container that must live through everything.
const SURVIVOR_PORT: u16 = 18_001;
/// The port of the container that the operations are done with.
const PORT: u16 = 18_002;
const VOLUME: &str = "subject-data";
const NETWORK: &str = "subject-network";

#[test]
fn a_death_at_any_failpoint_leaves_nothing_and_loses_nothing() {
    if !world::enter("failpoints::a_death_at_any_failpoint_leaves_nothing_and_loses_nothing") {
        return;
    }
    let mut daemon = Daemon::new("failpoints");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let survivor =
        run(&mut daemon.client(), "survivor", Some(SURVIVOR_PORT)).expect("the survivor starts");
    let pid = pid_of(&daemon, &survivor);
    let mut unreached = Vec::new();
    for name in failpoints() {
        let began = std::time::Instant::now();
        daemon.kill();
        if !daemon.start(&format!("{name}=kill")) {
            // It is on the way of a boot; the next boot must do without it.
            assert!(daemon.start(""), "{name}: {}", daemon.log_text());
            check_survivor(&daemon, &survivor, pid, &name);
            continue;
        }
        operations(&daemon);
        let died = daemon.waits_for_death(Duration::from_millis(1500));
        if !died {
            unreached.push(name.clone());
        }
        daemon.kill();
        assert!(
            daemon.start(""),
            "{name}: the next daemon does not start: {}",
            daemon.log_text()
        );
        check_survivor(&daemon, &survivor, pid, &name);
        remove_others(&daemon, &survivor, &name);
        assert_port_is_free(PORT, &name);
        // The name is free, and the same again works.
        let again = run(&mut daemon.client(), "subject", Some(PORT));
        assert!(
            again.is_some_and(|_| serves(PORT)),
            "{name}: the same cannot be done again"
        );
        remove_others(&daemon, &survivor, &name);
        println!("{name}: {} ms", began.elapsed().as_millis());
    }
    println!("failpoints that these operations do not reach: {unreached:?}");
    remove_all(&daemon, "the end");
    assert_port_is_free(SURVIVOR_PORT, "the end");
}

/// Everything whose effects have failpoints; each step may find a dead daemon.
fn operations(daemon: &Daemon) {
    let mut client = daemon.client();
    let Some(id) = run(&mut client, "subject", Some(PORT)) else {
        return;
    };
    let steps = [
        ("POST", format!("/containers/{id}/stop?t=1")),
        ("POST", format!("/containers/{id}/start")),
        ("POST", format!("/containers/{id}/kill")),
        ("POST", format!("/containers/{id}/wait")),
        ("POST", format!("/containers/{id}/start")),
        ("DELETE", format!("/containers/{id}?force=1")),
    ];
    for (method, path) in steps {
        if client.request(method, &path, None).is_err() {
            return;
        }
    }
    if change_networks(&mut client).is_none() {
        return;
    }
    let volume = json!({"Name": VOLUME});
    if client
        .request("POST", "/volumes/create", Some(&volume))
        .is_err()
    {
        return;
    }
    // The last step: the caller looks whether the daemon lives.
    let _ = client.request("DELETE", &format!("/volumes/{VOLUME}"), None);
}

/// A network is made, a running container is connected and disconnected, and all goes again. None if the daemon died on the way.
fn change_networks(client: &mut Client) -> Option<()> {
    let mut ask =
        |method, path: &str, body: Option<Value>| client.request(method, path, body.as_ref()).ok();
    let network = json!({"Name": NETWORK});
    ask("POST", "/networks/create", Some(network))?;
    let config = json!({"Image": IMAGE, "Cmd": ["serve"]});
    ask("POST", "/containers/create?name=connected", Some(config))?;
    ask("POST", "/containers/connected/start", None)?;
    let container = json!({"Container": "connected"});
    let path = |verb: &str| format!("/networks/{NETWORK}/{verb}");
    ask("POST", &path("connect"), Some(container.clone()))?;
    ask("POST", &path("disconnect"), Some(container))?;
    ask("DELETE", "/containers/connected?force=1", None)?;
    ask("DELETE", &format!("/networks/{NETWORK}"), None)?;
    Some(())
}

fn pid_of(daemon: &Daemon, id: &str) -> i64 {
    let container = daemon
        .client()
        .json("GET", &format!("/containers/{id}/json"), None)
        .expect("can be inspected");
    assert_eq!(container["State"]["Running"], true, "{container}");
    container["State"]["Pid"].as_i64().expect("a pid")
}

fn check_survivor(daemon: &Daemon, id: &str, pid: i64, when: &str) {
    assert_eq!(
        pid_of(daemon, id),
        pid,
        "{when}: the survivor was restarted"
    );
    assert!(
        serves(SURVIVOR_PORT),
        "{when}: the survivor's port does not answer\n{}",
        daemon.log_text()
    );
}

/// Removes all but the survivor and asserts that nothing else is there.
fn remove_others(daemon: &Daemon, survivor: &str, when: &str) {
    let mut client = daemon.client();
    let all = client
        .json("GET", "/containers/json?all=1", None)
        .expect("can be listed");
    for container in all.as_array().expect("a list") {
        let id = container["Id"].as_str().expect("an id");
        if id != survivor {
            let removed = client.request("DELETE", &format!("/containers/{id}?force=1"), None);
            assert!(removed.is_ok(), "{when}: {removed:?}");
        }
    }
    let removed = client.request("DELETE", &format!("/volumes/{VOLUME}?force=1"), None);
    assert!(removed.is_ok(), "{when}: {removed:?}");
    // Acknowledged or not: what is not listed must have left no bridge, which the daemon's leftovers would show.
    drop(client.ask("DELETE", &format!("/networks/{NETWORK}"), None));
    let volumes = std::fs::read_dir(daemon.root().join("data/volumes"));
    let left: Vec<_> = volumes.expect("the daemon makes it").flatten().collect();
    assert!(left.is_empty(), "{when}: {left:?}");
    let pid = pid_of(daemon, survivor);
    daemon.assert_clean_but(survivor, pid, when);
}
