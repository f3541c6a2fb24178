//! The same bundle under runc, where there is one: what a process sees must be equal.

use crate::world::{Case, World, docker_capabilities};
use gantry_oci::runtime::{Mount, Spec, User};
use std::fs;
use std::process::Command;

pub(crate) const ALL: &[Case] = &[("equals_runc", equals_runc)];

fn equals_runc(world: &World) {
    if Command::new("runc").arg("--version").output().is_err() {
        println!("note: skipped, there is no runc here");
        return;
    }
    let root = world.rootfs("both");
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/root:\nuser:x:1000:1000::/home/user:\n",
    )
    .expect("is written");
    let volume = world.folder.join("volume");
    fs::create_dir(&volume).expect("is made");
    let mut spec = world.spec(&["mounts+status+env+ls+fds+cwd+limits", "/dev"]);
    // Newer than 1.1, which had no read-only tmpfs there.
    spec.mounts.retain(|mount| mount.kind != "cgroup");
    spec.hostname = "both".into();
    spec.process.as_mut().expect("is there").capabilities = Some(docker_capabilities());
    spec.mounts.push(Mount {
        destination: "/vol/deep".into(),
        kind: "bind".into(),
        source: volume.display().to_string(),
        options: ["rbind", "rprivate", "ro", "nosuid"]
            .map(str::to_owned)
            .to_vec(),
        ..Mount::default()
    });
    compare(world, &spec);
    let process = spec.process.as_mut().expect("is there");
    process.user = User {
        uid: 1000,
        gid: 1000,
        umask: Some(0o27),
        additional_gids: vec![5, 9],
    };
    process.no_new_privileges = true;
    process.cwd = "/made/up".into();
    spec.root.as_mut().expect("is there").readonly = true;
    compare(world, &spec);
}

fn compare(world: &World, spec: &Spec) {
    let (ours, _) = world.run("both", spec).expect("runs");
    let bundle = world.folder.join("both");
    fs::write(
        bundle.join("config.json"),
        serde_json::to_string(spec).expect("is text"),
    )
    .expect("is written");
    let state = world.folder.join("runc");
    let mut command = Command::new("runc");
    command
        .arg("--root")
        .arg(&state)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(world.name());
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .expect("runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs = String::from_utf8_lossy(&output.stdout);
    let (ours, theirs) = (normalise(&ours), normalise(&theirs));
    for (one, other) in ours.iter().zip(&theirs) {
        assert_eq!(one, other, "the first difference; ours first");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Without what differs between two runs of the same: ids, device numbers, sizes of memory, pipes.
fn normalise(text: &str) -> Vec<String> {
    let varies = [
        "Vm",
        "Rss",
        "voluntary",
        "nonvoluntary",
        "SigQ",
        "FDSize",
        "Cpus",
        "Mems",
        "Hugetlb",
        "Speculation",
        "0 ",
        "1 ",
        "2 ",
        "HugetlbPages",
        // runc passes on what its caller ignores, which differs between machines.
        "SigIgn",
    ];
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !varies.iter().any(|start| line.starts_with(start)))
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let is_mount = fields.len() > 9 && fields.contains(&"-");
            if !is_mount {
                return line.to_owned();
            }
            // Where it is, its options, and what it is; the root of the file system without the test's folder.
            let dash = fields.iter().position(|field| *field == "-").unwrap_or(0);
            let size = fields[dash + 3].replace(",size=4k,nr_inodes=1", "");
            format!(
                "{} {} {} {} {size}",
                fields[3],
                fields[4],
                fields[5],
                fields[dash + 1]
            )
        })
        .collect();
    // Mounts are listed by ids that are reused.
    lines.sort();
    lines
}
