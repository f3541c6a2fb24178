//! What is not well made is refused, and nothing of it stays (T6, T7, T8).

use crate::archive::{Layout, Tar, config, docker_archive, gzip, layer, zstd};
use crate::world::{World, kinds};
use gantry_image::Limits;
use gantry_oci::Digest;
use std::io::Read;

#[track_caller]
fn refused(case: &str, archive: &[u8]) -> String {
    let mut messages = Vec::new();
    for kind in kinds() {
        let world = World::of_kind(kind);
        let loaded = world.images.load(archive, None, &mut |_| {});
        messages.push(loaded.expect_err(case).message().to_owned());
        world.assert_empty(case);
    }
    messages.dedup();
    assert_eq!(
        messages.len(),
        1,
        "{case}: the same for every kind of layer"
    );
    messages.remove(0)
}

fn archive_with(config_path: &str, layer_path: &str, tags: &str) -> Vec<u8> {
    let tar = layer("x");
    let manifest =
        format!(r#"[{{"Config":"{config_path}","RepoTags":{tags},"Layers":["{layer_path}"]}}]"#);
    Tar::new()
        .file("c.json", &config(&[Digest::of(&tar)], "x"))
        .file("l/layer.tar", &tar)
        .symlink("out.json", "/etc/passwd")
        .symlink("up.json", "../../../../etc/passwd")
        .symlink("round", "round")
        .symlink("device", "/dev/zero")
        .file("manifest.json", manifest.as_bytes())
        .end()
}

#[test]
fn names_are_never_paths_of_this_machine() {
    for (config_path, layer_path) in [
        ("../../etc/passwd", "l/layer.tar"),
        ("/etc/passwd", "l/layer.tar"),
        ("out.json", "l/layer.tar"),
        ("up.json", "l/layer.tar"),
        ("round", "l/layer.tar"),
        ("c.json", "device"),
        ("c.json", "../l/layer.tar"),
        ("c.json", "c.json"),
        ("l/layer.tar", "l/layer.tar"),
        ("c.json", ""),
    ] {
        refused(
            &format!("{config_path} {layer_path}"),
            &archive_with(config_path, layer_path, "null"),
        );
    }
    for tags in [
        r#"["../../x"]"#,
        r#"["X:1"]"#,
        r#"["x"]"#,
        r#"["x:.."]"#,
        r#"["x@sha256:00"]"#,
    ] {
        refused(tags, &archive_with("c.json", "l/layer.tar", tags));
    }
    let world = World::new();
    world
        .images
        .load(
            &archive_with("c.json", "l/layer.tar", "null")[..],
            None,
            &mut |_| {},
        )
        .expect("is good otherwise");
}

#[test]
fn digests_that_are_none_are_refused_before_anything_else() {
    for digest in [
        "sha256:../../x",
        "sha256:ABCDEF",
        "sha256:00",
        "sha512:00",
        "",
        "sha256:",
    ] {
        let manifest = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 2});
        let mut layout = Layout::default();
        layout.add(manifest, "x:1");
        refused(digest, &layout.tar());
    }
}

