//! The registry, killed at each of its failpoints and at random moments: what was acknowledged is there and whole afterwards,
//! and what was not has left nothing.

use gantry_testkit::daemon::executable;
use gantry_testkit::registry::{Answer, ask};
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry as a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(root: &Path, failpoints: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address");
        drop(free);
        let child = Command::new(executable("gantry"))
            .args(["registry", "serve", "--no-access-log", "--gc-lease", "0"])
            .args(["--addr", &address.to_string(), "--root"])
            .arg(root)
            .env("GANTRY_FAILPOINTS", failpoints)
            .stderr(Stdio::null())
            .spawn()
            .expect("gantry starts");
        let process = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }

    fn ask(&self, request: &str, kind: &str, body: &[u8]) -> Option<Answer> {
        ask(self.address, request, &[("Content-Type", kind)], body).ok()
    }

    fn push_blob(&self, content: &[u8]) -> Option<String> {
        let begun = self.ask("POST /v2/a/blobs/uploads/", "", b"")?;
        let location = begun.header("location").to_owned();
        let digest = digest(content);
        let half = content.len() / 2;
        self.ask(&format!("PATCH {location}"), "", &content[..half])?;
        let done = self.ask(
            &format!("PUT {location}?digest={digest}"),
            "",
            &content[half..],
        )?;
        (done.status == 201).then_some(digest)
    }

    /// Pushes an image of its own; gives its tag and what it consists of, if all of it was acknowledged.
    fn push(&self, number: usize) -> Option<(String, Vec<String>)> {
        let tag = format!("t{number}");
        let (config, layer) = (
            format!("config {number}"),
            format!("layer {number} ").repeat(2000),
        );
        let digests = vec![
            self.push_blob(config.as_bytes())?,
            self.push_blob(layer.as_bytes())?,
        ];
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "x/config", "digest": digests[0], "size": config.len()},
            "layers": [{"mediaType": "x/layer", "digest": digests[1], "size": layer.len()}],
        });
        let request = format!("PUT /v2/a/manifests/{tag}");
        let done = self.ask(&request, MANIFEST, manifest.to_string().as_bytes())?;
        (done.status == 201).then_some((tag, digests))
    }

    fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum runs");
    let mut input = sum.stdin.take().expect("is piped");
    std::io::Write::write_all(&mut input, bytes).expect("is read");
    drop(input);
    let output = sum.wait_with_output().expect("ends").stdout;
    format!("sha256:{}", String::from_utf8_lossy(&output[..64]))
}

/// Whatever was acknowledged is there and whole.
fn check(registry: &Process, acknowledged: &[(String, Vec<String>)]) {
    for (tag, blobs) in acknowledged {
        let manifest = registry.ask(&format!("GET /v2/a/manifests/{tag}"), "", b"");
        assert_eq!(manifest.expect("answers").status, 200, "{tag}");
        for blob in blobs {
            let got = registry
                .ask(&format!("GET /v2/a/blobs/{blob}"), "", b"")
                .expect("answers");
            assert_eq!((got.status, &digest(&got.body)), (200, blob), "{tag}");
        }
    }
}

fn files(root: &Path, folder: &str) -> usize {
    std::fs::read_dir(root.join(folder))
        .expect("is a folder")
        .count()
}

#[test]
fn the_registry_killed_at_every_failpoint() {
    for (failpoint, pushed) in [
        ("registry.blob_placed", 0),
        ("registry.manifest_placed", 0),
        ("registry.blobs_forgotten", 1),
    ] {
        let folder = tempfile::tempdir().expect("is made");
        let root = folder.path().join("root");
        let mut first = Process::start(&root, "");
        let before = first.push(1).expect("is acknowledged");
        first.kill();
        let mut second = Process::start(&root, &format!("{failpoint}=kill"));
        let acknowledged = second.push(2);
        assert_eq!(usize::from(acknowledged.is_some()), pushed, "{failpoint}");
        if pushed == 1 {
            // Only a collection gets there.
            let removed = second
                .ask("DELETE /v2/a/manifests/t2", "", b"")
                .expect("answers");
            assert_eq!(removed.status, 202);
            let pid = second.child.id().to_string();
            drop(Command::new("kill").args(["-USR1", &pid]).status());
        }
        let ended = second.child.wait().expect("ends");
        assert!(!ended.success(), "{failpoint} was not reached");
        drop(second);
        let third = Process::start(&root, "");
        check(&third, std::slice::from_ref(&before));
        let again = third.push(2).expect("goes on");
        check(&third, &[before, again]);
        assert_eq!(
            files(&root, "blobs/sha256"),
            6,
            "{failpoint} has left something"
        );
    }
}

#[test]
fn the_registry_killed_at_random_loses_nothing() {
    let folder = tempfile::tempdir().expect("is made");
    let root = folder.path().join("root");
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for round in 0..8_u64 {
        let registry = Process::start(&root, "");
        check(&registry, &acknowledged);
        let pid = registry.child.id().to_string();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30 + 37 * round));
            drop(Command::new("kill").args(["-KILL", &pid]).status());
        });
        loop {
            number += 1;
            match registry.push(number) {
                Some(image) => acknowledged.push(image),
                None => break,
            }
        }
        killer.join().expect("kills");
    }
    assert!(!acknowledged.is_empty());
    let registry = Process::start(&root, "");
    check(&registry, &acknowledged);
}
