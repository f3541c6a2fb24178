//! Our registry and Debian's `docker-registry`, pushed to and pulled from by docker (through the peer), skopeo and podman, each
//! unmodified: digests are equal at every step.
//!
//! Those with the peer run outside of a world; each registry has a port of its own on loopback.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::image::{SHELL, import_shell, shell_archive};
use gantry_testkit::peer::Peer;
use gantry_testkit::program::{command, docker, find, run, wait_until};
use gantry_testkit::registry::{Registry, ask};
use gantry_testkit::world;
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Debian's registry as a process.
struct DebianRegistry {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl DebianRegistry {
    fn start() -> Option<Self> {
        let program = tool("docker-registry")?;
        let folder = tempfile::tempdir().expect("is made");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = free.local_addr().expect("it has an address");
        drop(free);
        let file = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: {address}}}\n",
            folder.path().join("root").display()
        );
        std::fs::write(&file, text).expect("is written");
        let child = command(program, ["serve"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let registry = Self {
            child,
            address,
            _folder: folder,
        };
        wait_until("docker-registry listens", || {
            TcpStream::connect(address).is_ok()
        });
        Some(registry)
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        // It is ours, and may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program of Debian's; none, with a word on stderr, where it is not there.
fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        eprintln!("skipped: no {name} in the path (./test packages gets one)");
    }
    found
}

/// A command of skopeo's or podman's with a home that has what they want to find in /etc, and the libraries beside them.
fn container_tool(program: &Path, home: &Path, arguments: &[&str]) -> Command {
    let policy = home.join(".config/containers/policy.json");
    std::fs::create_dir_all(policy.parent().expect("is in a folder")).expect("is made");
    std::fs::write(
        &policy,
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    )
    .expect("is written");
    let libraries = program
        .parent()
        .and_then(Path::parent)
        .expect("programs are in bin")
        .join(format!("lib/{}-linux-gnu", std::env::consts::ARCH));
    let mut command = command(program, arguments);
    command.env("HOME", home).env("LD_LIBRARY_PATH", libraries);
    command
}

/// The digest of a manifest, as a registry says it.
#[track_caller]
fn digest(registry: SocketAddr, name: &str, tag: &str) -> String {
    let answer = ask(
        registry,
        &format!("HEAD /v2/{name}/manifests/{tag}"),
        &[("Accept", ACCEPTED)],
        b"",
    );
    let answer = answer.expect("answers");
    assert_eq!(answer.status, 200, "{name}:{tag}");
    answer.header("docker-content-digest").to_owned()
}

fn address(registry: &Registry) -> SocketAddr {
    registry.host().parse().expect("is one")
}

/// Pushes a real image with a gzip layer as `1`; gives the digest of its manifest.
fn push_image(registry: &Registry, name: &str) -> String {
    let own = if std::env::consts::ARCH == "aarch64" {
        "arm64"
    } else {
        "amd64"
    };
    push_image_for(registry, name, "1", own)
}

/// As [`push_image`], under this tag, with a config that says so of its processor.
pub(crate) fn push_image_for(
    registry: &Registry,
    name: &str,
    tag: &str,
    architecture: &str,
) -> String {
    let folder = tempfile::tempdir().expect("is made");
    let layer = folder.path().join("layer");
    std::fs::write(&layer, shell_archive()).expect("is written");
    let shell = |script: &str| {
        run(command("sh", ["-c", script]).arg("sh").arg(&layer))
            .ok()
            .to_owned()
    };
    // The archive may be compressed already.
    shell(
        "if gzip -t \"$1\" 2>/dev/null; then gunzip <\"$1\" >\"$1.tar\"; else mv \"$1\" \"$1.tar\"; fi; gzip -nc \"$1.tar\" >\"$1.gz\"",
    );
    let sum = |end: &str| {
        format!(
            "sha256:{}",
            &shell(&format!("sha256sum <\"$1\"{end}"))[..64]
        )
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "rootfs": {"type": "layers", "diff_ids": [sum(".tar")]},
    })
    .to_string();
    let config_file = folder.path().join("layer.json");
    std::fs::write(&config_file, &config).expect("is written");
    let push = |digest: &str, content: &[u8]| {
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        assert_eq!(registry.ask("POST", &path, &[], content).status, 201);
    };
    let compressed = std::fs::read(folder.path().join("layer.gz")).expect("is read");
    let (config_digest, layer_digest) = (sum(".json"), sum(".gz"));
    push(&config_digest, config.as_bytes());
    push(&layer_digest, &compressed);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer_digest, "size": compressed.len()}],
    });
    let path = format!("/v2/{name}/manifests/{tag}");
    let answer = registry.ask(
        "PUT",
        &path,
        &[("Content-Type", MANIFEST)],
        manifest.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("docker-content-digest").to_owned()
}

