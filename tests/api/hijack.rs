//! Connections that become raw streams: the heads of the answers, frames, and half-closed clients, byte by byte.

use crate::both::Both;
use gantry_testkit::world;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

#[test]
fn streams_are_alike_to_the_byte() {
    if !world::enter("hijack::streams_are_alike_to_the_byte") {
        return;
    }
    let Some(both) = Both::start("hijack") else {
        return;
    };
    both.create("busy", &json!({"Cmd": ["sleep", "1000"]}));
    both.same("POST", "/v1.51/containers/@busy/start", None);
    for version in ["1.51", "1.41"] {
        for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
            let exec = |tty: bool| {
                json!({
                    "Cmd": ["sh", "-c", "read x; echo out $x; cat; echo err >&2"],
                    "AttachStdin": true, "AttachStdout": true, "AttachStderr": !tty, "Tty": tty
                })
            };
            let run = |socket: &Path, client: &mut gantry_testkit::http::Client| {
                let path = format!("/v{version}/containers/{}/exec", both.name("busy"));
                let made = client
                    .json("POST", &path, Some(&exec(false)))
                    .expect("an exec is made");
                let id = made["Id"].as_str().expect("an exec has an id").to_owned();
                let body = json!({"Tty": false, "Detach": false});
                talk(
                    socket,
                    &format!("/v{version}/exec/{id}/start"),
                    upgrade,
                    &body,
                    b"one\ntwo\n",
                )
            };
            let [mut ours, mut peer] = both.clients();
            let answers = [
                run(&both.ours.socket(), &mut ours),
                run(&both.peer.socket, &mut peer),
            ];
            compare(&both, &format!("exec {version} {upgrade:?}"), &answers);
        }
    }
    attach(&both);
    both.finish();
}

/// Attaches before the start, as `docker run` does.
fn attach(both: &Both) {
    let script = "cat; echo done";
    both.create(
        "cat",
        &json!({
            "Cmd": ["sh", "-c", script], "OpenStdin": true, "StdinOnce": true,
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true
        }),
    );
    let path = format!(
        "/v1.51/containers/{}/attach?stream=1&stdin=1&stdout=1&stderr=1",
        both.name("cat")
    );
    let sockets = [both.ours.socket(), both.peer.socket.clone()];
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    let streams = sockets.map(|socket| send(&socket, &path, upgrade, &Value::Null));
    both.same("POST", "/v1.51/containers/@cat/start", None);
    let answers = streams.map(|mut stream| {
        stream.write_all(b"hello\n").expect("the daemon reads");
        stream.shutdown(Shutdown::Write).expect("is connected");
        rest(stream)
    });
    compare(both, "attach", &answers);
    both.same("POST", "/v1.51/containers/@cat/wait", None);
}

fn talk(socket: &Path, path: &str, upgrade: &str, body: &Value, input: &[u8]) -> Vec<u8> {
    let mut stream = send(socket, path, upgrade, body);
    // dockerd loses input that comes with the request; ours keeps it, which its own tests show.
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream
            .read_exact(&mut byte)
            .expect("the daemon sends a head");
        answer.push(byte[0]);
    }
    stream.write_all(input).expect("the daemon reads");
    stream.shutdown(Shutdown::Write).expect("is connected");
    answer.extend(rest(stream));
    answer
}

fn send(socket: &Path, path: &str, upgrade: &str, body: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("is a socket");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: d\r\n{upgrade}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the daemon reads");
    stream
}

fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the daemon answers and closes");
    answer
}

/// Compares first line, content type and upgrade, and the bytes of each stream after the head.
fn compare(both: &Both, what: &str, answers: &[Vec<u8>; 2]) {
    let parts = answers.each_ref().map(|answer| {
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map_or(answer.len(), |at| at + 4);
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let kept: Vec<String> = head
            .lines()
            .filter(|line| {
                let name = line
                    .split(':')
                    .next()
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                line.starts_with("HTTP/")
                    || matches!(name.as_str(), "content-type" | "connection" | "upgrade")
            })
            .map(str::to_owned)
            .collect();
        (kept, streams(&answer[end..]))
    });
    if parts[0] != parts[1] {
        both.note(format!(
            "{what}\n    Gantry:  {:?}\n    dockerd: {:?}",
            parts[0], parts[1]
        ));
    }
}

/// The bytes of stdout and of stderr, whatever the size of frames.
fn streams(mut framed: &[u8]) -> [String; 2] {
    let mut texts = [Vec::new(), Vec::new()];
    while let [kind, _, _, _, a, b, c, d, payload @ ..] = framed {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let length = length.min(payload.len());
        texts[usize::from(*kind == 2)].extend_from_slice(&payload[..length]);
        framed = &payload[length..];
    }
    texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
