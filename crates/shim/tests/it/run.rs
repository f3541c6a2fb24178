//! Containers from start to end.

use crate::world::{Spec, Zygote, framed, outcome};
use gantry_shim_protocol::{Event, FailureKind, Log, Reply, Request};

#[test]
fn output_and_exit_codes_arrive() {
    let zygote = Zygote::start();
    assert_eq!(
        outcome(&zygote, &Spec::args(&["/bin/true"])),
        (0, String::new(), String::new())
    );
    assert_eq!(
        outcome(&zygote, &Spec::sh("echo out; echo err >&2; exit 7")),
        (7, "out\n".into(), "err\n".into())
    );
    assert_eq!(
        outcome(&zygote, &Spec::sh("sh -c 'kill -KILL $$'; exit $?")).0,
        137
    );
}

#[test]
fn what_cannot_be_executed_is_classified() {
    let zygote = Zygote::start();
    for (program, kind) in [
        ("/no/such/program", FailureKind::CommandNotFound),
        ("/etc/passwd", FailureKind::CommandNotExecutable),
    ] {
        let mut shim = zygote.shim();
        match shim.run(&Spec::args(&[program]), Vec::new()) {
            Reply::Failed(failure) => assert_eq!(failure.kind, kind, "{failure:?}"),
            other => panic!("{other:?}"),
        }
        shim.ends();
        assert!(!shim.run_dir().join("exit.json").exists());
    }
}

#[test]
fn signals_reach_init() {
    let zygote = Zygote::start();
    for (signal, code) in [(15, 43), (9, 137), (35, 44)] {
        let mut shim = zygote.shim();
        let script =
            "trap 'exit 43' TERM; trap 'exit 44' 35; echo ready; while :; do sleep 0.05; done";
        let mut client = shim.start(&Spec::sh(script), framed());
        client.expect("ready");
        assert_eq!(
            shim.ask(Request::Signal {
                exec: None,
                signal,
                all: false
            }),
            Reply::Ok
        );
        assert_eq!(shim.exited().exit_code, code);
        shim.ends();
    }
}

#[test]
fn every_process_is_signalled_at_once() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let mut client = shim.start(
        &Spec::sh("sleep 1000 & sleep 1000 & echo ready; wait; wait"),
        framed(),
    );
    client.expect("ready");
    let Reply::Processes(processes) = shim.ask(Request::Processes) else {
        panic!("no processes")
    };
    assert_eq!(processes.len(), 3);
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: true
        }),
        Reply::Ok
    );
    assert_eq!(shim.exited().exit_code, 137);
    shim.ends();
}

#[test]
fn a_process_has_three_descriptors_and_no_trace_of_the_shim() {
    let zygote = Zygote::start();
    let script = "ls /proc/self/fd; grep -E '^(SigBlk|SigIgn)' /proc/self/status; cat /proc/self/oom_score_adj; \
                  ls -ld /dev/null | cut -c1; readlink /proc/1/exe";
    let (code, stdout, stderr) = outcome(&zygote, &Spec::sh(script));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    // `ls` has one descriptor of its own, for the directory.
    assert_eq!(lines[..4], ["0", "1", "2", "3"], "{stdout}");
    assert_eq!(
        lines[4..7],
        [
            "SigBlk:\t0000000000000000",
            "SigIgn:\t0000000000000000",
            "0"
        ],
        "{stdout}"
    );
    assert!(!lines[8].contains("gantry"), "{stdout}");
}

#[test]
fn output_may_be_reopened_by_an_ordinary_user() {
    let zygote = Zygote::start();
    let spec = Spec {
        uid: 1000,
        ..Spec::sh("id -u; echo out > /dev/stdout; echo err > /dev/stderr")
    };
    assert_eq!(
        outcome(&zygote, &spec),
        (0, "1000\nout\n".into(), "err\n".into())
    );
}

#[test]
fn an_init_reaps_and_forwards() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let script = "trap 'exit 5' TERM; echo $$ ready; while :; do sleep 0.05; done";
    let mut client = shim.start(
        &Spec {
            init: true,
            ..Spec::sh(script)
        },
        framed(),
    );
    let seen = client.expect("ready");
    assert!(
        !seen.contains("\u{0}1 ready") && !seen.ends_with(" 1 ready"),
        "the program is not process 1: {seen:?}"
    );
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 15,
            all: false
        }),
        Reply::Ok
    );
    assert_eq!(shim.exited().exit_code, 5);
    shim.ends();
}

#[test]
fn without_own_pids_the_rest_ends_with_init() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        own_pids: false,
        ..Spec::sh(
            "(trap '' TERM HUP; echo child; : > /tmp/ready; exec sleep 1000) & until [ -e /tmp/ready ]; do sleep 0.01; done; exit 3",
        )
    };
    let client = shim.start(&spec, framed());
    assert_eq!(shim.exited().exit_code, 3);
    assert_eq!(client.streams().0, "child\n");
    shim.ends();
}

#[test]
fn nothing_is_logged_if_nothing_is_to_be_logged() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let client = shim.start(
        &Spec {
            log: Log::None,
            ..Spec::sh("echo x")
        },
        framed(),
    );
    assert_eq!(
        shim.event(),
        Event::Exited(gantry_shim_protocol::Exit { ..shim_exit(&shim) })
    );
    assert_eq!(client.streams().0, "x\n");
    assert!(!shim.log_path().exists());
    shim.ends();
}

fn shim_exit(shim: &crate::world::Shim) -> gantry_shim_protocol::Exit {
    let path = shim.run_dir().join("exit.json");
    let end = std::time::Instant::now() + crate::world::PATIENCE;
    while !path.exists() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    serde_json::from_slice(&std::fs::read(path).expect("was written")).expect("is JSON")
}

/// Many short lives at once: every output and exit code is its own, and nothing is left of any.
#[test]
fn many_containers_at_once_do_not_disturb_each_other() {
    let zygote = Zygote::start();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let zygote = &zygote;
            scope.spawn(move || {
                for round in 0..15 {
                    let number = thread * 15 + round;
                    let spec =
                        Spec::sh(&format!("echo {number}; echo e{number} >&2; exit {number}"));
                    let (code, stdout, stderr) = outcome(zygote, &spec);
                    assert_eq!(code, number);
                    assert_eq!(
                        (stdout, stderr),
                        (format!("{number}\n"), format!("e{number}\n"))
                    );
                }
            });
        }
    });
    let children = format!("/proc/{0}/task/{0}/children", zygote.pid());
    let children = std::fs::read_to_string(children).expect("is read");
    assert_eq!(children.trim(), "", "shims of the zygote");
}
