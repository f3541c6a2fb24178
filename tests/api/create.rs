//! `POST /containers/create`: what is wrong is refused in the same words; what is not supported yet, by its name.

use crate::both::{Both, with_image};
use gantry_testkit::world;
use serde_json::{Value, json};

#[test]
fn host_configs_are_taken_or_refused_alike() {
    if !world::enter("create::host_configs_are_taken_or_refused_alike") {
        return;
    }
    let Some(both) = Both::start("host") else {
        return;
    };
    for host in host_configs() {
        compare(&both, &json!({"HostConfig": host}));
    }
    both.finish();
}

#[test]
fn mounts_are_taken_or_refused_alike() {
    if !world::enter("create::mounts_are_taken_or_refused_alike") {
        return;
    }
    let Some(both) = Both::start("mounts") else {
        return;
    };
    for bind in [
        "a",
        "/a",
        "a:b",
        "/a:b",
        "/a:/b:x",
        "/a:/b:ro,rw",
        "/a:/",
        "/a:/b:ro:c",
        "/a::x",
        ":/b",
        "/b:ro",
        "/a:b:ro",
        "/a:/b:ro,Z,rshared",
        "/a:/b:nocopy",
        "",
        "v:/b",
        "vol name:/b",
    ] {
        compare(&both, &json!({"HostConfig": {"Binds": [bind]}}));
    }
    for mount in mounts() {
        compare(&both, &json!({"HostConfig": {"Mounts": [mount]}}));
    }
    for host in [
        json!({"Binds": ["/tmp:/a", "/tmp:/a"]}),
        json!({"Binds": ["/tmp:/a"], "Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/a"}]}),
        json!({"Binds": ["/tmp:/a"], "Tmpfs": {"/a": ""}}),
        json!({"Tmpfs": {"a": ""}}),
        json!({"Tmpfs": {"/": ""}}),
    ] {
        compare(&both, &json!({"HostConfig": host}));
    }
    both.finish();
}

#[test]
fn configs_are_taken_or_refused_alike() {
    if !world::enter("create::configs_are_taken_or_refused_alike") {
        return;
    }
    let Some(both) = Both::start("config") else {
        return;
    };
    for config in [
        json!({"Env": ["=x"]}),
        json!({"WorkingDir": "a"}),
        json!({"StopSignal": "x"}),
        json!({"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}}),
        json!({"MacAddress": "x"}),
        json!({"Hostname": "x", "HostConfig": {"UTSMode": "host"}}),
        json!({"Hostname": "-odd name"}),
        json!({"Image": "nope:1"}),
        json!({"Image": "Bad"}),
        json!({"Cmd": []}),
        json!({"Cmd": "true"}),
        json!({"NetworkingConfig": {"EndpointsConfig": {"bridge": null}}}),
        json!({"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": ["x"]}}}}),
        json!({"NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "x"}}}}),
        json!({"Hostname": "x", "HostConfig": {"NetworkMode": "container:y"}}),
        json!({"ExposedPorts": {"80/tcp": {}}, "HostConfig": {"NetworkMode": "container:y"}}),
    ] {
        compare(&both, &config);
    }
    for body in ["null", "{}"] {
        let body: Value = serde_json::from_str(body).expect("is JSON");
        both.same("POST", "/v1.51/containers/create", Some(&body));
    }
    both.finish();
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    if !world::enter("create::what_is_not_supported_is_refused_by_name") {
        return;
    }
    let Some(both) = Both::start("absent") else {
        return;
    };
    let [mut ours, _] = both.clients();
    for (name, request) in [
        ("VolumesFrom", json!({"HostConfig": {"VolumesFrom": ["x"]}})),
        ("Links", json!({"HostConfig": {"Links": ["x"]}})),
        (
            "StorageOpt",
            json!({"HostConfig": {"StorageOpt": {"size": "1g"}}}),
        ),
        (
            "DeviceRequests",
            json!({"HostConfig": {"DeviceRequests": [{"Count": 1}]}}),
        ),
        (
            "KernelMemoryTCP",
            json!({"HostConfig": {"KernelMemoryTCP": 5}}),
        ),
        ("UsernsMode", json!({"HostConfig": {"UsernsMode": "x"}})),
        ("NetworkDisabled", json!({"NetworkDisabled": true})),
    ] {
        let answer = ours
            .ask(
                "POST",
                "/v1.51/containers/create",
                Some(&with_image(&request)),
            )
            .expect("ours answers");
        let expected = json!({"message": format!("{name} is not supported yet")});
        assert_eq!((answer.status, answer.json()), (501, expected), "{request}");
    }
    both.finish();
}

fn compare(both: &Both, more: &Value) {
    both.same(
        "POST",
        "/v1.51/containers/create?name=@x",
        Some(&with_image(more)),
    );
    for mut client in both.clients() {
        let path = format!("/v1.51/containers/{}?v=1", both.name("x"));
        client
            .ask("DELETE", &path, None)
            .expect("the daemon answers");
    }
}

fn host_configs() -> Vec<Value> {
    let mut all = limits();
    all.extend([
        json!({"PortBindings": {"80": [{"HostPort": "99999"}]}}),
        json!({"PortBindings": {"80-81/tcp": [{"HostPort": "9"}]}}),
        json!({"PortBindings": {"80/tcp": [{"HostPort": "9-8"}]}}),
        json!({"NetworkMode": "host", "PortBindings": {"80/tcp": [{}]}}),
        json!({"RestartPolicy": {"Name": "x"}}),
        json!({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}}),
        json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}),
        json!({"RestartPolicy": {"Name": "no", "MaximumRetryCount": -1}}),
        json!({"RestartPolicy": {"Name": "always"}, "AutoRemove": true}),
        json!({"ExtraHosts": ["a"]}),
        json!({"ExtraHosts": ["a:b"]}),
        json!({"CapAdd": ["X"]}),
        json!({"CapDrop": ["X"]}),
        json!({"Annotations": {"": "x"}}),
        json!({"IpcMode": "x"}),
        json!({"PidMode": "x"}),
        json!({"UTSMode": "x"}),
        json!({"CgroupnsMode": "x"}),
        json!({"Isolation": "x"}),
        json!({"Runtime": "x"}),
        json!({"ShmSize": -1}),
        json!({"SecurityOpt": ["x"]}),
        json!({"SecurityOpt": ["x=y"]}),
        json!({"SecurityOpt": ["no-new-privileges:x"]}),
        json!({"LogConfig": {"Type": "x"}}),
        json!({"LogConfig": {"Type": "json-file", "Config": {"x": "y"}}}),
        json!({"LogConfig": {"Type": "none", "Config": {"x": "y"}}}),
        json!({"NetworkMode": "container:"}),
        json!({"NetworkMode": "container:nope"}),
        json!({"NetworkMode": "nope"}),
        json!({"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}}),
        json!({"ConsoleSize": [1, 2]}),
        json!({"Tmpfs": {"/a": "size=1m"}}),
    ]);
    all
}

