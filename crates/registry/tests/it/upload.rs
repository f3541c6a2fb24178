//! Pushing blobs: every way there is, broken off, out of order, twice at a time, over a restart.

use crate::image::{bytes, digest, files, push_blob, status};
use gantry_testkit::registry::Registry;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

#[track_caller]
fn begin(registry: &Registry) -> String {
    let answer = registry.ask("POST", "/v2/a/b/blobs/uploads/", &[], &[]);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("range"), "0-0");
    answer.header("location").to_owned()
}

#[track_caller]
fn finish(registry: &Registry, location: &str, content: &[u8], rest: &[u8]) {
    let path = format!("{location}?digest={}", digest(content));
    let answer = registry.ask("PUT", &path, &[], rest);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let got = registry.ask("GET", answer.header("location"), &[], &[]);
    assert_eq!((got.status, got.body.as_slice()), (200, content));
}

#[test]
fn in_one_request_in_two_and_in_chunks() {
    let registry = Registry::start();
    let content = bytes(1, 3_000_000);
    push_blob(&registry, "one", &content);
    finish(&registry, &begin(&registry), &content, &content);

    let location = begin(&registry);
    for (chunk, range) in [
        (0..1_000_000, "0-999999"),
        (1_000_000..2_500_000, "1000000-2499999"),
    ] {
        let answer = registry.ask(
            "PATCH",
            &location,
            &[("Content-Range", range)],
            &content[chunk.clone()],
        );
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.header("range"), format!("0-{}", chunk.end - 1));
    }
    let wrong = registry.ask("PATCH", &location, &[("Content-Range", "5-9")], b"12345");
    assert_eq!((wrong.status, wrong.header("range")), (416, "0-2499999"));
    let wrong = registry.ask(
        "PATCH",
        &location,
        &[("Content-Range", "2500000-2500009")],
        b"12345",
    );
    assert_eq!(
        (wrong.status, wrong.json()["errors"][0]["code"].as_str()),
        (400, Some("SIZE_INVALID"))
    );
    let state = registry.ask("GET", &location, &[], &[]);
    assert_eq!((state.status, state.header("range")), (204, "0-2499999"));
    finish(&registry, &location, &content, &content[2_500_000..]);
    assert_eq!(status(&registry, "GET", &location), 404);
}

#[test]
fn sha512_is_taken_too() {
    let registry = Registry::start();
    // `printf hello | sha512sum`
    let digest = "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043";
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    assert_eq!(registry.ask("POST", &path, &[], b"hello").status, 201);
    assert_eq!(registry.ask("POST", &path, &[], b"hallo").status, 400);
    assert_eq!(
        registry
            .ask("GET", &format!("/v2/a/blobs/{digest}"), &[], &[])
            .body,
        b"hello"
    );
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let registry = Registry::start();
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(b"other"));
    let answer = registry.ask("POST", &path, &[], b"content");
    assert_eq!(
        (answer.status, answer.json()["errors"][0]["code"].as_str()),
        (400, Some("DIGEST_INVALID"))
    );
    for bad in [
        "sha256:00",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:../../../etc/passwd",
        "",
    ] {
        let answer = registry.ask(
            "POST",
            &format!("/v2/a/blobs/uploads/?digest={bad}"),
            &[],
            b"content",
        );
        assert_eq!(answer.status, 400, "{bad}");
    }
    assert_eq!(files(&registry), 0);
}

/// Sends a part of a body and hangs up.
fn break_off(registry: &Registry, location: &str, content: &[u8], sent: usize) {
    let mut stream = registry.connect().expect("connects");
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).expect("is sent");
    stream.write_all(&content[..sent]).expect("is sent");
}