#[test]
fn skopeo_copies_between_both_registries() {
    let (Some(skopeo), Some(theirs)) = (tool("skopeo"), DebianRegistry::start()) else {
        return;
    };
    let home = tempfile::tempdir().expect("is made");
    let ours = Registry::start();
    let pushed = push_image(&ours, "a/start");
    let copy = |from: &str, to: &str| {
        let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
        let arguments = [
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &from,
            &to,
        ];
        run(&mut container_tool(&skopeo, home.path(), &arguments)).ok();
    };
    let host = theirs.address.to_string();
    copy(
        &format!("{}/a/start:1", ours.host()),
        &format!("{host}/a/there:1"),
    );
    assert_eq!(digest(theirs.address, "a/there", "1"), pushed);
    copy(
        &format!("{host}/a/there:1"),
        &format!("{}/a/back:1", ours.host()),
    );
    assert_eq!(digest(address(&ours), "a/back", "1"), pushed);
    let archive = format!("oci-archive:{}", home.path().join("image.tar").display());
    let by_digest = format!("docker://{}/a/back@{pushed}", ours.host());
    for arguments in [
        ["copy", "--src-tls-verify=false", &by_digest, &archive],
        [
            "copy",
            "--dest-tls-verify=false",
            &archive,
            &format!("docker://{}/a/again:1", ours.host()),
        ],
        ["delete", "--tls-verify=false", &by_digest, "--"],
    ] {
        let arguments = if arguments[3] == "--" {
            &arguments[..3]
        } else {
            &arguments[..]
        };
        run(&mut container_tool(&skopeo, home.path(), arguments)).ok();
    }
    assert_eq!(digest(address(&ours), "a/again", "1"), pushed);
    let gone = ours.ask("HEAD", "/v2/a/back/manifests/1", &[], &[]);
    assert_eq!(gone.status, 404);
}

/// Runs podman with everything in this home.
#[track_caller]
fn run_podman(podman: &Path, conmon: &Path, home: &Path, arguments: &[&str]) -> String {
    let (root, run_root) = (home.join("root"), home.join("run"));
    let mut all = vec![
        "--root",
        root.to_str().expect("is text"),
        "--runroot",
        run_root.to_str().expect("is text"),
    ];
    // Nothing is run: a runtime is only asked for.
    all.extend([
        "--storage-driver",
        "vfs",
        "--events-backend",
        "none",
        "--cgroup-manager",
        "cgroupfs",
    ]);
    all.extend([
        "--runtime",
        "/bin/true",
        "--conmon",
        conmon.to_str().expect("is text"),
    ]);
    all.extend(arguments);
    run(&mut container_tool(podman, home, &all)).ok().to_owned()
}

#[test]
fn our_store_stands_between_all_of_them() {
    if !world::enter("registry::our_store_stands_between_all_of_them") {
        return;
    }
    let (Some(_), Some(skopeo), Some(podman), Some(conmon), Some(theirs)) = (
        docker(),
        tool("skopeo"),
        tool("podman"),
        tool("conmon"),
        DebianRegistry::start(),
    ) else {
        return;
    };
    let home = tempfile::tempdir().expect("is made");
    let podman = |arguments: &[&str]| run_podman(&podman, &conmon, home.path(), arguments);
    let skopeo = |from: &str, to: &str| {
        let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
        let words = [
            "copy",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ];
        let words: Vec<&str> = words.into_iter().chain([&from[..], &to[..]]).collect();
        run(&mut container_tool(&skopeo, home.path(), &words)).ok();
    };
    let ours = Registry::start();
    let mut daemon = Daemon::new("between");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let [near, far] = [ours.host(), theirs.address.to_string()];
    // From one name to another through our store, with the unmodified docker.
    let through = |from: &str, to: &str, digest: &str| {
        let pulled = daemon.docker(&["pull", from]);
        assert!(pulled.ok().contains(digest), "{from}: {}", pulled.stdout);
        daemon.docker(&["tag", from, to]).ok();
        let pushed = daemon.docker(&["push", to]);
        assert!(pushed.ok().contains(digest), "{to}: {}", pushed.stdout);
    };
    let start = push_image(&ours, "a/start");
    through(
        &format!("{near}/a/start:1"),
        &format!("{far}/a/store:1"),
        &start,
    );
    assert_eq!(digest(theirs.address, "a/store", "1"), start);
    skopeo(&format!("{far}/a/store:1"), &format!("{near}/a/skopeo:1"));
    assert_eq!(digest(address(&ours), "a/skopeo", "1"), start);
    through(
        &format!("{near}/a/skopeo:1"),
        &format!("{far}/a/again:1"),
        &start,
    );

    // What podman compresses itself keeps the digest that podman gave it.
    podman(&[
        "pull",
        "--quiet",
        "--tls-verify=false",
        &format!("{far}/a/again:1"),
    ]);
    let id = podman(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}}",
        &format!("{far}/a/again:1"),
    ]);
    let made = format!("{near}/a/podman:1");
    podman(&["push", "--quiet", "--tls-verify=false", &id, &made]);
    let podmans = digest(address(&ours), "a/podman", "1");
    through(&made, &format!("{far}/a/podman:1"), &podmans);
    assert_eq!(digest(theirs.address, "a/podman", "1"), podmans);
    podman(&["rmi", "--force", &id]);
    let back = format!("{far}/a/podman:1");
    assert_eq!(
        podman(&["pull", "--quiet", "--tls-verify=false", &back]),
        id
    );

    // An index with both its platforms.
    push_image_for(&ours, "a/b", "amd", "amd64");
    push_image_for(&ours, "a/b", "arm", "arm64");
    let [list, amd, arm] = ["all", "amd", "arm"].map(|tag| format!("{near}/a/b:{tag}"));
    daemon
        .gantry(&["manifest", "create", &list, &amd, &arm])
        .ok();
    let index = daemon.gantry(&["manifest", "push", "--purge", &list]);
    let index = index.ok();
    skopeo(&list, &format!("{far}/a/b:all"));
    assert_eq!(digest(theirs.address, "a/b", "all"), index);
    for platform in ["linux/amd64", "linux/arm64"] {
        let name = format!("{far}/a/b:all");
        daemon.docker(&["pull", "--platform", platform, &name]).ok();
    }
    through(
        &format!("{far}/a/b:all"),
        &format!("{near}/a/whole:1"),
        index,
    );
    assert_eq!(digest(address(&ours), "a/whole", "1"), index);
}