#[test]
fn content_that_is_not_what_its_digest_says() {
    type Damage = (&'static str, fn(&mut Layout, &serde_json::Value));
    let digest_of = |value: &serde_json::Value| {
        Digest::parse(value["digest"].as_str().expect("is text")).expect("is valid")
    };
    let cases: [Damage; 3] = [
        ("manifest", |layout, descriptor| {
            let digest =
                Digest::parse(descriptor["digest"].as_str().expect("is text")).expect("is valid");
            layout.put(&digest, br#"{"schemaVersion":2}"#);
        }),
        ("layer", |layout, _| {
            layout.put(&Digest::of(&gzip(&layer("good"))), &gzip(&layer("evil")));
        }),
        ("config", |layout, _| {
            let good = config(&[Digest::of(&layer("good"))], "good");
            layout.put(
                &Digest::of(
                    &serde_json::to_vec(
                        &serde_json::from_slice::<serde_json::Value>(&good).expect("is JSON"),
                    )
                    .expect("is JSON"),
                ),
                &config(&[Digest::of(&layer("good"))], "evil"),
            );
        }),
    ];
    for (case, damage) in cases {
        let mut layout = Layout::default();
        let descriptor = layout.image(&[(layer("good"), "+gzip")], "good", "amd64");
        damage(&mut layout, &descriptor);
        layout.add(descriptor, "x:1");
        let message = refused(case, &layout.tar());
        assert!(
            message.contains("digest") || message.contains("JSON") || message.contains("is not"),
            "{case}: {message}"
        );
    }
    let mut layout = Layout::default();
    let mut descriptor = layout.image(&[(layer("good"), "+gzip")], "good", "amd64");
    let _ = digest_of(&descriptor);
    descriptor["size"] = 7.into();
    layout.add(descriptor, "x:1");
    refused("wrong size", &layout.tar());
}

#[test]
fn a_layer_that_is_not_the_one_its_config_names() {
    let good = docker_archive(&[layer("good")], &["x:1"], true);
    let config_of_good = config(&[Digest::of(&layer("good"))], "docker");
    let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]"#;
    let archive = |layer: &[u8]| {
        Tar::new()
            .file("c.json", &config_of_good)
            .file("l.tar", layer)
            .file("manifest.json", manifest)
            .end()
    };
    let message = refused("another layer", &archive(&layer("evil")));
    let (expected, found) = (Digest::of(&layer("good")), Digest::of(&layer("evil")));
    assert_eq!(
        message,
        format!("invalid diffID for layer 0: expected \"{expected}\", got \"{found}\"")
    );
    refused("truncated gzip", &archive(&gzip(&layer("good"))[..60]));
    let mut damaged = gzip(&layer("good"));
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    refused("gzip with a wrong checksum", &archive(&damaged));
    refused(
        "two layers promised",
        &Tar::new()
            .file("c.json", &config_of_good)
            .file("manifest.json", br#"[{"Config":"c.json","Layers":[]}]"#)
            .end(),
    );
    refused("truncated archive", &good[..good.len() - 2000]);
    refused("nothing", b"");
    refused("no archive", b"junk");
    refused("no image", &Tar::new().file("a", b"b").end());
}

#[test]
fn a_document_that_is_manifest_and_index_at_once() {
    let mut layout = Layout::default();
    let (digest, size) = layout.json(&serde_json::json!({
        "schemaVersion": 2, "manifests": [], "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(b""), "size": 0},
    }));
    for kind in ["manifest", "index"] {
        let mut layout_of_kind = Layout::default();
        std::mem::swap(&mut layout, &mut layout_of_kind);
        layout_of_kind.add(serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}.v1+json"), "digest": digest, "size": size}), "x:1");
        refused(kind, &layout_of_kind.tar());
        layout = Layout::default();
        layout.json(&serde_json::json!({
            "schemaVersion": 2, "manifests": [], "layers": [],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(b""), "size": 0},
        }));
    }
}

/// A tar with one file of zeros.
fn zeros(size: u64) -> impl Read {
    let mut tar = Tar::new();
    tar.header(b'0', "zeros", "", usize::try_from(size).expect("is small"));
    let header = tar.end()[..512].to_vec();
    std::io::Cursor::new(header).chain(std::io::repeat(0).take(size + 1024))
}

#[test]
fn bombs_stop_at_their_limits() {
    let limits = Limits {
        layer_bytes: 64 << 20,
        inflate_free_bytes: 8 << 20,
        inflate_ratio: 1100,
        ..Limits::default()
    };
    // 1 GiB of zeros in 50 kB.
    let bomb = zstd::encode_all(zeros(1 << 30), 1).expect("is compressed");
    assert!(bomb.len() < 200_000);
    let manifest = br#"[{"Config":"c.json","Layers":["l"]}]"#;
    let inside = Tar::new()
        .file("l", &bomb)
        .file("c.json", &config(&[Digest::of(b"")], ""))
        .file("manifest.json", manifest)
        .end();
    for (case, archive) in [
        ("layer", &inside),
        ("layer within zstd", &zstd(&inside)),
        ("whole archive", &bomb),
    ] {
        let world = World::with(limits);
        let error = world
            .images
            .load(&archive[..], None, &mut |_| {})
            .expect_err(case);
        assert!(
            error.message().contains("proportion") || error.message().contains("longer"),
            "{case}: {error}"
        );
        world.assert_empty(case);
    }
    let world = World::with(limits);
    let plain = zstd::encode_all(zeros(80 << 20), 1).expect("is compressed");
    world
        .images
        .import(&plain[..], gantry_image::ImportOptions::default())
        .expect_err("is too long");
    world.assert_empty("import");
}

#[test]
fn documents_have_limits_too() {
    let world = World::with(Limits {
        document_bytes: 1000,
        documents_bytes: 3000,
        members: 50,
        ..Limits::default()
    });
    let mut long = Tar::new().file("manifest.json", &[b' '; 2000]);
    assert!(
        world
            .images
            .load(&long.end()[..], None, &mut |_| {})
            .is_err()
    );
    long = Tar::new();
    for index in 0..5 {
        long = long.file(&format!("{index}.json"), &[b'1'; 900]);
    }
    assert!(
        world
            .images
            .load(&long.end()[..], None, &mut |_| {})
            .is_err()
    );
    long = Tar::new();
    for index in 0..60 {
        long = long.file(&format!("{index}.json"), b"");
    }
    assert!(
        world
            .images
            .load(&long.end()[..], None, &mut |_| {})
            .is_err()
    );
    world.assert_empty("documents");
}
