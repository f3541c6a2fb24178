//! Save: the same ids, the same bytes each time, whatever the layers came as.

use crate::archive::{Layout, docker_archive, layer};
use crate::world::{World, kinds};
use gantry_base::ErrorKind;
use gantry_image::LayerKind;
use std::process::{Command, Stdio};

fn save(world: &World, names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    world
        .images
        .save(&names, None, &mut bytes)
        .expect("is saved");
    bytes
}

#[test]
fn what_is_saved_loads_with_the_same_ids_and_saves_to_the_same_bytes() {
    let mut layout = Layout::default();
    let first = layout.image(
        &[(layer("a"), "+gzip"), (layer("b"), "+zstd")],
        "one",
        "amd64",
    );
    let second = layout.image(&[(layer("a"), "+gzip"), (layer("c"), "")], "two", "amd64");
    layout.add(first, "one:1");
    layout.add(second, "host:5000/two:2");
    let world = World::new();
    world
        .images
        .load(&layout.tar()[..], None, &mut |_| {})
        .expect("is loaded");
    world
        .images
        .tag(
            "one:1",
            &gantry_oci::Reference::parse("one:other").expect("is valid"),
        )
        .expect("is tagged");
    let archive = save(&world, &["one", "host:5000/two:2"]);
    let other = World::new();
    let loaded = other
        .images
        .load(&archive[..], None, &mut |_| {})
        .expect("is loaded");
    let names: Vec<_> = loaded
        .iter()
        .filter_map(|loaded| loaded.reference.as_deref())
        .collect();
    assert_eq!(names, ["one:1", "one:other", "host:5000/two:2"]);
    for name in names {
        let (ours, theirs) = (
            world.images.get(name).expect("is there"),
            other.images.get(name).expect("is there"),
        );
        assert_eq!((&ours.id, ours.size_bytes), (&theirs.id, theirs.size_bytes));
    }
    assert_eq!(save(&other, &["one", "host:5000/two:2"]), archive);
    // By id: no names.
    let id = world.images.get("one:1").expect("is there").id.clone();
    let unnamed = World::new();
    unnamed
        .images
        .load(&save(&world, &[id.short()])[..], None, &mut |_| {})
        .expect("is loaded");
    assert!(unnamed.images.list()[0].is_dangling());
}

#[test]
fn members_are_those_of_dockerd() {
    let world = World::new();
    world
        .images
        .load(
            &docker_archive(&[layer("a")], &["x:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let archive = save(&world, &["x:1"]);
    let mut tar = Command::new("tar")
        .arg("t")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar runs");
    std::io::Write::write_all(&mut tar.stdin.take().expect("is piped"), &archive)
        .expect("is written");
    let output = tar.wait_with_output().expect("tar ends");
    let names: Vec<_> = std::str::from_utf8(&output.stdout)
        .expect("is text")
        .lines()
        .collect();
    assert_eq!(names.len(), 9);
    assert_eq!(&names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(
        &names[5..],
        ["index.json", "manifest.json", "oci-layout", "repositories"]
    );
}

#[test]
fn unknown_names_have_dockers_texts() {
    let world = World::new();
    for (name, text) in [
        ("nope:1", "reference does not exist"),
        ("nope", "No such image: nope"),
    ] {
        let error = world
            .images
            .save(&[name.to_owned()], None, Vec::new())
            .expect_err("is missing");
        assert_eq!((error.message(), error.kind()), (text, ErrorKind::NotFound));
    }
}

#[test]
fn an_image_of_another_platform_is_not_what_was_asked_for() {
    let world = World::new();
    world
        .images
        .load(
            &docker_archive(&[layer("a")], &["x:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let wanted = gantry_oci::Platform::parse("linux/arm64").expect("is a platform");
    let error = world
        .images
        .save(&["x:1".into()], Some(&wanted), Vec::new())
        .expect_err("is amd64");
    assert_eq!(
        error.message(),
        "no suitable export target found for platform linux/arm64"
    );
}

#[test]
fn a_layer_that_rotted_on_disk_is_noticed() {
    for kind in kinds() {
        let world = World::of_kind(kind);
        world
            .images
            .load(
                &docker_archive(&[layer("a")], &["x:1"], true)[..],
                None,
                &mut |_| {},
            )
            .expect("is loaded");
        let (path, at) = match kind {
            LayerKind::Dir => {
                let blobs = world.root().join("blobs/sha256");
                (blobs.join(&world.names("blobs/sha256")[0]), 600)
            }
            LayerKind::Erofs => (world.root().join("layers/1/layer.erofs"), 4096 + 600),
        };
        let mut bytes = std::fs::read(&path).expect("is read");
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("is written");
        let error = world
            .images
            .save(&["x:1".into()], None, Vec::new())
            .expect_err("is damaged");
        assert!(error.message().contains("damaged"), "{error}");
    }
}
