//! Attached containers: the order of requests, both output streams, input until its end, exit statuses, pulls.

use crate::fake_api::{Recorded, Reply};
use crate::golden::{World, gantry};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

const ID: &str = "1f2e3d4c5b6a79880123456789abcdef0123456789abcdef0123456789abcdef";

fn frame(kind: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("is short").to_be_bytes();
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(length);
    bytes.extend(text.bytes());
    bytes
}

/// Reads input to its end, then writes to both outputs what it was.
fn echo(mut stream: UnixStream) {
    let mut input = String::new();
    stream.read_to_string(&mut input).expect("can read");
    stream
        .write_all(&frame(1, &format!("out: {input}\n")))
        .expect("can write");
    stream.write_all(&frame(2, "err\n")).expect("can write");
    stream.shutdown(Shutdown::Both).expect("can close");
}

/// Writes without reading first.
fn speak(mut stream: UnixStream) {
    stream.write_all(&frame(1, "hello\n")).expect("can write");
    stream.write_all(&frame(2, "warning\n")).expect("can write");
}

/// An image's name says how its container behaves.
fn answer(request: &Recorded) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let image = body["Image"].as_str().unwrap_or_default();
    let id_of = |end: &str| format!("{}{end}", &ID[..60]);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("POST", ["containers", "create"]) => match image {
            "missing" => Reply::Json(404, r#"{"message":"No such image: missing:latest"}"#.into()),
            "taken" => Reply::Json(409, r#"{"message":"Conflict. The container name \"/x\" is already in use"}"#.into()),
            _ => Reply::Json(201, format!(r#"{{"Id":"{}","Warnings":[]}}"#, id_of(image))),
        },
        ("POST", ["images", "create"]) => {
            Reply::Json(404, r#"{"message":"pull access denied for missing"}"#.into())
        }
        ("POST", ["containers", id, "attach"]) => {
            let is_mute = ["none", "deny", "port"].iter().any(|end| id.ends_with(end));
            Reply::Hijack(Box::new(if id.ends_with("echo") { echo } else if is_mute { drop } else { speak }))
        }
        ("POST", ["containers", id, "wait"]) => {
            let status = if id.ends_with("ends") { 42 } else { 0 };
            Reply::Json(200, format!(r#"{{"StatusCode":{status}}}"#))
        }
        ("POST", ["containers", id, "start"]) => match &id[60.min(id.len())..] {
            "none" => Reply::Json(400, r#"{"message":"failed to create task: exec: \"x\": executable file not found in $PATH"}"#.into()),
            "deny" => Reply::Json(400, r#"{"message":"failed to create task: exec: \"/etc\": permission denied"}"#.into()),
            "port" => Reply::Json(500, r#"{"message":"port is already allocated"}"#.into()),
            _ => Reply::Json(204, String::new()),
        },
        ("GET", ["containers", name, "json"]) => Reply::Json(
            200,
            format!(
                r#"{{"Id":"{}","State":{{"Status":"running","Running":{}}},"Config":{{"Tty":false,"OpenStdin":true}},"HostConfig":{{"AutoRemove":false}}}}"#,
                id_of(name),
                *name != "stop"
            ),
        ),
        ("GET", ["containers", _, "logs"]) => {
            let bytes = [frame(1, "one\n"), frame(2, "two\n"), frame(1, "three\n")].concat();
            Reply::Bytes(200, "application/vnd.docker.multiplexed-stream", bytes)
        }
        ("POST", ["containers", _, "exec"]) => Reply::Json(201, r#"{"Id":"exec1"}"#.into()),
        ("POST", ["exec", "exec1", "start"]) if body["Detach"] == true => Reply::Json(200, String::new()),
        ("POST", ["exec", "exec1", "start"]) => Reply::Hijack(Box::new(speak)),
        ("GET", ["exec", "exec1", "json"]) => Reply::Json(200, r#"{"ID":"exec1","Running":false,"ExitCode":5}"#.into()),
        _ => Reply::Json(500, r#"{"message":"not in the script"}"#.into()),
    }
}

#[test]
fn attached_commands_ask_and_end_as_dockers_do() {
    World::new(&[], answer).compare("streams");
}

#[test]
fn input_reaches_the_container_and_its_end_too() {
    let world = World::new(&[], answer);
    let mut child = world
        .command(&gantry())
        .args(["run", "-i", "--rm", "echo"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("can run");
    let mut stdin = child.stdin.take().expect("is piped");
    stdin.write_all(&vec![b'x'; 300_000]).expect("is read");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.stdout.len(), "out: \n".len() + 300_000);
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn input_from_a_file_is_read_to_its_end() {
    let world = World::new(&[], answer);
    let file = tempfile::NamedTempFile::new().expect("can create");
    std::fs::write(file.path(), "from a file").expect("can write");
    let input = std::fs::File::open(file.path()).expect("can open");
    let output = world
        .command(&gantry())
        .args(["run", "-i", "echo"])
        .stdin(input)
        .output()
        .expect("can run");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out: from a file\n"
    );
}

#[test]
fn no_daemon_is_said_at_once() {
    let world = World::new(&[], answer);
    let output = world
        .command(&gantry())
        .env("DOCKER_HOST", "unix:///nonexistent/x.sock")
        .arg("ps")
        .output()
        .expect("can run");
    assert_eq!(output.status.code(), Some(1));
    let expected = "Cannot connect to the Docker daemon at unix:///nonexistent/x.sock. Is the docker daemon running?\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn a_closed_pipe_ends_the_program() {
    let world = World::new(&[], answer);
    let mut child = world
        .command(&gantry())
        .arg("--help")
        .stdout(Stdio::piped())
        .spawn()
        .expect("can run");
    drop(child.stdout.take());
    let status = child.wait().expect("ends");
    assert!(matches!(status.code(), Some(0 | 141)), "{status}");
}
