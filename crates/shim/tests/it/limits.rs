//! Limits, freezing, counters, and memory running out.

use crate::world::{Client, Shim, Spec, Zygote, framed};
use gantry_shim_protocol::{Event, FailureKind, Reply, Request};
use serde_json::json;
use std::io::Read;
use std::time::Duration;

fn ticking(zygote: &Zygote) -> (Shim, Client) {
    let mut shim = zygote.shim();
    let client = shim.start(
        &Spec::sh("while :; do echo tick; sleep 0.02; done"),
        crate::world::raw(),
    );
    (shim, client)
}

fn kill(mut shim: Shim) {
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: true
        }),
        Reply::Ok
    );
    shim.exited();
    shim.ends();
}

#[test]
fn a_paused_container_stands_still() {
    let zygote = Zygote::start();
    let (mut shim, mut client) = ticking(&zygote);
    client.expect("tick");
    assert_eq!(shim.ask(Request::Pause), Reply::Ok);
    assert_eq!(shim.state().status, "paused");
    assert!(matches!(shim.ask(Request::Pause), Reply::Failed(_)));
    let (reply, _) = crate::exec::exec(&mut shim, "e1", &["/bin/true"], false, framed());
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.message == "container is paused"),
        "{reply:?}"
    );
    client
        .0
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("is set");
    let mut buffer = [0; 4096];
    // What was on its way still comes; then nothing does.
    let mut reads = 0;
    while client.0.read(&mut buffer).is_ok_and(|length| length > 0) {
        reads += 1;
        assert!(reads < 100, "still ticking");
    }
    assert_eq!(shim.ask(Request::Resume), Reply::Ok);
    client.expect("tick");
    assert!(matches!(shim.ask(Request::Resume), Reply::Failed(_)));
    kill(shim);
}

#[test]
fn a_paused_container_can_be_killed() {
    let zygote = Zygote::start();
    for all in [false, true] {
        let (mut shim, mut client) = ticking(&zygote);
        client.expect("tick");
        assert_eq!(shim.ask(Request::Pause), Reply::Ok);
        let signal = Request::Signal {
            exec: None,
            signal: 9,
            all,
        };
        assert_eq!(shim.ask(signal), Reply::Ok);
        assert_eq!(shim.exited().exit_code, 137);
        shim.ends();
    }
}

#[test]
fn counters_and_limits_are_those_of_the_container() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        resources: json!({ "pids": { "limit": 33 }, "memory": { "limit": 67_108_864 } }),
        ..Spec::sh("sleep 1000")
    };
    shim.start(&spec, framed());
    let Reply::Stats(stats) = shim.ask(Request::Stats) else {
        panic!("no counters")
    };
    assert!(
        stats.iter().any(|(_, value)| value.trim() == "67108864"),
        "{stats:?}"
    );
    let reply = shim.ask(Request::Update {
        resources: json!({ "memory": { "limit": 33_554_432 } }),
    });
    assert_eq!(reply, Reply::Ok);
    let Reply::Stats(stats) = shim.ask(Request::Stats) else {
        panic!("no counters")
    };
    assert!(
        stats.iter().any(|(_, value)| value.trim() == "33554432"),
        "{stats:?}"
    );
    let reply = shim.ask(Request::Update {
        resources: json!({ "memory": "much" }),
    });
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.kind == FailureKind::Invalid),
        "{reply:?}"
    );
    kill(shim);
}

#[test]
fn memory_running_out_is_told() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let limit = json!({ "memory": { "limit": 16_777_216, "swap": 16_777_216 } });
    // The shell lives on, so that the event comes before the end.
    let spec = Spec {
        resources: limit,
        ..Spec::sh("head -c 200000000 /dev/zero | tail | wc -c; sleep 0.5; exit 1")
    };
    shim.start(&spec, framed());
    assert_eq!(shim.event(), Event::OutOfMemory);
    let exit = shim.exited();
    assert!(exit.oom_killed);
    assert_eq!(exit.exit_code, 1);
    shim.ends();
}

#[test]
fn an_init_killed_for_memory_says_so() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let limit = json!({ "memory": { "limit": 16_777_216, "swap": 16_777_216 } });
    let spec = Spec {
        resources: limit,
        ..Spec::args(&["/usr/bin/tail", "/dev/zero"])
    };
    shim.start(&spec, framed());
    let exit = shim.exited();
    assert!(exit.oom_killed);
    assert_eq!(exit.exit_code, 137);
    shim.ends();
}

#[test]
fn no_cgroup_stays_behind() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    shim.start(&Spec::sh("sleep 0.1 & sleep 0.1"), framed());
    shim.exited();
    shim.ends();
    let left = walk(std::path::Path::new("/sys/fs/cgroup"), &shim.id, 5);
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &std::path::Path, name: &str, depth: u32) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if path.to_string_lossy().contains(name) {
                found.push(path);
            } else if depth > 0 {
                found.extend(walk(&path, name, depth - 1));
            }
        }
    }
    found
}
