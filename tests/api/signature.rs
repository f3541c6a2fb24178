//! The signature policy: what is pulled and run, and what is refused. Signatures are made with openssl in cosign's form.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::program::{command, find, run, run_with_input};
use gantry_testkit::registry::Registry;
use gantry_testkit::tar::Archive;
use gantry_testkit::world;
use serde_json::{Value, json};
use std::path::Path;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

fn digest(bytes: &[u8]) -> String {
    let sum = run_with_input(&mut command("sha256sum", [""; 0]), bytes);
    format!("sha256:{}", &sum.ok()[..64])
}

fn push_blob(registry: &Registry, kind: &str, content: &[u8]) -> Value {
    let digest = digest(content);
    let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    assert_eq!(registry.ask("POST", &path, &[], content).status, 201);
    json!({"mediaType": kind, "digest": digest, "size": content.len()})
}

/// Gives the digest.
fn push_manifest(registry: &Registry, tag: &str, manifest: &Value) -> String {
    let text = manifest.to_string();
    let digest = digest(text.as_bytes());
    let name = if tag.is_empty() { &digest } else { tag };
    let path = format!("/v2/team/app/manifests/{name}");
    let answer = registry.ask("PUT", &path, &[("Content-Type", MANIFEST)], text.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    digest
}

/// An image of one file; gives its manifest's descriptor.
fn push_image(registry: &Registry, tag: &str) -> Value {
    let mut archive = Archive::new(Vec::new());
    archive
        .file("name", 0o644, tag.as_bytes(), tag.len() as u64)
        .expect("is written");
    let layer = archive.finish().expect("is written");
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {"Cmd": ["/name"]}, "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": push_blob(registry, "application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [push_blob(registry, "application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let digest = push_manifest(registry, tag, &manifest);
    json!({"mediaType": MANIFEST, "digest": digest, "size": manifest.to_string().len()})
}

fn make_key(folder: &Path, name: &str) {
    let script = "openssl ecparam -name prime256v1 -genkey -noout -out $1.key && openssl ec -in $1.key -pubout -out $1.pub";
    let arguments = ["-c", script, "sh", name];
    run(command("sh", arguments).current_dir(folder)).ok();
}

/// What cosign would push, as a manifest: a document about `image`, signed with a key.
fn signature(registry: &Registry, folder: &Path, key: &str, image: &str) -> Value {
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "anything"},
            "image": {"docker-manifest-digest": image},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string();
    let script = "openssl dgst -sha256 -sign $1.key | base64 -w0";
    let arguments = ["-c", script, "sh", key];
    let signed = run_with_input(
        command("sh", arguments).current_dir(folder),
        payload.as_bytes(),
    );
    let mut layer = push_blob(registry, PAYLOAD, payload.as_bytes());
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signed.ok()});
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": push_blob(registry, "application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [layer],
    })
}

fn tag_of(image: &Value) -> String {
    format!(
        "{}.sig",
        image["digest"].as_str().expect("is text").replace(':', "-")
    )
}

