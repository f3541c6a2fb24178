//! Daemons that come and go, and what they send.

use crate::world::{Spec, Zygote, framed, outcome};
use gantry_runtime::cgroup::{Hierarchy, Roots};
use gantry_shim_protocol::{
    Exit, Failure, FailureKind, FdRole, PACKET_MAX, Reply, Request, ShimPacket,
};
use gantry_sys::{fdpass, pidfd};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

#[test]
fn a_later_daemon_takes_over() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("read x; echo got $x; exit 8")
    };
    let mut client = shim.start(&spec, framed());
    shim.lose_daemon();
    shim.reconnect();
    assert_eq!(shim.state().status, "running");
    client.0.write_all(b"it\n").expect("is written");
    assert_eq!(shim.exited().exit_code, 8);
    assert_eq!(client.streams().0, "got it\n");
    shim.ends();
}

#[test]
fn the_newest_daemon_replaces_the_one_before() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        stdin_once: true,
        ..Spec::args(&["/bin/cat"])
    };
    let client = shim.start(&spec, framed());
    let before = fdpass::connect(&shim.run_dir().join("shim.sock")).expect("answers");
    fdpass::receive(&before, PACKET_MAX).expect("greets");
    shim.reconnect();
    assert!(
        fdpass::receive(&before, PACKET_MAX)
            .expect("ends")
            .is_none()
    );
    assert_eq!(shim.state().status, "running");
    drop(client);
    assert_eq!(shim.exited().exit_code, 0);
    shim.ends();
}

#[test]
fn an_end_without_a_daemon_is_recorded() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("read x; echo bye; exit 12")
    };
    let mut client = shim.start(&spec, framed());
    shim.lose_daemon();
    client.0.write_all(b"\n").expect("is written");
    shim.is_gone();
    let exit: Exit =
        serde_json::from_slice(&std::fs::read(shim.run_dir().join("exit.json")).expect("is read"))
            .expect("is JSON");
    assert_eq!(exit.exit_code, 12);
    assert_eq!(client.streams().0, "bye\n");
    assert!(fdpass::connect(&shim.run_dir().join("shim.sock")).is_err());
}

#[test]
fn shims_outlive_the_zygote() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("read x; exit 3")
    };
    let mut client = shim.start(&spec, framed());
    drop(zygote);
    client.0.write_all(b"\n").expect("is written");
    assert_eq!(shim.exited().exit_code, 3);
    shim.ends();
}

#[test]
fn a_shim_without_a_container_ends_with_its_daemon() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    shim.lose_daemon();
    shim.is_gone();
}

#[test]
fn nonsense_is_answered_and_survived() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let failed = |packet: Option<ShimPacket>| match packet {
        Some(ShimPacket::Reply {
            seq,
            reply: Reply::Failed(Failure { kind, .. }),
        }) => (seq, kind),
        other => panic!("{other:?}"),
    };
    shim.send_raw(b"nonsense");
    assert_eq!(failed(shim.receive()), (0, FailureKind::Invalid));
    shim.send_raw(br#"{"seq":77,"request":{"teleport":{"to":"mars"}}}"#);
    assert_eq!(failed(shim.receive()), (77, FailureKind::Unsupported));
    shim.send_raw(&vec![b'['; 60_000]);
    assert_eq!(failed(shim.receive()), (0, FailureKind::Invalid));
    shim.send_raw(&vec![b'x'; PACKET_MAX + 1]);
    assert_eq!(failed(shim.receive()), (0, FailureKind::Invalid));
    for request in [
        Request::Pause,
        Request::Stats,
        Request::ReopenLog,
        Request::Processes,
        Request::Signal {
            exec: None,
            signal: 1000,
            all: true,
        },
        Request::Update {
            resources: serde_json::json!([1]),
        },
    ] {
        assert!(matches!(shim.ask(request), Reply::Failed(_)));
    }
    assert_eq!(shim.state().status, "created");
    // Roles without descriptors fail the request that they were meant for, which ends the shim.
    shim.send(
        Request::Descriptors {
            roles: vec![FdRole::Config, FdRole::Rootfs],
        },
        &[],
    );
    let reply = shim.run(&Spec::sh("true"), Vec::new());
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.kind == FailureKind::Invalid),
        "{reply:?}"
    );
    shim.ends();
    // And the zygote takes no harm from nonsense either.
    let (socket, _other) = UnixStream::pair().expect("is made");
    fdpass::send(zygote.socket(), b"nonsense", &[socket.as_fd()]).expect("is sent");
    fdpass::send(zygote.socket(), br#"{"fork":{"id":"x"}}"#, &[]).expect("is sent");
    assert_eq!(outcome(&zygote, &Spec::sh("exit 2")).0, 2);
}

#[test]
fn a_shim_runs_one_container() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        stdin_once: true,
        ..Spec::args(&["/bin/cat"])
    };
    let client = shim.start(&spec, framed());
    assert!(matches!(shim.run(&spec, Vec::new()), Reply::Failed(_)));
    drop(client);
    assert_eq!(shim.exited().exit_code, 0);
    shim.ends();
}

