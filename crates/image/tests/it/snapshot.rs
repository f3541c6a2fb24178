//! Snapshots: what a container sees, what stays after a crash, what is swept.

use crate::archive::{Tar, docker_archive, layer};
use crate::world::{World, container};
use gantry_image::LayerKind;
use gantry_image::RootfsMount;
use gantry_oci::Reference;
use gantry_oci::image::ImageConfig;
use gantry_sys::mount::{Layer, Overlay};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

fn mount(description: &RootfsMount) -> (OwnedFd, PathBuf) {
    let RootfsMount::Overlay {
        lowers,
        upper,
        work,
    } = description;
    let overlay = Overlay {
        lowers: lowers
            .iter()
            .map(|lower| lower.root().map_or(Layer::Path(&lower.path), Layer::Fd))
            .collect(),
        upper: Some((Layer::Path(upper), Layer::Path(work))),
        ..Overlay::default()
    };
    let mount = overlay.mount().expect("mounts");
    let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    (mount, path)
}

#[test]
fn upper_layers_cover_lower_ones_and_deleted_files_are_gone() {
    let bottom = Tar::new()
        .directory("d/")
        .file("d/gone", b"1")
        .file("d/stays", b"1")
        .directory("hidden/")
        .file("hidden/old", b"1")
        .directory("etc/")
        .file("etc/hosts", b"the image's")
        .file("changed", b"old")
        .end();
    let top = Tar::new()
        .file("d/.wh.gone", b"")
        .file("hidden/.wh..wh..opq", b"")
        .file("hidden/new", b"2")
        .file("changed", b"new")
        .end();
    let world = World::new();
    world
        .images
        .load(
            &docker_archive(&[bottom, top], &["x:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let image = world.images.get("x:1").expect("is there");
    let snapshot = world
        .images
        .prepare_snapshot(&container(1), &image)
        .expect("is prepared");
    assert_eq!(
        world
            .images
            .prepare_snapshot(&container(1), &image)
            .expect("is prepared again"),
        snapshot
    );
    let (_mount, root) = mount(&world.images.mount_description(&snapshot));
    let read = |name: &str| std::fs::read_to_string(root.join(name));
    assert!(read("d/gone").is_err() && read("hidden/old").is_err());
    assert_eq!(read("d/stays").expect("is there"), "1");
    assert_eq!(
        (
            read("hidden/new").expect("is there"),
            read("changed").expect("is there")
        ),
        ("2".into(), "new".into())
    );
    assert_eq!(read("etc/hosts").expect("is there"), "the image's");
    let listed: Vec<_> = std::fs::read_dir(root.join("d"))
        .expect("is listed")
        .collect();
    assert_eq!(listed.len(), 1, "whiteouts are not shown");
}

#[test]
fn mount_points_are_there_and_not_in_the_containers_own_layer() {
    let world = World::new();
    world
        .images
        .load(
            &docker_archive(&[layer("a")], &["x:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let image = world.images.get("x:1").expect("is there");
    let snapshot = world
        .images
        .prepare_snapshot(&container(1), &image)
        .expect("is prepared");
    let (_mount, root) = mount(&world.images.mount_description(&snapshot));
    for name in [
        ".dockerenv",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "proc",
        "sys",
        "etc/resolv.conf",
        "etc/hostname",
    ] {
        assert!(root.join(name).exists(), "{name}");
    }
    assert_eq!(
        std::fs::read_link(root.join("etc/mtab")).expect("is a link"),
        Path::new("/proc/mounts")
    );
    assert_eq!(
        std::fs::read_dir(&snapshot.upper)
            .expect("is listed")
            .count(),
        0
    );
    assert_eq!(
        std::fs::metadata(&root).expect("exists").mode() & 0o7777,
        0o755
    );
    std::fs::write(root.join("d/written"), "12345").expect("is written");
    assert_eq!(
        world
            .images
            .snapshot_usage(&container(1))
            .expect("is measured")
            .size_bytes,
        5
    );
    assert!(snapshot.upper.join("d/written").exists());
}

#[test]
fn a_whiteout_in_a_directory_of_one_layer_only_is_not_shown() {
    let world = World::new();
    let only = Tar::new()
        .directory("d/")
        .file("d/.wh.never", b"")
        .file("d/a", b"")
        .end();
    world
        .images
        .load(
            &docker_archive(&[only], &["x:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let image = world.images.get("x:1").expect("is there");
    let snapshot = world
        .images
        .prepare_snapshot(&container(1), &image)
        .expect("is prepared");
    let (_mount, root) = mount(&world.images.mount_description(&snapshot));
    let names: Vec<_> = std::fs::read_dir(root.join("d"))
        .expect("is listed")
        .map(|entry| entry.expect("is listed").file_name())
        .collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn what_no_row_speaks_of_is_swept_at_the_next_start() {
    let mut world = World::of_kind(LayerKind::Dir);
    world
        .images
        .load(
            &docker_archive(&[layer("a")], &["x:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let image = world.images.get("x:1").expect("is there");
    world
        .images
        .prepare_snapshot(&container(1), &image)
        .expect("is prepared");
    for left in [
        "layers/77/diff/d",
        "ingest/1-1/diff",
        "snapshots/dead/diff",
        "trash/old/d",
    ] {
        std::fs::create_dir_all(world.root().join(left)).expect("is made");
    }
    std::fs::write(world.root().join("blobs/sha256/00"), "left").expect("is written");
    world.reopen();
    assert_eq!(world.names("layers").len(), 1);
    assert_eq!(world.names("snapshots"), [container(1).as_str()]);
    assert_eq!(
        (
            world.names("ingest").len(),
            world.names("blobs/sha256").len()
        ),
        (0, 1)
    );
    let emptied = (0..6000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        world.names("trash").is_empty()
    });
    assert!(emptied, "the trash is emptied in the background");
    assert_eq!(
        world.images.get("x:1").expect("is there").repo_tags,
        ["x:1"]
    );
    assert_eq!(
        world.images.snapshots().expect("are listed"),
        [container(1)]
    );
    world
        .images
        .remove_snapshot(&container(1))
        .expect("is removed");
    world
        .images
        .remove_snapshot(&container(1))
        .expect("is gone already");
    assert!(world.images.snapshot(&container(1)).is_err());
    world
        .images
        .load(
            &docker_archive(&[layer("b")], &["x:2"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("numbers do not clash");
}

#[test]
fn the_image_built_into_the_program_comes_back_with_a_new_version_only() {
    let mut world = World::new();
    let reference = Reference::parse("gantry/hello").expect("is valid");
    let add = |world: &World, version: &str| {
        let config = ImageConfig {
            os: "linux".into(),
            architecture: "amd64".into(),
            ..ImageConfig::default()
        };
        world
            .images
            .add_builtin(&reference, version, config, &layer("hello"))
            .expect("is added");
        world.images.by_reference(&reference).is_some()
    };
    assert!(add(&world, "1"));
    world.reopen();
    assert!(add(&world, "1"));
    world
        .images
        .remove(
            "gantry/hello",
            gantry_image::RemoveOptions::default(),
            &|_| Vec::new(),
        )
        .expect("is removed");
    assert!(!add(&world, "1"), "the user removed it");
    assert!(add(&world, "2"));
}