#[test]
fn podman_pulls_and_pushes() {
    let (Some(podman), Some(conmon), Some(theirs)) =
        (tool("podman"), tool("conmon"), DebianRegistry::start())
    else {
        return;
    };
    let home = tempfile::tempdir().expect("is made");
    let ours = Registry::start();
    push_image(&ours, "a/start");
    let podman = |arguments: &[&str]| run_podman(&podman, &conmon, home.path(), arguments);
    let start = format!("{}/a/start:1", ours.host());
    podman(&["pull", "--quiet", "--tls-verify=false", &start]);
    let archive = home.path().join("archive.tar");
    std::fs::write(&archive, shell_archive()).expect("is written");
    let local = "localhost/gantry-test/registry:1".to_owned();
    podman(&[
        "import",
        "--quiet",
        archive.to_str().expect("is text"),
        &local,
    ]);
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", &local]);
    let names = [ours.host(), theirs.address.to_string()].map(|host| format!("{host}/a/podman:1"));
    let file = home.path().join("digest");
    for (name, registry) in names.iter().zip([address(&ours), theirs.address]) {
        let path = file.to_str().expect("is text");
        podman(&[
            "push",
            "--quiet",
            "--tls-verify=false",
            "--digestfile",
            path,
            &local,
            name,
        ]);
        let said = std::fs::read_to_string(&file).expect("is written");
        assert_eq!(digest(registry, "a/podman", "1"), said);
    }
    for name in &names {
        podman(&["rmi", "--force", &id]);
        assert_eq!(podman(&["pull", "--quiet", "--tls-verify=false", name]), id);
    }
}

#[test]
fn docker_pushes_to_both_and_pulls_from_both() {
    let Some(peer) = Peer::find() else { return };
    let Some(theirs) = DebianRegistry::start() else {
        return;
    };
    let ours = Registry::start();
    let pushed = push_image(&ours, "a/start");
    let start = format!("{}/a/start", ours.host());
    let pulled = peer.docker(&["pull", &format!("{start}:1")]);
    assert!(pulled.ok().contains(&pushed), "{}", pulled.stdout);
    peer.docker(&["rmi", &format!("{start}:1")]).ok();
    // An image that docker compresses itself for each registry: one that it pulled it may mount at the one and not at the other.
    import_shell(&mut peer.client());
    let id = |name: &str| {
        let found = peer.docker(&["image", "inspect", "--format", "{{.Id}}", name]);
        found.ok().to_owned()
    };
    let image = id(SHELL);
    for host in [ours.host(), theirs.address.to_string()] {
        let name = format!("{host}/a/docker:1");
        peer.docker(&["tag", SHELL, &name]).ok();
        let said = peer.docker(&["push", &name]);
        let digest = digest(host.parse().expect("is one"), "a/docker", "1");
        assert!(said.ok().contains(&digest), "{}", said.stdout);
        peer.docker(&["rmi", &name]).ok();
        let by_digest = format!("{host}/a/docker@{digest}");
        peer.docker(&["pull", &by_digest]).ok();
        assert_eq!(id(&by_digest), image);
        peer.docker(&["rmi", &by_digest]).ok();
    }
}
