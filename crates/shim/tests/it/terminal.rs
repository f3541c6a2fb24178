//! Containers with a pseudo-terminal.

use crate::world::{Spec, Zygote, log_records, raw};
use gantry_shim_protocol::{Event, Reply, Request};
use std::io::Write;

fn terminal(script: &str) -> Spec {
    Spec {
        terminal: true,
        open_stdin: true,
        ..Spec::sh(script)
    }
}

#[test]
fn a_terminal_has_a_size_and_one_stream() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let mut client = shim.start(
        &terminal("tty; read x; stty size; echo err >&2; read y; exit 6"),
        raw(),
    );
    client.expect("/dev/");
    assert_eq!(
        shim.ask(Request::Resize {
            exec: None,
            rows: 33,
            columns: 111
        }),
        Reply::Ok
    );
    client.0.write_all(b"x\n").expect("is written");
    client.expect("33 111\r\n");
    client.expect("err\r\n");
    client.0.write_all(b"y\n").expect("is written");
    assert_eq!(shim.exited().exit_code, 6);
    let records = log_records(&shim.log_path());
    assert!(
        records.iter().all(|(_, stream)| stream == "stdout"),
        "{records:?}"
    );
    assert!(
        records.contains(&("33 111\r\n".into(), "stdout".into())),
        "{records:?}"
    );
    shim.ends();
}

#[test]
fn detach_keys_leave_the_process_running() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let mut client = shim.start(
        &terminal("stty -echo raw; echo ready; head -c 6 | od -An -tx1; sleep 1000"),
        raw(),
    );
    client.expect("ready");
    client.0.write_all(b"\x10a\x10").expect("is written");
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.0.write_all(b"\x11never").expect("is written");
    assert_eq!(shim.event(), Event::Detached { exec: None });
    assert!(client.rest().trim_ascii().is_empty());
    assert_eq!(shim.state().status, "running");
    // The broken sequence was given on, the complete one was not.
    let mut again = shim.attach(raw());
    again.0.write_all(b"bcde").expect("is written");
    again.expect("10 61 62 63 64 65");
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
fn resizing_needs_a_terminal() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    shim.start(&Spec::sh("sleep 1000"), raw());
    let reply = shim.ask(Request::Resize {
        exec: None,
        rows: 1,
        columns: 1,
    });
    assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: false
        }),
        Reply::Ok
    );
    shim.exited();
    shim.ends();
}
