//! The operations that the crash tests do, over the plain API.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;

/// The image that is part of the program.
pub(crate) const IMAGE: &str = "gantry/hello";

/// Every failpoint in the daemon's sources, so that a new one is tested without anybody remembering it here.
pub(crate) fn failpoints() -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut names = Vec::new();
    for krate in ["engine", "image", "network"] {
        collect(&sources.join(krate).join("src"), &mut names);
    }
    names.sort();
    names.dedup();
    assert!(
        names.len() >= 15,
        "only {} failpoints found: is the pattern still right?",
        names.len()
    );
    names
}

fn collect(directory: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory)
        .expect("sources can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, names);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for part in text.split("failpoint!(\"").skip(1) {
            names.extend(part.split('"').next().map(str::to_owned));
        }
    }
}

/// A request to create a serving container, with a published port or not.
pub(crate) fn body(port: Option<u16>) -> Value {
    let mut body = json!({"Image": IMAGE, "Cmd": ["serve"], "HostConfig": {}});
    if let Some(port) = port {
        body["ExposedPorts"] = json!({"80/tcp": {}});
        body["HostConfig"]["PortBindings"] =
            json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]});
    }
    body
}

/// Creates and starts; none when the daemon died meanwhile.
pub(crate) fn run(client: &mut Client, name: &str, port: Option<u16>) -> Option<String> {
    let created = client
        .json(
            "POST",
            &format!("/containers/create?name={name}"),
            Some(&body(port)),
        )
        .ok()?;
    let id = created["Id"].as_str()?.to_owned();
    client
        .request("POST", &format!("/containers/{id}/start"), None)
        .ok()?;
    Some(id)
}

/// Whether the port answers with the page of the container, which may need a moment after its start.
pub(crate) fn serves(port: u16) -> bool {
    (0..100).any(|_| {
        let answered = answers(port);
        if !answered {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        answered
    })
}

pub(crate) fn answers(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let patience = std::time::Duration::from_secs(10);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&address, patience) else {
        return false;
    };
    if stream.set_read_timeout(Some(patience)).is_err() {
        return false;
    }
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let mut text = String::new();
    asked.is_ok() && stream.read_to_string(&mut text).is_ok() && text.contains("200 OK")
}

/// Removes every container through the API and asserts that nothing is left.
pub(crate) fn remove_all(daemon: &Daemon, when: &str) {
    let mut client = daemon.client();
    let all = client
        .json("GET", "/containers/json?all=1", None)
        .expect("containers can be listed");
    for container in all.as_array().expect("a list") {
        let id = container["Id"].as_str().expect("an id");
        let removed = client.request("DELETE", &format!("/containers/{id}?force=1"), None);
        assert!(removed.is_ok(), "{when}: {removed:?}");
    }
    daemon.assert_clean(when);
}

/// Nobody holds the port any more.
pub(crate) fn assert_port_is_free(port: u16, when: &str) {
    let bound = TcpListener::bind(("127.0.0.1", port));
    assert!(
        bound.is_ok(),
        "{when}: port {port} is still held: {bound:?}"
    );
    drop(bound);
    assert!(!answers(port), "{when}: port {port} still leads somewhere");
}