/// Waits until the upload's file has this length. To ask the registry would end the request that is looked at.
#[track_caller]
fn arrived(registry: &Registry, location: &str, length: u64) {
    let id = location.rsplit('/').next().expect("ends in its id");
    let file = registry.root().join("uploads").join(id);
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&file).expect("is there").len() != length {
        assert!(
            Instant::now() < deadline,
            "only {:?} arrived",
            file.metadata()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the client is told to go on.
#[track_caller]
fn offset(registry: &Registry, location: &str) -> usize {
    let answer = registry.ask("GET", location, &[], &[]);
    let last = answer
        .header("range")
        .strip_prefix("0-")
        .expect("is a range");
    match last.parse().expect("is a number") {
        0 => 0,
        last => last + 1_usize,
    }
}

#[test]
fn what_arrived_before_a_break_stays() {
    let mut registry = Registry::start();
    let content = bytes(2, 2_000_000);
    let location = begin(&registry);
    break_off(&registry, &location, &content, 700_001);
    arrived(&registry, &location, 700_001);
    break_off(&registry, &location, &content[700_001..], 300_000);
    arrived(&registry, &location, 1_000_001);
    assert_eq!(offset(&registry, &location), 1_000_001);
    registry.restart();
    assert_eq!(offset(&registry, &location), 1_000_001);
    finish(&registry, &location, &content, &content[1_000_001..]);
}

#[test]
fn the_newest_request_has_the_right_of_way() {
    let registry = Registry::start();
    let content = bytes(3, 1_000_000);
    let location = begin(&registry);
    // Its client is gone, but nothing says so.
    let mut hanging = registry.connect().expect("connects");
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    hanging.write_all(head.as_bytes()).expect("is sent");
    hanging.write_all(&content[..400_000]).expect("is sent");
    let path = format!("{location}?digest={}", digest(&content));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // The hanging request may come after the question; then the offset is another one, and the range tells.
        let offset = offset(&registry, &location);
        let range = format!("{offset}-999999");
        let done = registry.ask(
            "PUT",
            &path,
            &[("Content-Range", &range)],
            &content[offset..],
        );
        if done.status == 201 {
            break;
        }
        assert_eq!(done.status, 416, "{}", done.text());
        assert!(Instant::now() < deadline, "the upload does not end");
    }
    let mut answer = String::new();
    // Either an answer or a reset tells it.
    drop(hanging.read_to_string(&mut answer));
    assert!(!answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[test]
fn an_upload_can_be_cancelled_and_belongs_to_its_repository() {
    let registry = Registry::start();
    let location = begin(&registry);
    let elsewhere = location.replace("/a/b/", "/a/c/");
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let path = format!("{elsewhere}?digest={}", digest(b""));
        assert_eq!(status(&registry, method, &path), 404, "{method}");
    }
    assert_eq!(status(&registry, "DELETE", &location), 204);
    assert_eq!(status(&registry, "DELETE", &location), 404);
    assert_eq!(
        status(
            &registry,
            "PATCH",
            "/v2/a/b/blobs/uploads/00000000-0000-0000-0000-000000000000"
        ),
        404
    );
    assert_eq!(files(&registry), 0);
}

#[test]
fn a_blob_is_mounted_from_where_it_is() {
    let registry = Registry::start();
    let digest = push_blob(&registry, "source", b"content");
    let mount = |query: &str| {
        registry.ask(
            "POST",
            &format!("/v2/target/blobs/uploads/?{query}"),
            &[],
            &[],
        )
    };
    assert_eq!(mount(&format!("mount={digest}&from=other")).status, 202);
    assert_eq!(mount(&format!("mount={digest}&from=../source")).status, 202);
    let path = format!("/v2/target/blobs/{digest}");
    assert_eq!(status(&registry, "HEAD", &path), 404);
    assert_eq!(mount(&format!("mount={digest}&from=source")).status, 201);
    assert_eq!(registry.ask("GET", &path, &[], &[]).body, b"content");
}

#[test]
fn the_same_blob_from_many_at_a_time() {
    let registry = Registry::start();
    let content = bytes(4, 500_000);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (registry, content) = (&registry, &content);
            scope.spawn(move || push_blob(registry, &format!("r{}", number % 4), content));
        }
    });
    assert_eq!(files(&registry), 1);
    for number in 0..4 {
        let path = format!("/v2/r{number}/blobs/{}", digest(&content));
        assert_eq!(registry.ask("GET", &path, &[], &[]).body, content);
    }
}
