//! Loading what is well made: both formats, every compression, any order, several platforms.

use crate::archive::{Layout, Tar, config, docker_archive, gzip, layer, zstd};
use crate::world::{World, kinds};
use gantry_image::{LayerKind, LoadEvent};
use gantry_oci::{Digest, Platform};

fn load(world: &World, archive: &[u8]) -> Vec<String> {
    let loaded = world
        .images
        .load(archive, None, &mut |_| {})
        .expect("is loaded");
    loaded.iter().map(ToString::to_string).collect()
}

#[test]
fn docker_archives_in_any_order_and_compression() {
    for is_manifest_first in [true, false] {
        let archive = docker_archive(
            &[layer("a"), layer("b")],
            &["x:1", "me/y:2"],
            is_manifest_first,
        );
        let archives = [archive.clone(), gzip(&archive), zstd(&archive)];
        let archives = archives
            .iter()
            .flat_map(|bytes| kinds().into_iter().map(move |kind| (kind, bytes)));
        for (kind, bytes) in archives {
            let world = World::of_kind(kind);
            assert_eq!(
                load(&world, bytes),
                ["Loaded image: x:1", "Loaded image: me/y:2"]
            );
            let image = world.images.get("x:1").expect("is there");
            assert_eq!(
                image.repo_tags,
                ["x:1", "me/y:2"],
                "in the order of full names"
            );
            assert_eq!(image.size_bytes, 2);
            assert_eq!(image.created_ns, 1_704_164_645_500_000_000);
            assert_eq!(world.names("layers").len(), 2);
            assert_eq!(world.names("ingest"), [""; 0]);
            // Again: nothing new.
            assert_eq!(load(&world, bytes).len(), 2);
            assert_eq!(
                (
                    world.names("layers").len(),
                    world.names("blobs/sha256").len()
                ),
                // Files hold their tars themselves.
                match world.images.layer_kind() {
                    LayerKind::Dir => (2, 2),
                    LayerKind::Erofs => (2, 0),
                }
            );
        }
    }
}

#[test]
fn a_name_moves_to_the_image_that_was_loaded_last() {
    let world = World::new();
    load(&world, &docker_archive(&[layer("a")], &["x:1"], true));
    let before = world.images.get("x:1").expect("is there").id.clone();
    let archive = docker_archive(&[layer("b")], &["x:1"], true);
    let loaded = world
        .images
        .load(&archive[..], None, &mut |_| {})
        .expect("is loaded");
    assert_eq!(loaded[0].replaced.as_ref(), Some(&before));
    assert!(
        world
            .images
            .get(before.as_str())
            .expect("stays")
            .is_dangling()
    );
    assert_eq!(world.images.list().len(), 2);
}

#[test]
fn links_between_equal_layers_of_old_archives() {
    let tar = layer("same");
    let diff_ids = [Digest::of(&tar), Digest::of(&tar)];
    let config = config(&diff_ids, "links");
    let manifest =
        br#"[{"Config":"c.json","RepoTags":null,"Layers":["0/layer.tar","1/layer.tar"]}]"#;
    let archive = Tar::new()
        .symlink("1/layer.tar", "../0/layer.tar")
        .file("0/layer.tar", &tar)
        .file("c.json", &config)
        .file("manifest.json", manifest)
        .end();
    let world = World::new();
    assert_eq!(
        load(&world, &archive),
        [format!("Loaded image ID: {}", Digest::of(&config))]
    );
    assert_eq!(world.names("layers").len(), 1);
}

#[test]
fn oci_layouts_in_every_compression() {
    let mut layout = Layout::default();
    let descriptor = layout.image(
        &[
            (layer("a"), "+gzip"),
            (layer("b"), "+zstd"),
            (layer("c"), ""),
        ],
        "one",
        "amd64",
    );
    layout.add(descriptor.clone(), "docker.io/library/oci:1");
    layout.add(descriptor.clone(), "oci:2");
    let world = World::new();
    let mut events = Vec::new();
    let archive = layout.tar();
    let loaded = world
        .images
        .load(&archive[..], None, &mut |event| events.push(event))
        .expect("is loaded");
    assert_eq!(loaded.len(), 2);
    let image = world.images.get("oci:2").expect("is there");
    assert_eq!(image.repo_tags, ["oci:1", "oci:2"]);
    let manifest = image.manifest.clone().expect("came with one");
    assert_eq!(
        manifest.as_str(),
        descriptor["digest"].as_str().expect("is text")
    );
    assert_eq!(
        Digest::of(&world.images.document(&manifest).expect("is kept")),
        manifest
    );
    assert_eq!(
        Digest::of(&world.images.config_bytes(&image.id).expect("is kept")),
        *image.id.digest()
    );
    let done = |event: &LoadEvent| {
        let LoadEvent::Layer {
            current_bytes,
            total_bytes,
            ..
        } = event;
        current_bytes == total_bytes
    };
    assert_eq!(events.iter().filter(|event| done(event)).count(), 3);
    let history = world.images.history("oci:1").expect("is there");
    assert_eq!(history.len(), 3);
    assert_eq!(history[0].tags, ["oci:1", "oci:2"]);
    assert_eq!(history[2].size_bytes, 1);
}

#[test]
fn the_wanted_platform_of_several_with_attestations_kept() {
    let mut layout = Layout::default();
    let amd64 = layout.image(&[(layer("amd"), "+gzip")], "amd", "amd64");
    let arm64 = layout.image(&[(layer("arm"), "+gzip")], "arm", "arm64");
    let (statement, size) =
        layout.json(&serde_json::json!({"_type": "https://in-toto.io/Statement/v0.1"}));
    let (config, config_size) =
        layout.json(&serde_json::json!({"architecture": "unknown", "os": "unknown"}));
    let (attestation, attestation_size) = layout.json(&serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": statement, "size": size}],
    }));
    let (index, index_size) = layout.json(&serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [arm64, amd64, {
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": attestation, "size": attestation_size,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        }],
    }));
    let top = serde_json::json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": index, "size": index_size});
    layout.add(top, "multi:1");
    let archive = layout.tar();
    for (wanted, architecture) in [("linux/arm64", "arm64"), ("linux/amd64", "amd64")] {
        let world = World::new();
        let wanted = Platform::parse(wanted).expect("is a platform");
        world
            .images
            .load(&archive[..], Some(&wanted), &mut |_| {})
            .expect("is loaded");
        let image = world.images.get("multi:1").expect("is there");
        assert_eq!(image.platform().architecture, architecture);
        assert_eq!(
            world.names("layers").len(),
            1,
            "layers of other platforms are not kept"
        );
        for kept in [&attestation, &statement, &index] {
            world.images.document(kept).expect("is kept");
        }
    }
    let world = World::new();
    let wanted = Platform::parse("linux/s390x").expect("is a platform");
    assert!(
        world
            .images
            .load(&archive[..], Some(&wanted), &mut |_| {})
            .is_err()
    );
    world.assert_empty("no such platform");
}

#[test]
fn the_official_busybox() {
    let Ok(folder) = std::env::var("GANTRY_TEST_IMAGES") else {
        return;
    };
    let path = std::path::Path::new(&folder).join("busybox-glibc-amd64.oci.tar");
    let archive = std::fs::read(path).expect("is there");
    let world = World::new();
    assert_eq!(
        load(&world, &archive),
        ["Loaded image: busybox:1.37.0-glibc"]
    );
    let image = world
        .images
        .get("db287cb6be81")
        .expect("is found by a prefix");
    // What dockerd counts for it.
    assert_eq!(image.size_bytes, 4_421_262);
}
