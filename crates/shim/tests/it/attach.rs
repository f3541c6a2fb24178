//! Attached clients: framing, input, several at once, slow ones.

use crate::world::{Client, PATIENCE, Spec, Zygote, demultiplex, framed, log_records, raw};
use gantry_shim_protocol::{Attach, FailureKind, Log, Reply, Request};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes that repeat nowhere soon.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn cat() -> Spec {
    Spec {
        open_stdin: true,
        stdin_once: true,
        log: Log::None,
        ..Spec::args(&["/bin/cat"])
    }
}

#[test]
fn input_comes_back_whole_and_half_close_ends_it() {
    let zygote = Zygote::start();
    for attach in [
        framed(),
        Attach {
            framed: false,
            ..framed()
        },
    ] {
        let mut shim = zygote.shim();
        let client = shim.start(&cat(), attach.clone());
        let sent = noise(64 * 1024 * 1024 + 12345);
        let mut writer = client.0.try_clone().expect("is cloned");
        let copy = sent.clone();
        let writer = std::thread::spawn(move || {
            writer.write_all(&copy).expect("is written");
            writer.shutdown(Shutdown::Write).expect("is half closed");
        });
        let received = client.rest();
        writer.join().expect("wrote all");
        let received = if attach.framed {
            demultiplex(&received).0
        } else {
            received
        };
        assert!(
            received == sent,
            "{} of {} bytes",
            received.len(),
            sent.len()
        );
        assert_eq!(shim.exited().exit_code, 0);
        shim.ends();
    }
}

#[test]
fn input_read_before_the_hand_over_comes_first() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let client = shim.start(
        &cat(),
        Attach {
            input: b"first ".to_vec(),
            ..framed()
        },
    );
    (&client.0).write_all(b"second").expect("is written");
    client.0.shutdown(Shutdown::Write).expect("is half closed");
    assert_eq!(client.streams().0, "first second");
    shim.exited();
    shim.ends();
}

#[test]
fn several_clients_see_what_they_asked_for() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("read go; echo out; echo err >&2; read end; echo late")
    };
    let both = shim.start(
        &spec,
        Attach {
            stdin: false,
            ..framed()
        },
    );
    let stdout = shim.attach(Attach {
        stdin: false,
        stderr: false,
        ..framed()
    });
    let stderr = shim.attach(Attach {
        stdin: false,
        stdout: false,
        framed: false,
        ..framed()
    });
    let mut input = shim.attach(Attach {
        stderr: false,
        framed: false,
        ..framed()
    });
    input.0.write_all(b"go\n").expect("is written");
    input.expect("out\n");
    let late = shim.attach(Attach {
        stdin: false,
        ..framed()
    });
    input.0.write_all(b"end\n").expect("is written");
    assert_eq!(shim.exited().exit_code, 0);
    assert_eq!(both.streams(), ("out\nlate\n".into(), "err\n".into()));
    assert_eq!(stdout.streams(), ("out\nlate\n".into(), String::new()));
    assert_eq!(stderr.rest(), b"err\n");
    assert_eq!(late.streams().0, "late\n");
    assert_eq!(input.rest(), b"late\n");
    shim.ends();
}

/// As with Docker: where input does not close standard input, its end ends the client.
#[test]
fn without_stdin_once_a_client_leaves_by_its_end_of_input() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::args(&["/bin/cat"])
    };
    let mut first = shim.start(&spec, framed());
    first.0.write_all(b"one\n").expect("is written");
    first.expect("one\n");
    first.0.shutdown(Shutdown::Write).expect("is half closed");
    assert_eq!(first.rest(), b"");
    let mut second = shim.attach(framed());
    second.0.write_all(b"two\n").expect("is written");
    second.expect("two\n");
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: false
        }),
        Reply::Ok
    );
    assert_eq!(shim.exited().exit_code, 137);
    assert_eq!(
        log_records(&shim.log_path())
            .iter()
            .map(|(text, _)| text.as_str())
            .collect::<String>(),
        "one\ntwo\n"
    );
    shim.ends();
}

