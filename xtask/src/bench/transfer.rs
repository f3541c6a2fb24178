//! The measurements that move many bytes: logs, attached streams, images in and out.

use super::Setting;
use super::daemon::{Daemon, milliseconds};
use super::measure::{both, pair};
use super::report::{Goal, Row};
use gantry_testkit::http::Client;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

/// The image with the payload alone.
pub(super) const IMAGE: &str = "gantry-bench/payload:1";
const TREE_IMAGE: &str = "gantry-bench/tree:1";

/// Counts bytes and forgets them.
#[derive(Default)]
struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How fast output gets into the log, out of the log, and to an attached client.
pub(super) fn streams(setting: &Setting) -> Result<Vec<Row>, String> {
    let megabytes = if setting.quick { 20_u32 } else { 100 };
    let rounds = setting.rounds(5);
    let (mut writes, mut reads) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    for _ in 0..rounds {
        for (side, daemon) in [&setting.peer, &setting.ours].into_iter().enumerate() {
            let (write, read) = log_throughput(daemon, megabytes)?;
            writes[side].push(write);
            reads[side].push(read);
        }
    }
    let logged = both(setting, rounds, |daemon| {
        attach_throughput(daemon, megabytes, "json-file")
    })?;
    let alone = both(setting, rounds, |daemon| {
        attach_throughput(daemon, megabytes, "none")
    })?;
    Ok(vec![
        pair(
            "log written (json-file, lines of 100 bytes)",
            "MB/s",
            true,
            Goal::Multiple(10.0),
            writes,
        ),
        pair(
            "log read through the API",
            "MB/s",
            true,
            Goal::Multiple(10.0),
            reads,
        ),
        pair("attach, no log", "MB/s", true, Goal::Multiple(4.0), alone),
        pair("attach, with json-file", "MB/s", true, Goal::None, logged),
    ])
}

fn spammer(megabytes: u32, driver: &str) -> Value {
    json!({
        "Image": IMAGE,
        "Cmd": ["/payload", "spam", (u64::from(megabytes) * 1_000_000).to_string()],
        "AttachStdout": true,
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": driver}},
    })
}

fn log_throughput(daemon: &Daemon, megabytes: u32) -> Result<(f64, f64), String> {
    let mut client = daemon.connect();
    let name = &daemon.container(100);
    client.request(
        "POST",
        &format!("/containers/create?name={name}"),
        Some(&spammer(megabytes, "json-file")),
    )?;
    let began = Instant::now();
    client.request("POST", &format!("/containers/{name}/start"), None)?;
    client.request("POST", &format!("/containers/{name}/wait"), None)?;
    let written = f64::from(megabytes) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let mut counter = Counter::default();
    client.download(
        &format!("/containers/{name}/logs?stdout=1&stderr=1"),
        &mut counter,
    )?;
    let read = f64::from(megabytes) / began.elapsed().as_secs_f64();
    client.request("DELETE", &format!("/containers/{name}?force=1"), None)?;
    complete(daemon, counter.0, megabytes)?;
    Ok((written, read))
}

fn attach_throughput(daemon: &Daemon, megabytes: u32, driver: &str) -> Result<f64, String> {
    let mut client = daemon.connect();
    let name = &daemon.container(101);
    client.request(
        "POST",
        &format!("/containers/create?name={name}"),
        Some(&spammer(megabytes, driver)),
    )?;
    let mut stream = client.hijack(
        &format!("/containers/{name}/attach?stream=1&stdout=1&stderr=1"),
        &Value::Null,
    )?;
    let began = Instant::now();
    client.request("POST", &format!("/containers/{name}/start"), None)?;
    let mut counter = Counter::default();
    io::copy(&mut stream, &mut counter).map_err(|e| format!("attach to {}: {e}", daemon.label))?;
    let rate = f64::from(megabytes) / began.elapsed().as_secs_f64();
    client.request("DELETE", &format!("/containers/{name}?force=1"), None)?;
    complete(daemon, counter.0, megabytes)?;
    Ok(rate)
}

/// A fast stream that lost something is not fast.
fn complete(daemon: &Daemon, received: u64, megabytes: u32) -> Result<(), String> {
    let expected = u64::from(megabytes) * 1_000_000;
    if received >= expected {
        return Ok(());
    }
    Err(format!(
        "{} sent {received} of {expected} bytes",
        daemon.label
    ))
}

/// A tree of the size of a small distribution, in and out.
pub(super) fn images(setting: &Setting, tree: &Path) -> Result<Vec<Row>, String> {
    let rounds = setting.rounds(3);
    let saved = setting.folder.join("saved.tar");
    let imports = both(setting, rounds, |daemon| import_tree(daemon, tree))?;
    let saves = both(setting, rounds, |daemon| save(daemon, &saved))?;
    let loads = both(setting, rounds, |daemon| load(daemon, &saved))?;
    for daemon in [&setting.peer, &setting.ours] {
        remove_image(&mut daemon.connect())?;
    }
    let row = |name: &str, values| pair(name, "ms", false, Goal::None, values);
    Ok(vec![
        row("import of a system tree of 200 MB", imports),
        row("save of that image", saves),
        row("load of that image", loads),
    ])
}

fn import_tree(daemon: &Daemon, tree: &Path) -> Result<f64, String> {
    let mut client = daemon.connect();
    remove_image(&mut client)?;
    let mut file = open(tree)?;
    let began = Instant::now();
    let (repository, tag) = TREE_IMAGE.split_once(':').unwrap_or((TREE_IMAGE, "latest"));
    succeeded(
        &client
            .upload(
                &format!("/images/create?fromSrc=-&repo={repository}&tag={tag}"),
                &mut file,
            )?
            .body,
    )?;
    Ok(milliseconds(began.elapsed()))
}

fn save(daemon: &Daemon, target: &Path) -> Result<f64, String> {
    let mut file =
        File::create(target).map_err(|e| format!("cannot create {}: {e}", target.display()))?;
    let began = Instant::now();
    daemon
        .connect()
        .download(&format!("/images/{TREE_IMAGE}/get"), &mut file)?;
    Ok(milliseconds(began.elapsed()))
}

fn load(daemon: &Daemon, archive: &Path) -> Result<f64, String> {
    let mut client = daemon.connect();
    remove_image(&mut client)?;
    let mut file = open(archive)?;
    let began = Instant::now();
    succeeded(&client.upload("/images/load?quiet=1", &mut file)?.body)?;
    Ok(milliseconds(began.elapsed()))
}

fn remove_image(client: &mut Client) -> Result<(), String> {
    match client.request("DELETE", &format!("/images/{TREE_IMAGE}"), None) {
        Err(error) if !error.contains(": 404 ") => Err(error),
        _ => Ok(()),
    }
}

/// Makes the image with the payload known to a daemon.
pub(super) fn import_payload(daemon: &Daemon, archive: &[u8]) -> Result<(), String> {
    let (repository, tag) = IMAGE.split_once(':').unwrap_or((IMAGE, "latest"));
    let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}");
    succeeded(
        &daemon
            .connect()
            .upload(&path, &mut archive.take(archive.len() as u64))?
            .body,
    )
}

/// An upload's answer is a stream of JSON lines, and an error may be in the last.
pub(super) fn succeeded(body: &[u8]) -> Result<(), String> {
    let body = String::from_utf8_lossy(body);
    match body.lines().find(|l| l.contains("\"error\"")) {
        Some(line) => Err(line.to_owned()),
        None => Ok(()),
    }
}

fn open(path: &Path) -> Result<File, String> {
    File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))
}
