//! Pulling: whole, in part, not modified, damaged.

use crate::image::{bytes, files, push_blob, push_image, status};
use gantry_testkit::registry::Registry;

#[test]
fn ranges_of_a_blob() {
    let registry = Registry::start();
    let content = bytes(1, 1_000_000);
    let path = format!("/v2/a/blobs/{}", push_blob(&registry, "a", &content));
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=100000-", 100_000..1_000_000),
        ("bytes=-5", 999_995..1_000_000),
        ("bytes=131071-262145", 131_071..262_146),
        ("bytes=5-99999999", 5..1_000_000),
    ] {
        let answer = registry.ask("GET", &path, &[("Range", range)], &[]);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (206, &content[part.clone()]),
            "{range}"
        );
        let expected = format!("bytes {}-{}/1000000", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), expected);
    }
    let beyond = registry.ask("GET", &path, &[("Range", "bytes=1000000-")], &[]);
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, "bytes */1000000")
    );
    let changed = registry.ask(
        "GET",
        &path,
        &[("Range", "bytes=0-0"), ("If-Range", "\"x\"")],
        &[],
    );
    assert_eq!((changed.status, changed.body.len()), (200, 1_000_000));
}

#[test]
fn heads_etags_and_things_that_are_not_there() {
    let registry = Registry::start();
    let [manifest, config, _] = push_image(&registry, "a/b", "v1", 1);
    for path in [
        format!("/v2/a/b/blobs/{config}"),
        "/v2/a/b/manifests/v1".to_owned(),
        format!("/v2/a/b/manifests/{manifest}"),
    ] {
        let (head, got) = (
            registry.ask("HEAD", &path, &[], &[]),
            registry.ask("GET", &path, &[], &[]),
        );
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), got.body.len().to_string());
        assert_eq!(
            head.header("docker-content-digest"),
            got.header("docker-content-digest")
        );
        let again = registry.ask("GET", &path, &[("If-None-Match", got.header("etag"))], &[]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    for path in [
        format!("/v2/a/c/blobs/{config}"),
        format!("/v2/a/b/blobs/{manifest}"),
        "/v2/a/b/manifests/v2".to_owned(),
        format!("/v2/a/b/manifests/{config}"),
        "/v2/none/tags/list".to_owned(),
    ] {
        assert_eq!(status(&registry, "GET", &path), 404, "{path}");
    }
}

#[test]
fn damaged_content_is_not_served() {
    let registry = Registry::start();
    let [manifest, config, _] = push_image(&registry, "a", "v1", 1);
    let folder = registry.root().join("blobs/sha256");
    let file = |digest: &str| folder.join(&digest["sha256:".len()..]);
    std::fs::write(file(&config), "short").expect("is damaged");
    std::fs::write(file(&manifest), "{}").expect("is damaged");
    assert_eq!(
        status(&registry, "GET", &format!("/v2/a/blobs/{config}")),
        500
    );
    assert_eq!(status(&registry, "GET", "/v2/a/manifests/v1"), 500);
    assert_eq!(files(&registry), 3);
}