#[test]
fn a_client_that_vanishes_harms_nobody() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh("while read line; do echo $line; done; echo end")
    };
    let mut stays = shim.start(
        &Spec {
            stdin_once: true,
            ..spec
        },
        Attach {
            stdin: false,
            ..framed()
        },
    );
    let goes = shim.attach(framed());
    (&goes.0).write_all(b"a\nb\n").expect("is written");
    drop(goes);
    // What it had written counts, and its leaving closed the input.
    stays.expect("end\n");
    assert_eq!(shim.exited().exit_code, 0);
    let text: String = log_records(&shim.log_path())
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    assert_eq!(text, "a\nb\nend\n");
    shim.ends();
}

/// Nothing that a slow but living client is owed is lost, and unread input does not turn the end into an error.
#[test]
fn a_slow_client_gets_everything() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let spec = Spec {
        open_stdin: true,
        ..Spec::sh(
            "i=0; while [ $i -lt 40 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done",
        )
    };
    let mut client = shim.start(&spec, raw());
    (&client.0).write_all(b"never read").expect("is written");
    client.0.set_read_timeout(Some(PATIENCE)).expect("is set");
    let mut received = 0;
    let mut buffer = vec![0; 50_000];
    loop {
        match client.0.read(&mut buffer).expect("is no error") {
            0 => break,
            length => received += length,
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(received, 40 * 100_001);
    assert_eq!(shim.exited().log_bytes_dropped, 0);
    shim.ends();
}

/// A client that does not read holds the output back, the rest of the shim works, and the end is not held back.
#[test]
fn a_client_that_does_not_read_does_not_block_the_shim() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let stuck = shim.start(
        &Spec {
            log: Log::None,
            ..Spec::args(&["/usr/bin/yes"])
        },
        raw(),
    );
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(shim.state().status, "running");
    assert_eq!(
        shim.ask(Request::Signal {
            exec: None,
            signal: 9,
            all: false
        }),
        Reply::Ok
    );
    let start = Instant::now();
    assert_eq!(shim.exited().exit_code, 137);
    assert!(
        start.elapsed() < Duration::from_secs(25),
        "told after {:?}",
        start.elapsed()
    );
    // It still gets what was waiting for it in its socket and in the pipe, and then the end.
    assert!(stuck.rest().len() > 128 * 1024);
    shim.is_gone();
}

#[test]
fn unusable_sockets_are_refused() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let client = shim.start(
        &Spec {
            open_stdin: true,
            stdin_once: true,
            ..cat()
        },
        framed(),
    );
    let pipe = std::io::pipe().expect("is made").1;
    for result in [
        shim.ask_with(Request::Attach(framed()), &[pipe.as_fd()]),
        shim.ask_with(Request::Attach(framed()), &[]),
        shim.ask_with(Request::Attach(framed()), &[pipe.as_fd(), pipe.as_fd()]),
    ] {
        assert!(
            matches!(&result, Reply::Failed(failure) if failure.kind == FailureKind::Invalid),
            "{result:?}"
        );
    }
    let (socket, _) = UnixStream::pair().expect("is made");
    let result = shim.ask_with(
        Request::Attach(Attach {
            exec: Some("x".into()),
            ..framed()
        }),
        &[socket.as_fd()],
    );
    assert!(
        matches!(&result, Reply::Failed(failure) if failure.kind == FailureKind::NoSuchProcess),
        "{result:?}"
    );
    drop(client);
    assert_eq!(shim.exited().exit_code, 0);
    shim.ends();
}

#[test]
fn a_client_that_asks_for_no_stream_learns_of_the_end() {
    let zygote = Zygote::start();
    let mut shim = zygote.shim();
    let nothing = Attach {
        stdin: false,
        stdout: false,
        stderr: false,
        ..framed()
    };
    let watcher = shim.start(&Spec::sh("echo x"), nothing);
    assert_eq!(Client::rest(watcher), b"");
    shim.exited();
    shim.ends();
}
