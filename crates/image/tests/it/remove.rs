//! Removal: Docker's rules, Docker's words, and nothing left on disk.

use crate::archive::{docker_archive, layer};
use crate::world::{World, container};
use gantry_base::ErrorKind;
use gantry_image::LayerKind;
use gantry_image::{ImageId, RemoveOptions, Removed, Usage};
use gantry_oci::{Digest, Reference};

const FORCE: RemoveOptions = RemoveOptions {
    force: true,
    no_prune: false,
};
const PLAIN: RemoveOptions = RemoveOptions {
    force: false,
    no_prune: false,
};

fn unused(_: &ImageId) -> Vec<Usage> {
    Vec::new()
}

fn used(running: bool) -> impl Fn(&ImageId) -> Vec<Usage> {
    move |_| {
        vec![Usage {
            container: container(1).to_string(),
            running,
        }]
    }
}

fn world(tags: &[&str]) -> (World, ImageId) {
    let world = World::new();
    let archive = docker_archive(&[layer("a"), layer("b")], tags, true);
    let loaded = world
        .images
        .load(&archive[..], None, &mut |_| {})
        .expect("is loaded");
    (world, loaded[0].id.clone())
}

fn untagged(name: &str) -> Removed {
    Removed::Untagged(name.into())
}

#[test]
fn the_last_name_takes_the_image_and_its_layers_along() {
    let (world, id) = world(&["x:1", "x:2"]);
    let removed = world
        .images
        .remove("x:2", PLAIN, &unused)
        .expect("is untagged");
    assert_eq!(removed, [untagged("x:2")]);
    let removed = world
        .images
        .remove("x:1", PLAIN, &unused)
        .expect("is removed");
    let (bottom, top) = (Digest::of(&layer("a")), Digest::of(&layer("b")));
    let chain = Digest::of(format!("{bottom} {top}").as_bytes());
    let deleted = |id: &dyn ToString| Removed::Deleted(id.to_string());
    assert_eq!(
        removed,
        [
            untagged("x:1"),
            deleted(&id),
            deleted(&chain),
            deleted(&bottom)
        ]
    );
    world.assert_empty("removed");
}

#[test]
fn layers_of_another_image_stay() {
    let (world, _) = world(&["x:1"]);
    world
        .images
        .load(
            &docker_archive(&[layer("a")], &["y:1"], true)[..],
            None,
            &mut |_| {},
        )
        .expect("is loaded");
    let removed = world
        .images
        .remove("x:1", PLAIN, &unused)
        .expect("is removed");
    assert_eq!(
        removed.len(),
        3,
        "the image and its upper layer: {removed:?}"
    );
    assert_eq!(
        (
            world.names("layers").len(),
            world.names("blobs/sha256").len()
        ),
        (1, usize::from(world.images.layer_kind() == LayerKind::Dir))
    );
    assert_eq!(world.images.get("y:1").expect("stays").size_bytes, 1);
}

#[test]
fn refusals_in_dockers_words() {
    let (world, id) = world(&["x:1", "y:1"]);
    let short = id.short().to_owned();
    let refuse = |name: &str, options, running: Option<bool>| {
        let result = match running {
            Some(running) => world.images.remove(name, options, &used(running)),
            None => world.images.remove(name, options, &unused),
        };
        let error = result.expect_err("is refused");
        (error.kind(), error.message().replace(&short, "ID"))
    };
    let conflict = |text: &str| (ErrorKind::Conflict, text.to_owned());
    let several = conflict(
        "conflict: unable to delete ID (must be forced) - image is referenced in multiple repositories",
    );
    assert_eq!(refuse(&short, PLAIN, None), several);
    let running = conflict(
        "conflict: unable to delete ID (cannot be forced) - image is being used by running container 000000000000",
    );
    assert_eq!(refuse(&short, PLAIN, Some(true)), running);
    assert_eq!(refuse(&short, FORCE, Some(true)), running);
    world
        .images
        .remove("y:1", PLAIN, &used(true))
        .expect("is not the last name");
    assert_eq!(
        refuse("x:1", PLAIN, Some(false)),
        conflict(
            "conflict: unable to remove repository reference \"x:1\" (must force) - container 000000000000 is using its referenced image ID"
        )
    );
    assert_eq!(
        refuse(&short, PLAIN, Some(false)),
        conflict(
            "conflict: unable to delete ID (must be forced) - image is being used by stopped container 000000000000"
        )
    );
    for (name, text) in [
        ("x", "No such image: x:latest"),
        ("x:3", "No such image: x:3"),
        ("0", "No such image: 0:latest"),
    ] {
        assert_eq!(
            refuse(name, PLAIN, None),
            (ErrorKind::NotFound, text.to_owned())
        );
    }
    let (kind, text) = refuse("A b", PLAIN, None);
    assert_eq!(
        (kind, text.as_str()),
        (
            ErrorKind::InvalidParameter,
            "invalid reference format: repository name (library/A b) must be lowercase"
        )
    );
}

#[test]
fn force_takes_a_name_from_a_running_image_and_no_more() {
    let (world, id) = world(&["x:1"]);
    assert_eq!(
        world
            .images
            .remove("x:1", FORCE, &used(true))
            .expect("is untagged"),
        [untagged("x:1")]
    );
    assert!(world.images.get(id.short()).expect("stays").is_dangling());
}

#[test]
fn layers_of_a_container_outlive_their_image() {
    let (mut world, id) = world(&["x:1"]);
    let image = world.images.get("x:1").expect("is there");
    let snapshot = world
        .images
        .prepare_snapshot(&container(1), &image)
        .expect("is prepared");
    let removed = world
        .images
        .remove(id.short(), FORCE, &used(false))
        .expect("is removed");
    assert_eq!(removed, [untagged("x:1"), Removed::Deleted(id.to_string())]);
    world.reopen();
    assert!(snapshot.lowers.iter().all(|lower| lower.path.exists()));
    assert_eq!(
        world.images.snapshot(&container(1)).expect("stays"),
        snapshot
    );
    world
        .images
        .remove_snapshot(&container(1))
        .expect("is removed");
    world.assert_empty("the container is gone too");
}

#[test]
fn tags_move_and_are_listed_in_order() {
    let (world, id) = world(&["x:2"]);
    let reference = |text: &str| Reference::parse(text).expect("is valid");
    world
        .images
        .tag("x:2", &reference("host:5000/a/b"))
        .expect("is tagged");
    world
        .images
        .tag(id.short(), &reference("x:1"))
        .expect("is tagged");
    let image = world.images.get("x:1").expect("is there");
    assert_eq!(image.repo_tags, ["x:1", "x:2", "host:5000/a/b:latest"]);
    assert!(image.last_tagged_ns.is_some());
    let error = world
        .images
        .tag("nope", &reference("x:3"))
        .expect_err("is missing");
    assert_eq!(error.message(), "No such image: nope:latest");
}
