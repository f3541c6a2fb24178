//! Export: the tree that went in comes out, marks of deletion included.

use crate::archive::Tar;
use crate::world::World;
use gantry_image::{ImportOptions, TreeKind, export};
use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

fn exported(path: &Path, kind: TreeKind) -> Vec<u8> {
    let root = std::fs::File::open(path).expect("opens");
    let mut bytes = Vec::new();
    export(root.as_fd(), kind, &mut bytes).expect("is exported");
    bytes
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut tar = Command::new("tar")
        .arg("t")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar runs");
    std::io::Write::write_all(&mut tar.stdin.take().expect("is piped"), archive)
        .expect("is written");
    let output = tar.wait_with_output().expect("tar ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .expect("is text")
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn links_devices_and_long_names_come_back_the_same() {
    let folder = tempfile::tempdir().expect("is made");
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("d/e")).expect("is made");
    std::fs::write(source.join("d/file"), vec![1; 300_000]).expect("is written");
    std::fs::hard_link(source.join("d/file"), source.join("d/zlink")).expect("is linked");
    std::fs::write(source.join("n".repeat(255)), "x").expect("is written");
    symlink("/etc/passwd", source.join("link")).expect("is linked");
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).expect("is bound");
    rustix::fs::lsetxattr(
        source.join("d"),
        "user.note",
        b"1",
        rustix::fs::XattrFlags::empty(),
    )
    .expect("is set");
    let archive = exported(&source, TreeKind::Merged);
    assert_eq!(
        names(&archive)[..5],
        ["d/", "d/e/", "d/file", "d/zlink", "link"]
    );
    let world = World::new();
    world
        .images
        .import(&archive[..], ImportOptions::default())
        .expect("is imported");
    let layer = world.only_layer();
    assert_eq!(exported(&layer, TreeKind::Merged), archive);
    assert!(!layer.join("socket").exists() && layer.join("n".repeat(255)).exists());
}

#[test]
fn marks_of_deletion_survive_the_way_through_a_layer() {
    let tar = Tar::new()
        .directory("d/")
        .file("d/.wh.gone", b"")
        .directory("o/")
        .file("o/.wh..wh..opq", b"")
        .file("o/new", b"1")
        .end();
    let world = World::new();
    world
        .images
        .import(&tar[..], ImportOptions::default())
        .expect("is imported");
    let found: BTreeSet<_> = names(&exported(&world.only_layer(), TreeKind::Upper))
        .into_iter()
        .collect();
    let wanted = ["d/", "d/.wh.gone", "o/", "o/.wh..wh..opq", "o/new"].map(str::to_owned);
    assert_eq!(found, wanted.into_iter().collect());
}
