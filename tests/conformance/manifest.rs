//! `manifest` of Gantry and of docker on the same registry, each with a configuration of its own: same texts, same codes, and
//! lists with the same digest. Neither asks a daemon.

use crate::registry::push_image_for;
use gantry_testkit::daemon::executable;
use gantry_testkit::program::{Finished, command, docker, run};
use gantry_testkit::registry::Registry;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

/// Both command lines, and where each keeps its lists.
struct Lines {
    docker: std::path::PathBuf,
    folder: tempfile::TempDir,
}

impl Lines {
    fn ours(&self, words: &[&str]) -> Finished {
        let mut command = command(executable("gantry"), words);
        // It speaks of itself as it is called.
        run(command
            .arg0("docker")
            .env("DOCKER_CONFIG", self.folder.path().join("ours")))
    }

    /// Runs `manifest` with this line on both; gives what both said.
    #[track_caller]
    fn same(&self, line: &str, code: i32) -> Finished {
        let mut words = vec!["manifest"];
        words.extend(line.split(' '));
        let ours = self.ours(&words);
        let theirs =
            run(command(&self.docker, &words)
                .env("DOCKER_CONFIG", self.folder.path().join("theirs")));
        assert_eq!(ours, theirs, "manifest {line}");
        assert_eq!(ours.code, code, "manifest {line}: {ours:?}");
        ours
    }

    fn files(&self, whose: &str) -> Vec<(String, String)> {
        fn walk(folder: &Path, root: &Path, found: &mut Vec<(String, String)>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), root, found);
                    continue;
                }
                let name = entry
                    .path()
                    .strip_prefix(root)
                    .expect("is below")
                    .display()
                    .to_string();
                found.push((
                    name,
                    std::fs::read_to_string(entry.path()).expect("is text"),
                ));
            }
        }
        let root = self.folder.path().join(whose).join("manifests");
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found.sort();
        found
    }
}

#[test]
fn lists_are_made_as_docker_makes_them() {
    let Some(docker) = docker() else { return };
    let folder = tempfile::tempdir().expect("is made");
    let lines = Lines { docker, folder };
    let registry = Registry::start();
    let host = registry.host();
    push_image_for(&registry, "a/b", "amd", "amd64");
    push_image_for(&registry, "a/b", "arm", "arm64");
    let [amd, arm] = ["amd", "arm"].map(|tag| format!("{host}/a/b:{tag}"));
    let list = format!("{host}/a/b:all");

    lines.same(&format!("create --insecure {list} {amd} {arm}"), 0);
    assert_eq!(lines.files("ours"), lines.files("theirs"));
    lines.same(&format!("create --insecure {list} {arm}"), 1);
    lines.same(&format!("create --insecure --amend {list} {arm}"), 0);
    for image in ["", &amd, &arm] {
        for verbose in ["", "-v "] {
            let names = format!("{list} {image}");
            lines.same(
                &format!("inspect --insecure {verbose}{}", names.trim_end()),
                0,
            );
            if !image.is_empty() {
                lines.same(&format!("inspect --insecure {verbose}{image}"), 0);
            }
        }
    }
    let annotate = format!("annotate --variant v8 --os-features a,b --os-version 3 {list}");
    lines.same(&format!("{annotate} {arm}"), 0);
    lines.same(&format!("{annotate} {host}/a/b:none"), 1);
    lines.same(&format!("annotate --arch nosuch {list} {arm}"), 1);
    lines.same(
        &format!("annotate --os windows --arch riscv64 {list} {arm}"),
        1,
    );
    assert_eq!(lines.files("ours"), lines.files("theirs"));
    let pushed = lines.same(&format!("push --insecure {list}"), 0);
    let answer = registry.ask("GET", "/v2/a/b/manifests/all", &[], &[]);
    assert_eq!(answer.header("docker-content-digest"), pushed.ok());
    lines.same(&format!("push --insecure --purge {list}"), 0);
    // Now it is only there.
    assert!(lines.files("ours").is_empty() && lines.files("theirs").is_empty());
    lines.same(&format!("inspect --insecure {list}"), 0);
    lines.same(&format!("inspect --insecure -v {list}"), 0);

    // Images of another repository come along.
    let beside = format!("{host}/a/beside:1");
    lines.same(&format!("create --insecure {beside} {amd} {arm}"), 0);
    lines.same(&format!("push --insecure {beside}"), 0);
    assert_eq!(
        registry
            .ask("GET", "/v2/a/beside/manifests/1", &[], &[])
            .status,
        200
    );
    lines.same(&format!("rm {host}/a/none:1 {beside}"), 1);
    lines.same(&format!("rm {beside}"), 1);
    for (line, code) in [
        (format!("create --insecure {host}/a/c:1 {list}"), 1),
        (format!("create --insecure {host}/a/c:1 {host}/a/b:none"), 1),
        (format!("create --insecure {host}/a/c:1 Not/Valid"), 1),
        (format!("create --insecure Not/Valid {amd}"), 1),
        (format!("inspect --insecure {host}/a/b"), 1),
        (format!("inspect {list} {amd}"), 1),
        (format!("annotate {list} {amd}"), 1),
        (format!("annotate Not/Valid {amd}"), 1),
        (format!("push {list}"), 1),
        ("push".to_owned(), 1),
    ] {
        lines.same(&line, code);
    }
}
