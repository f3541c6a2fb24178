//! Namespaces that are made with ids, offsets or by others.

use crate::world::{Case, World, field, kernel, process};
use gantry_oci::runtime::{IdMapping, Mount, Namespace, Spec, TimeOffset};
use gantry_sys::namespace::{self, Kind};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

pub(crate) const ALL: &[Case] = &[
    ("maps_users", maps_users),
    ("shifts_clocks", shifts_clocks),
    ("joins_a_network_namespace", joins_a_network_namespace),
    ("shares_the_hosts_pids", shares_the_hosts_pids),
    (
        "leaves_a_shared_mount_namespace_alone",
        leaves_a_shared_mount_namespace_alone,
    ),
    ("maps_the_ids_of_a_mount", maps_the_ids_of_a_mount),
];

fn add_user_namespace(spec: &mut Spec) {
    let linux = spec.linux.as_mut().expect("is there");
    linux.namespaces.push(Namespace {
        kind: "user".into(),
        path: String::new(),
    });
    let map = vec![IdMapping {
        container_id: 0,
        host_id: 100_000,
        size: 65_536,
    }];
    (linux.uid_mappings, linux.gid_mappings) = (map.clone(), map);
}

fn maps_users(world: &World) {
    let root = world.rootfs("user");
    std::os::unix::fs::chown(&root, Some(100_000), Some(100_000)).expect("is given");
    let mut spec = world.spec(&["write+cat+ls+status+sleep", "/made", "/proc/self/uid_map"]);
    spec.process.as_mut().expect("is there").args = ["probe", "write+status", "/made", "1"]
        .map(str::to_owned)
        .to_vec();
    add_user_namespace(&mut spec);
    let (text, code) = world.run("user", &spec).expect("runs");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("wrote /made"), "{text}");
    assert_eq!(field(&text, "Uid"), "0\t0\t0\t0");
    assert_eq!(root.join("made").metadata().expect("exists").uid(), 100_000);
    // Nodes are the host's, shown.
    spec.process = Some(process(&[
        "write+ls+cat",
        "/dev/null",
        "x",
        "/proc/self/uid_map",
    ]));
    spec.process.as_mut().expect("is there").args = ["probe", "write", "/dev/null", "x"]
        .map(str::to_owned)
        .to_vec();
    let (text, _) = world.run("user", &spec).expect("runs");
    assert_eq!(text, "wrote /dev/null\n");
    spec.process = Some(process(&["sleep"]));
    let running = world.start("user", &spec);
    let (text, _) = running
        .exec(process(&["cat", "/proc/self/uid_map"]))
        .expect("runs");
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536"]
    );
    running.stop();
}

fn shifts_clocks(world: &World) {
    let uptime: f64 = std::fs::read_to_string("/proc/uptime")
        .expect("is read")
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("is a number");
    let (text, _) = world
        .probe(&["cat", "/proc/uptime"], |spec| {
            let linux = spec.linux.as_mut().expect("is there");
            linux.namespaces.push(Namespace {
                kind: "time".into(),
                path: String::new(),
            });
            linux.time_offsets.insert(
                "boottime".into(),
                TimeOffset {
                    secs: 86_400_000,
                    nanosecs: 0,
                },
            );
        })
        .expect("runs");
    let inside: f64 = text
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("is a number");
    assert!(
        (inside - uptime - 86_400_000.0).abs() < 30.0,
        "{inside} is not {uptime} and 1000 days"
    );
}

fn joins_a_network_namespace(world: &World) {
    world.rootfs("net");
    let own = File::open("/proc/self/ns/net").expect("opens");
    namespace::unshare(Kind::Network.flag()).expect("is made");
    let wanted = std::fs::read_link("/proc/self/ns/net")
        .expect("is read")
        .display()
        .to_string();
    let other = File::open("/proc/self/ns/net").expect("opens");
    namespace::join(std::os::fd::AsFd::as_fd(&own), Kind::Network).expect("is joined");
    let mut plan = world
        .plan("net", &world.spec(&["namespaces"]))
        .expect("is planned");
    let (mut reader, stdio) = crate::world::output();
    plan.stdio = stdio;
    plan.namespaces = vec![(Kind::Network, other.into())];
    let init = gantry_runtime::run(plan).expect("runs");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("is read");
    assert!(text.contains(&format!("network {wanted}")), "{text}");
    gantry_sys::pidfd::wait(&init.pidfd).expect("is reaped");
    crate::world::end(init);
}

fn shares_the_hosts_pids(world: &World) {
    world.rootfs("pids");
    let mut spec = world.spec(&["sleep"]);
    spec.linux
        .as_mut()
        .expect("is there")
        .namespaces
        .retain(|namespace| namespace.kind != "pid");
    let running = world.start("pids", &spec);
    let (text, _) = running.exec(process(&["status"])).expect("runs");
    assert_ne!(field(&text, "Pid"), "2");
    running.stop();
}

fn leaves_a_shared_mount_namespace_alone(world: &World) {
    let before = std::fs::read_to_string("/proc/self/mountinfo").expect("is read");
    world.rootfs("shared");
    let mut spec = world.spec(&["ls+write", "/proc/1"]);
    spec.process.as_mut().expect("is there").args =
        ["probe", "write", "/made", "1"].map(str::to_owned).to_vec();
    let linux = spec.linux.as_mut().expect("is there");
    linux
        .namespaces
        .retain(|namespace| namespace.kind != "mount");
    linux.masked_paths.clear();
    linux.readonly_paths.clear();
    match world.run("shared", &spec) {
        Err(error) if kernel() < (6, 15) && error.message.contains("invalid argument") => {
            println!("note: skipped, this kernel mounts on attached mounts only");
        }
        other => assert_eq!(other.expect("runs"), ("wrote /made\n".to_owned(), 0)),
    }
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").expect("is read"),
        before
    );
}

fn maps_the_ids_of_a_mount(world: &World) {
    // The test's own tmpfs can be mapped since Linux 6.3.
    let source = world.folder.join("source");
    std::fs::create_dir(&source).expect("is made");
    std::fs::write(source.join("file"), "x").expect("is written");
    std::os::unix::fs::chown(source.join("file"), Some(500), Some(600)).expect("is given");
    let map = |from: u32, to: u32| {
        vec![IdMapping {
            container_id: from,
            host_id: to,
            size: 1,
        }]
    };
    let result = world.probe(&["ls", "/mapped"], |spec| {
        spec.mounts.push(Mount {
            destination: "/mapped".into(),
            kind: "bind".into(),
            source: source.display().to_string(),
            options: vec!["bind".into()],
            uid_mappings: map(500, 1500),
            gid_mappings: map(600, 1600),
        });
    });
    match result {
        Err(error) if kernel() < (6, 3) && error.message.contains("MOUNT_ATTR_IDMAP") => {
            println!("note: skipped: {error}");
        }
        other => assert!(
            other.expect("runs").0.starts_with("file 100644 1500:1600"),
            "is mapped"
        ),
    }
}