fn limits() -> Vec<Value> {
    vec![
        json!({"Memory": 5}),
        json!({"Memory": 10_000_000, "MemorySwap": 5}),
        json!({"MemorySwap": 5}),
        json!({"MemorySwappiness": 500}),
        json!({"NanoCpus": 99_000_000_000_i64}),
        json!({"NanoCpus": 1, "CpuQuota": 1}),
        json!({"CpuPeriod": 1}),
        json!({"CpuQuota": 1}),
        json!({"CpuShares": -1}),
        json!({"CpusetCpus": "x"}),
        json!({"CpusetCpus": "0-99"}),
        json!({"CpusetMems": "9"}),
        json!({"IOMaximumBandwidth": 5}),
        json!({"OomScoreAdj": 2000}),
        json!({"OomKillDisable": true}),
        json!({"PidsLimit": -1}),
        json!({"CgroupParent": "x"}),
    ]
}

fn mounts() -> Vec<Value> {
    vec![
        json!({}),
        json!({"Type": "bind", "Target": "/a"}),
        json!({"Type": "bind", "Source": "a", "Target": "/a"}),
        json!({"Type": "bind", "Source": "/nonexist", "Target": "/a"}),
        json!({"Type": "bind", "Source": "/tmp", "Target": "/"}),
        json!({"Type": "bind", "Source": "/tmp", "Target": "a"}),
        json!({"Type": "tmpfs", "Source": "/tmp", "Target": "/a"}),
        json!({"Type": "x", "Target": "/a"}),
        json!({"Type": "npipe", "Target": "/a", "Source": "x"}),
        json!({"Type": "image", "Target": "/a"}),
        json!({"Type": "bind", "Source": "/tmp", "Target": "/a", "BindOptions": {"Propagation": "x"}}),
        json!({"Type": "bind", "Source": "/tmp", "Target": "/a", "VolumeOptions": {}}),
        json!({"Type": "bind", "Source": "/tmp", "Target": "/a", "TmpfsOptions": {}}),
        json!({"Type": "tmpfs", "Target": "/a", "BindOptions": {}}),
        json!({"Type": "tmpfs", "Target": "/a", "TmpfsOptions": {"Options": [["x"]]}}),
        json!({"Type": "volume", "Target": "/a", "ReadOnly": true}),
        json!({"Type": "volume", "Target": "/a", "VolumeOptions": {"Subpath": "x"}}),
    ]
}