struct World {
    registry: Registry,
    daemon: Daemon,
    folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("is made");
        for key in ["ours", "other"] {
            make_key(folder.path(), key);
        }
        let policy = folder.path().join("policy.json");
        let path = policy.to_str().expect("is text").to_owned();
        let daemon = Daemon::new("signature").with_arguments(&["--signature-policy", &path]);
        let mut world = Self {
            registry: Registry::start(),
            daemon,
            folder,
        };
        world.trust("ours");
        assert!(world.daemon.start(""), "{}", world.daemon.log_text());
        world
    }

    fn trust(&self, key: &str) {
        let key = self.folder.path().join(format!("{key}.pub"));
        let team = format!("{}/team", self.registry.host());
        let policy = json!({
            "default": {"type": "reject"},
            "repositories": {team: {"type": "signed", "keys": [key]}},
        });
        let written = std::fs::write(self.folder.path().join("policy.json"), policy.to_string());
        written.expect("is written");
    }

    fn pull(&self, tag: &str) -> String {
        let path = format!(
            "/images/create?fromImage={}/team/app&tag={tag}",
            self.registry.host()
        );
        let answer = self
            .daemon
            .client()
            .ask("POST", &path, None)
            .expect("answers");
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    fn create(&self, image: &str) -> (u16, String) {
        let body = json!({"Image": image, "Cmd": ["/name"]});
        let answer = self
            .daemon
            .client()
            .ask("POST", "/containers/create", Some(&body));
        let answer = answer.expect("answers");
        (
            answer.status,
            answer.json()["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    }

    fn inspect(&self, tag: &str) -> Option<Value> {
        let name = format!("{}/team/app:{tag}", self.registry.host());
        let mut client: Client = self.daemon.client();
        let answer = client
            .ask("GET", &format!("/images/{name}/json"), None)
            .expect("answers");
        (answer.status == 200).then(|| answer.json())
    }

    fn push_signature(&self, tag: &str, key: &str, image: &str) {
        let manifest = signature(&self.registry, self.folder.path(), key, image);
        push_manifest(&self.registry, tag, &manifest);
    }
}

#[test]
fn only_what_a_trusted_key_has_signed_is_pulled_and_run() {
    if find("openssl").is_none() {
        eprintln!("skipped: no openssl in the path");
        return;
    }
    if !world::enter("signature::only_what_a_trusted_key_has_signed_is_pulled_and_run") {
        return;
    }
    let world = World::start();
    let image = push_image(&world.registry, "one");
    let digest = image["digest"].as_str().expect("is text");
    let tag = tag_of(&image);
    for (key, signed, reason) in [
        ("", "", "it has no signature"),
        ("other", digest, "no trusted key has signed it"),
        ("ours", "sha256:0", "a signature of another image"),
    ] {
        if !key.is_empty() {
            world.push_signature(&tag, key, signed);
        }
        let said = world.pull("one");
        assert!(
            said.contains("refused by the signature policy") && said.contains(reason),
            "{said}"
        );
        assert_eq!(world.inspect("one"), None);
    }
    world.push_signature(&tag, "ours", digest);
    let said = world.pull("one");
    assert!(said.contains("Downloaded newer image"), "{said}");
    let inspected = world.inspect("one").expect("is here");
    assert_eq!(inspected["Signatures"][0]["Manifest"], digest);
    let file = inspected["Signatures"][0]["KeyFile"].as_str();
    assert!(
        file.is_some_and(|file| file.ends_with("/ours.pub")),
        "{inspected}"
    );
    let name = format!("{}/team/app:one", world.registry.host());
    assert_eq!(world.create(&name).0, 201);
    // By its id, all names count; and another trust counts at once.
    let id = inspected["Id"].as_str().expect("is text");
    assert_eq!(world.create(id).0, 201);
    world.trust("other");
    for image in [name.as_str(), id] {
        let (status, text) = world.create(image);
        assert_eq!(status, 403, "{text}");
        assert!(text.contains("no signature of a trusted key"), "{text}");
    }
    assert_eq!(
        world.create("gantry/hello"),
        (
            403,
            "gantry/hello is refused by the signature policy".to_owned()
        )
    );
    std::fs::write(world.folder.path().join("policy.json"), "{").expect("is damaged");
    assert_ne!(
        world.create(&name).0,
        201,
        "a policy that cannot be read refuses"
    );
}

#[test]
fn a_signature_may_refer_to_its_image() {
    if find("openssl").is_none() {
        eprintln!("skipped: no openssl in the path");
        return;
    }
    if !world::enter("signature::a_signature_may_refer_to_its_image") {
        return;
    }
    let world = World::start();
    let image = push_image(&world.registry, "two");
    let digest = image["digest"].as_str().expect("is text");
    let mut manifest = signature(&world.registry, world.folder.path(), "ours", digest);
    manifest["subject"] = image.clone();
    manifest["artifactType"] = json!("application/vnd.dev.cosign.artifact.sig.v1+json");
    push_manifest(&world.registry, "", &manifest);
    let said = world.pull("two");
    assert!(said.contains("Downloaded newer image"), "{said}");
    assert_eq!(
        world.inspect("two").expect("is here")["Signatures"][0]["Manifest"],
        digest
    );
}
