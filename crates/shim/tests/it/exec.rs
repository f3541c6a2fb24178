//! Further processes in a running container.

use crate::world::{Client, Shim, Spec, Zygote, framed, process, raw};
use gantry_shim_protocol::{Attach, Event, Exec, ExecExit, FailureKind, FdRole, Reply, Request};
use gantry_sys::memfd;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

pub(crate) fn exec(
    shim: &mut Shim,
    id: &str,
    args: &[&str],
    terminal: bool,
    attach: Attach,
) -> (Reply, Client) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let document = serde_json::to_vec(&process(&args, terminal, 0, 0)).expect("is JSON");
    let document = memfd::sealed_bytes("process", &document).expect("is made");
    let (ours, theirs) = UnixStream::pair().expect("is made");
    let roles = vec![FdRole::Process, FdRole::Attach { index: 0 }];
    shim.send(
        Request::Descriptors { roles },
        &[document.as_fd(), theirs.as_fd()],
    );
    drop(theirs);
    let attach = Attach {
        exec: Some(id.to_owned()),
        ..attach
    };
    let reply = shim.ask(Request::Exec(Exec {
        id: id.to_owned(),
        terminal,
        open_stdin: true,
        attach: vec![attach],
    }));
    (reply, Client(ours))
}

fn sleeping(zygote: &Zygote) -> Shim {
    let mut shim = zygote.shim();
    shim.start(
        &Spec::sh("trap 'exit 0' TERM; while :; do sleep 0.05; done"),
        framed(),
    );
    shim
}

fn stop(mut shim: Shim) {
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: false
        }),
        Reply::Ok
    );
    assert_eq!(shim.exited().exit_code, 137);
    shim.ends();
}

#[test]
fn output_input_and_exit_codes_arrive() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    let (reply, client) = exec(
        &mut shim,
        "e1",
        &["/bin/sh", "-c", "cat; echo err >&2; exit 9"],
        false,
        framed(),
    );
    let Reply::Started { pid, .. } = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(shim.state().execs, [("e1".to_owned(), pid)]);
    (&client.0).write_all(b"in").expect("is written");
    client.0.shutdown(Shutdown::Write).expect("is half closed");
    assert_eq!(client.streams(), ("in".into(), "err\n".into()));
    assert_eq!(
        shim.event(),
        Event::ExecExited {
            id: "e1".into(),
            exit_code: 9
        }
    );
    assert_eq!(shim.state().execs, []);
    assert!(!shim.run_dir().join("exec-e1.json").exists());
    stop(shim);
}

#[test]
fn it_has_three_descriptors() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    for terminal in [false, true] {
        let args = ["/bin/ls", "/proc/self/fd"];
        let (reply, client) = exec(&mut shim, "e1", &args, terminal, raw());
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
        let listed = String::from_utf8(client.rest()).expect("is text");
        // The fourth is the directory itself.
        let listed: Vec<&str> = listed.split_whitespace().collect();
        assert_eq!(listed, ["0", "1", "2", "3"]);
        assert!(matches!(shim.event(), Event::ExecExited { .. }));
    }
    stop(shim);
}

#[test]
fn failures_are_classified() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    let (reply, _) = exec(&mut shim, "e1", &["/no/such"], false, framed());
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.kind == FailureKind::CommandNotFound),
        "{reply:?}"
    );
    let (reply, _) = exec(&mut shim, "../e", &["/bin/true"], false, framed());
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.kind == FailureKind::Invalid),
        "{reply:?}"
    );
    let reply = shim.ask(Request::Signal {
        exec: Some("e1".into()),
        signal: 9,
        all: false,
    });
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.kind == FailureKind::NoSuchProcess),
        "{reply:?}"
    );
    let (reply, _first) = exec(&mut shim, "e2", &["/bin/cat"], false, framed());
    assert!(matches!(reply, Reply::Started { .. }));
    let (reply, _) = exec(&mut shim, "e2", &["/bin/cat"], false, framed());
    assert!(
        matches!(&reply, Reply::Failed(failure) if failure.kind == FailureKind::Invalid),
        "{reply:?}"
    );
    stop(shim);
}