/// Nothing of the host can be seen, traced or confused with something else.
#[test]
fn a_shim_is_isolated_and_named() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let client = shim.start(
        &Spec {
            open_stdin: true,
            stdin_once: true,
            ..Spec::args(&["/bin/cat"])
        },
        framed(),
    );
    let proc = std::path::PathBuf::from(format!("/proc/{}", shim.pid));
    let read = |name: &str| std::fs::read_to_string(proc.join(name)).expect("is read");
    assert_eq!(read("comm"), "gantry-shim\n");
    // Hosts that withhold CAP_SYS_RESOURCE also withhold the title.
    let status = std::fs::read_to_string("/proc/self/status").expect("is read");
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .expect("is there")
        .trim();
    if u64::from_str_radix(effective, 16).expect("is a number") & 1 << 24 != 0 {
        assert_eq!(
            read("cmdline"),
            format!("gantry-shim: {}\0", &shim.id[..12])
        );
    }
    let mounts = read("mountinfo");
    // Nothing of the host but the hierarchies, which each container gets its part of.
    let (cgroups, rest): (Vec<&str>, Vec<&str>) =
        mounts.lines().partition(|line| line.contains(" - cgroup"));
    assert!(
        rest.len() == 1
            && rest[0].contains(" / / ro,nosuid,nodev,noexec")
            && rest[0].contains(" - tmpfs gantry-shim "),
        "{mounts}"
    );
    assert!(!cgroups.is_empty(), "{mounts}");
    let exe = std::fs::read_link(proc.join("exe")).expect("is read");
    assert_eq!(exe.to_string_lossy(), "/memfd:gantry-shim (deleted)");
    assert_eq!(
        std::fs::read_dir(proc.join("task"))
            .expect("is read")
            .count(),
        1
    );
    drop(client);
    shim.exited();
    shim.ends();
}

/// The daemon's part is to kill what is left, by its cgroup; nothing pretends that the container has ended.
#[test]
fn a_killed_shim_leaves_its_container_to_the_daemon() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec::args(&["/bin/sleep", "1000"]);
    let Reply::Started { pid, .. } = shim.run(&spec, Vec::new()) else {
        panic!("not started")
    };
    let init = pidfd::open(pid).expect("runs");
    let Reply::Processes(processes) = shim.ask(Request::Processes) else {
        panic!("no processes")
    };
    assert_eq!(processes, [pid]);
    let killed = pidfd::open(shim.pid).expect("runs");
    pidfd::send_signal(&killed, 9).expect("is killed");
    assert_eq!(shim.receive(), None);
    assert!(!shim.run_dir().join("exit.json").exists());
    assert!(!pidfd::has_ended(&init).expect("is asked"));
    assert!(fdpass::connect(&shim.run_dir().join("shim.sock")).is_err());
    // As the daemon does.
    let roots = Arc::new(Roots::open().expect("opens"));
    let path = format!("/gantry-shim-test-{}", shim.id);
    let named = |hierarchy: &Hierarchy| (hierarchy.name.clone(), path.clone());
    let paths: Vec<_> = roots.hierarchies().iter().map(named).collect();
    let cgroup = roots.find(&paths);
    assert!(cgroup.kill_all().expect("kills"));
    assert!(pidfd::wait_for_end(&init, Some(10_000)).expect("is asked"));
    cgroup.remove().expect("is removed");
}

/// Valid packets with random damage: whatever is answered, the shim lives and still runs its container.
#[test]
fn damaged_packets_do_no_harm() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        stdin_once: true,
        ..Spec::args(&["/bin/cat"])
    };
    let client = shim.start(&spec, framed());
    let valid = [
        r#"{"seq":5,"request":{"signal":{"exec":null,"signal":0,"all":false}}}"#,
        r#"{"seq":5,"request":{"resize":{"exec":"abc","rows":24,"columns":80}}}"#,
        r#"{"seq":5,"request":{"attach":{"exec":null,"stdin":true,"stdout":true,"stderr":true,"framed":true,"detach_keys":[16,17],"input":[104,105]}}}"#,
        r#"{"seq":5,"request":{"exec":{"id":"abc","terminal":false,"open_stdin":true,"attach":[]}}}"#,
        r#"{"seq":5,"request":{"update":{"resources":{"memory":{"limit":100000000},"pids":{"limit":500}}}}}"#,
        r#"{"seq":5,"request":{"descriptors":{"roles":["config",{"mount":{"index":3}},{"namespace":{"kind":"network"}}]}}}"#,
        r#"{"seq":5,"request":"stats"}"#,
    ];
    let noise = crate::attach::noise(4000);
    for (round, random) in noise.chunks_exact(8).enumerate() {
        let mut packet = valid[round % valid.len()].as_bytes().to_vec();
        for change in random.chunks_exact(2) {
            // Not into another signal: that one is obeyed.
            let at = usize::from(change[0]) % packet.len();
            if !packet[at].is_ascii_digit() {
                packet[at] = change[1];
            }
        }
        shim.send_raw(&packet);
        if round % 50 == 0 {
            // Answers are taken off from time to time, as by a daemon that is busy.
            while shim.receives_within_ms(20) {
                shim.receive().expect("lives");
            }
        }
    }
    while shim.receives_within_ms(200) {
        shim.receive().expect("lives");
    }
    assert_eq!(shim.state().status, "running");
    drop(client);
    assert_eq!(shim.exited().exit_code, 0);
    shim.ends();
}
