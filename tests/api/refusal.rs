//! Every verb on what is not there, not running, or badly asked for.

use crate::both::Both;
use gantry_testkit::world;
use serde_json::json;

#[test]
fn verbs_on_containers_refuse_alike() {
    if !world::enter("refusal::verbs_on_containers_refuse_alike") {
        return;
    }
    let Some(both) = Both::start("verbs") else {
        return;
    };
    both.create("idle", &json!({}));
    both.create("busy", &json!({"Cmd": ["sleep", "1000"]}));
    both.same("POST", "/v1.51/containers/@busy/start", None);
    for verb in [
        "start",
        "stop",
        "kill",
        "pause",
        "unpause",
        "restart",
        "wait",
        "resize?h=1&w=1",
        "rename?name=xx",
    ] {
        both.same("POST", &format!("/v1.51/containers/@nope/{verb}"), None);
    }
    for verb in [
        "kill",
        "kill?signal=x",
        "stop",
        "stop?t=x",
        "restart?t=x",
        "pause",
        "unpause",
        "resize",
        "resize?h=x&w=1",
        "resize?h=-1&w=1",
        "resize?h=99999999999&w=1",
        "resize?h=1&w=1",
        "rename",
        "rename?name=a",
        "rename?name=@busy",
        "wait?condition=x",
        "attach?stream=1&detachKeys=foo",
    ] {
        both.same("POST", &format!("/v1.51/containers/@idle/{verb}"), None);
    }
    for (method, path) in [
        ("POST", "@busy/start"),
        ("POST", "@busy/unpause"),
        ("POST", "@nope/attach"),
        ("GET", "@nope/json"),
        ("GET", "@nope/top"),
        ("GET", "@idle/top"),
        ("GET", "@idle/logs"),
        ("GET", "@idle/logs?stdout=1&since=x"),
        ("DELETE", "@nope"),
        ("DELETE", "@busy"),
        ("DELETE", ""),
        ("GET", "/json"),
    ] {
        both.same(method, &format!("/v1.51/containers/{path}"), None);
    }
    let exec = json!({"Cmd": ["x"]});
    for (name, body) in [("@idle", &exec), ("@nope", &exec), ("@busy", &json!({}))] {
        both.same(
            "POST",
            &format!("/v1.51/containers/{name}/exec"),
            Some(body),
        );
    }
    both.same(
        "POST",
        "/v1.51/containers/create?name=@busy",
        Some(&crate::both::with_image(&json!({}))),
    );
    both.same(
        "POST",
        "/v1.51/containers/create?name=a%20b",
        Some(&crate::both::with_image(&json!({}))),
    );
    both.same(
        "POST",
        "/v1.51/containers/@idle/start",
        Some(&json!({"a": "bcdefg"})),
    );
    both.finish();
}

#[test]
fn other_routes_refuse_alike() {
    if !world::enter("refusal::other_routes_refuse_alike") {
        return;
    }
    let Some(both) = Both::start("routes") else {
        return;
    };
    for path in [
        "/containers/json?filters=x",
        "/containers/json?filters={\"x\":[\"y\"]}",
        "/containers/json?filters={\"status\":[\"y\"]}",
        "/containers/json?filters={\"exited\":[\"y\"]}",
        "/containers/json?filters={\"before\":[\"y\"]}",
        "/containers/json?filters={\"health\":[\"y\"]}",
        "/containers/json?filters={\"publish\":[\"y\"]}",
        "/containers/json?filters={\"is-task\":[\"y\"]}",
        "/containers/json?limit=x",
        "/exec/nope/json",
        "/images/nope/json",
        "/images/Bad/json",
        "/images/nope/history",
        "/images/nope/get",
        "/images/json?filters={\"x\":[\"y\"]}",
        "/networks/nope",
        "/networks?filters={\"x\":[\"y\"]}",
        "/networks?filters={\"type\":[\"y\"]}",
        "/events?since=x",
        "/events?since=5&until=4",
        "/plugins",
        "/plugins/x/json",
        "/swarm",
        "/swarm/unlockkey",
        "/nodes",
        "/services",
        "/tasks",
        "/secrets",
        "/configs",
        "/nothing",
    ] {
        both.same("GET", &format!("/v1.51{path}"), None);
    }
    for (method, path) in [
        ("POST", "/exec/nope/resize?h=1&w=1"),
        ("POST", "/containers/prune?filters={\"x\":[\"y\"]}"),
        ("POST", "/containers/prune?filters={\"until\":[\"y\"]}"),
        ("POST", "/images/prune?filters={\"x\":[\"y\"]}"),
        ("POST", "/images/nope/tag?repo=x"),
        ("POST", "/images/gantry-test/shell:1/tag?repo=X"),
        ("DELETE", "/images/nope"),
        ("DELETE", "/networks/bridge"),
        ("DELETE", "/networks/nope"),
        ("POST", "/swarm/leave"),
        ("POST", "/services/create"),
        ("POST", "/info"),
        ("PUT", "/containers/json"),
    ] {
        both.same(method, &format!("/v1.51{path}"), None);
    }
    both.same("POST", "/v1.51/exec/nope/start", Some(&json!({})));
    both.same("POST", "/v1.51/networks/create", Some(&json!({})));
    both.finish();
}
