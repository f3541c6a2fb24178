//! Images of several platforms: pulled one by one, listed, pushed as the index that they came as, saved and loaded with the same
//! digests, removed one by one; attestations stay beside them.

use gantry_oci::Digest;
use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::registry::Registry;
use gantry_testkit::tar::Archive;
use gantry_testkit::world;
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Puts a blob into `a/b`; gives its descriptor.
fn put_blob(registry: &Registry, kind: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    let path = format!("/v2/a/b/blobs/uploads/?digest={digest}");
    assert_eq!(registry.ask("POST", &path, &[], bytes).status, 201);
    json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

/// Puts a document into `a/b`; gives its descriptor.
fn put_document(registry: &Registry, name: &str, kind: &str, document: &Value) -> Value {
    let bytes = document.to_string();
    let digest = Digest::of(bytes.as_bytes());
    let name = if name.is_empty() {
        digest.to_string()
    } else {
        name.to_owned()
    };
    let path = format!("/v2/a/b/manifests/{name}");
    let answer = registry.ask("PUT", &path, &[("Content-Type", kind)], bytes.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

/// An image for a processor, and what is said about it.
fn put_image(registry: &Registry, architecture: &str, variant: &str) -> [Value; 2] {
    let mut archive = Archive::new(Vec::new());
    let content = format!("for {architecture}");
    archive
        .file("content", 0o644, content.as_bytes(), content.len() as u64)
        .expect("memory takes it");
    let layer = archive.finish().expect("memory takes it");
    let config = json!({
        "architecture": architecture, "variant": variant, "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["/content"]}, "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]},
    });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": put_blob(registry, CONFIG, config.to_string().as_bytes()),
        "layers": [put_blob(registry, "application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let mut image = put_document(registry, "", MANIFEST, &manifest);
    image["platform"] = json!({"architecture": architecture, "os": "linux"});
    if !variant.is_empty() {
        image["platform"]["variant"] = json!(variant);
    }
    let statement = format!("{{\"about\":\"{architecture}\"}}");
    let about = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": put_blob(registry, CONFIG, b"{\"architecture\":\"unknown\",\"os\":\"unknown\"}"),
        "layers": [put_blob(registry, "application/vnd.in-toto+json", statement.as_bytes())],
    });
    let mut attestation = put_document(registry, "", MANIFEST, &about);
    attestation["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    });
    [image, attestation]
}

/// A registry with `a/b:1`; gives the digest of the index, and its descriptors.
fn filled() -> (Registry, String, Vec<Value>) {
    let registry = Registry::start();
    let mut listed = put_image(&registry, "amd64", "").to_vec();
    listed.extend(put_image(&registry, "arm64", "v8"));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
    let index = put_document(&registry, "1", INDEX, &index);
    let digest = index["digest"].as_str().expect("is text").to_owned();
    (registry, digest, listed)
}

fn pull(client: &mut Client, host: &str, platform: &str) {
    let path = format!("/images/create?fromImage={host}/a/b&tag=1&platform={platform}");
    let answer = client.request("POST", &path, None).expect("is answered");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("Downloaded newer image"), "{text}");
}

/// What is said of all things of the index, in its order: kind, and whether it is here.
fn here(client: &mut Client, name: &str) -> Vec<(String, bool)> {
    let found = client.json(
        "GET",
        &format!("/v1.50/images/{name}/json?manifests=1"),
        None,
    );
    let found = found.expect("is found");
    assert_eq!(found["Descriptor"]["mediaType"], INDEX);
    let manifests = found["Manifests"].as_array().expect("are listed").iter();
    let one = |one: &Value| {
        let kind = one["Kind"].as_str().expect("is text").to_owned();
        (kind, one["Available"] == json!(true))
    };
    manifests.map(one).collect()
}

fn all_of(here: [bool; 4]) -> Vec<(String, bool)> {
    let kinds = ["image", "attestation", "image", "attestation"];
    kinds.map(str::to_owned).into_iter().zip(here).collect()
}

fn push(client: &mut Client, host: &str, name: &str) -> Value {
    let path = format!("/images/{host}/a/b:1/tag?repo={host}/{name}&tag=2");
    client.request("POST", &path, None).expect("is tagged");
    let path = format!("/images/{host}/{name}/push?tag=2");
    let answer = client.request("POST", &path, None).expect("is answered");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let last = text
        .lines()
        .rfind(|line| !line.is_empty())
        .expect("has lines");
    let last: Value = serde_json::from_str(last).expect("is JSON");
    last["aux"]["Digest"].clone()
}

#[test]
fn an_index_goes_on_as_it_came() {
    if !world::enter("platforms::an_index_goes_on_as_it_came") {
        return;
    }
    let (registry, index, listed) = filled();
    let host = registry.host();
    let mut daemon = Daemon::new("platforms");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let mut client = daemon.client();
    let name = format!("{host}/a/b:1");
    pull(&mut client, &host, "linux/arm64");
    assert_eq!(here(&mut client, &name), all_of([false, false, true, true]));
    // Of an index that is here in part, the image goes alone.
    assert_eq!(push(&mut client, &host, "part"), listed[2]["digest"]);
    pull(&mut client, &host, "linux/amd64");
    assert_eq!(here(&mut client, &name), all_of([true; 4]));
    assert_eq!(push(&mut client, &host, "whole"), json!(index));
    for manifest in &listed {
        let digest = manifest["digest"].as_str().expect("is text");
        let path = format!("/v2/whole/manifests/{digest}");
        assert_eq!(
            registry.ask("GET", &path, &[], &[]).status,
            200,
            "{manifest}"
        );
    }
    let list = client.json("GET", "/v1.50/images/json?manifests=1", None);
    let list = list.expect("is listed");
    let list = list.as_array().expect("is a list");
    let image = list
        .iter()
        .find(|image| image["RepoTags"].to_string().contains("/a/b:1"));
    let manifests = &image.expect("is there")["Manifests"];
    assert_eq!(manifests[1]["AttestationData"]["For"], listed[0]["digest"]);
    assert_eq!(
        manifests[2]["ImageData"]["Platform"],
        json!({"architecture": "arm64", "os": "linux", "variant": "v8"})
    );

    // As an archive, to a daemon that has nothing.
    let path = format!("/images/{name}/get");
    let archive = client.request("GET", &path, None).expect("is saved").body;
    let mut other = Daemon::new("platforms-other");
    assert!(other.start(""), "{}", other.log_text());
    let mut loading = other.client();
    let answer = loading
        .upload("/images/load", &mut &archive[..])
        .expect("is answered");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(text.matches("Loaded image: ").count(), 1, "{text}");
    assert_eq!(here(&mut loading, &name), all_of([true; 4]));
    assert_eq!(push(&mut loading, &host, "again"), json!(index));

    // One platform after the other.
    let platform = |processor: &str| {
        format!("%7B%22os%22:%22linux%22,%22architecture%22:%22{processor}%22%7D")
    };
    let remove = |client: &mut Client, processor: &str| {
        let path = format!(
            "/v1.50/images/{name}?force=1&platforms={}",
            platform(processor)
        );
        client.request("DELETE", &path, None)
    };
    let absent = remove(&mut client, "s390x").expect_err("is refused");
    assert!(
        absent.contains("does not match the specified platform"),
        "{absent}"
    );
    remove(&mut client, "amd64").expect("is removed");
    assert_eq!(here(&mut client, &name), all_of([false, false, true, true]));
    let path = format!("/v1.50/images/{name}/json");
    let left = client.json("GET", &path, None).expect("is there");
    assert_eq!(left["Architecture"], "arm64");
    remove(&mut client, "arm64").expect("is removed");
    assert!(client.request("GET", &path, None).is_err());
}