#[test]
fn signals_and_terminals_work() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    let (reply, mut client) = exec(
        &mut shim,
        "e1",
        &["/bin/sh", "-c", "tty; echo ready; exec sleep 100"],
        true,
        raw(),
    );
    assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
    assert!(client.expect("ready").contains("/dev/pts/"));
    let reply = shim.ask(Request::Resize {
        exec: Some("e1".into()),
        rows: 10,
        columns: 20,
    });
    assert_eq!(reply, Reply::Ok);
    assert_eq!(
        shim.ask(Request::Signal {
            exec: Some("e1".into()),
            signal: 2,
            all: false
        }),
        Reply::Ok
    );
    assert_eq!(
        shim.event(),
        Event::ExecExited {
            id: "e1".into(),
            exit_code: 130
        }
    );
    stop(shim);
}

/// A child that keeps the pipe open delays the end by two seconds at most, and its output in that time arrives.
#[test]
fn background_children_do_not_hang_it() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    let script = "(sleep 0.1; echo late; exec sleep 100) & echo early";
    let (reply, client) = exec(&mut shim, "e1", &["/bin/sh", "-c", script], false, framed());
    assert!(matches!(reply, Reply::Started { .. }));
    let start = std::time::Instant::now();
    assert_eq!(client.streams().0, "early\nlate\n");
    assert!(start.elapsed().as_secs() < 25);
    assert_eq!(
        shim.event(),
        Event::ExecExited {
            id: "e1".into(),
            exit_code: 0
        }
    );
    stop(shim);
}

#[test]
fn ends_without_a_daemon_are_kept_for_the_next_one() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    let (reply, client) = exec(
        &mut shim,
        "e1",
        &["/bin/sh", "-c", "read x; exit 4"],
        false,
        framed(),
    );
    assert!(matches!(reply, Reply::Started { .. }));
    shim.lose_daemon();
    drop(client);
    let path = shim.run_dir().join("exec-e1.json");
    let end = std::time::Instant::now() + crate::world::PATIENCE;
    while !path.exists() {
        assert!(std::time::Instant::now() < end);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let kept: ExecExit =
        serde_json::from_slice(&std::fs::read(path).expect("is read")).expect("is JSON");
    assert_eq!(kept.exit_code, 4);
    shim.reconnect();
    assert_eq!(
        shim.event(),
        Event::ExecExited {
            id: "e1".into(),
            exit_code: 4
        }
    );
    stop(shim);
}

#[test]
fn the_end_of_the_container_comes_after_that_of_its_execs() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    for id in ["e1", "e2", "e3"] {
        let (reply, _) = exec(&mut shim, id, &["/bin/sleep", "1000"], false, framed());
        assert!(matches!(reply, Reply::Started { .. }));
    }
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: false
        }),
        Reply::Ok
    );
    let mut ended = Vec::new();
    loop {
        match shim.event() {
            Event::ExecExited { id, exit_code: 137 } => ended.push(id),
            Event::Exited(exit) => break assert_eq!(exit.exit_code, 137),
            other => panic!("{other:?}"),
        }
    }
    ended.sort();
    assert_eq!(ended, ["e1", "e2", "e3"]);
    shim.ends();
}

/// A client that sees its stream end asks how the process ended: the daemon has been told by then.
#[test]
fn the_end_is_told_before_streams_end() {
    let zygote = Zygote::start();
    let mut shim = sleeping(&zygote);
    for round in 0..50 {
        let id = format!("e{round}");
        let args = ["/bin/sh", "-c", "echo x; exit 9"];
        let (reply, client) = exec(&mut shim, &id, &args, false, framed());
        assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
        assert_eq!(client.streams().0, "x\n");
        assert!(shim.has_news(), "round {round}");
        assert!(matches!(
            shim.event(),
            Event::ExecExited { exit_code: 9, .. }
        ));
    }
    stop(shim);
    let mut shim = zygote.shim();
    let client = shim.start(&Spec::sh("echo x"), framed());
    client.rest();
    assert!(shim.has_news());
    shim.exited();
    shim.ends();
}
