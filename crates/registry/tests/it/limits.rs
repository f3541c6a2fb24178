//! Bounds: sizes, slow clients, many connections, requests that are none.

use crate::image::{MANIFEST, bytes, digest, files, push_blob, status};
use gantry_testkit::registry::{Access, Registry, Transport};
use std::io::{Read as _, Write as _};
use std::time::Duration;

#[test]
fn what_is_too_large_is_refused() {
    let registry = Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.manifest_bytes_max = 10_000;
        options.blob_bytes_max = 100_000;
    });
    push_blob(&registry, "a", &bytes(1, 100_000));
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&bytes(2, 100_001)));
    let answer = registry.try_ask("POST", &path, &[], &bytes(2, 100_001));
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(20_000));
    let answer = registry.ask(
        "PUT",
        "/v2/a/manifests/x",
        &[("Content-Type", MANIFEST)],
        large.as_bytes(),
    );
    assert_eq!(answer.status, 413);
    let header = "y".repeat(300_000);
    let answer = registry.try_ask("GET", "/v2/", &[("X-Long", &header)], &[]);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 431));
    assert_eq!(status(&registry, "GET", "/v2/"), 200);
}

#[test]
fn stalled_clients_are_dropped_and_do_not_hold_up_others() {
    let registry = Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.stall_timeout = Duration::from_secs(1);
    });
    let content = bytes(1, 30_000_000);
    let path = format!("/v2/a/blobs/{}", push_blob(&registry, "a", &content));
    // Readers that take nothing, and writers that send nothing.
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let mut reader = registry.connect().expect("connects");
        write!(reader, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("is sent");
        let mut writer = registry.connect().expect("connects");
        write!(
            writer,
            "POST /v2/a/blobs/uploads/?digest={} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
            digest(b"hello")
        )
        .expect("is sent");
        stalled.push((reader, writer));
    }
    for _ in 0..5 {
        assert_eq!(
            registry.ask("GET", &path, &[], &[]).body.len(),
            content.len()
        );
    }
    std::thread::sleep(Duration::from_secs(3));
    for (mut reader, mut writer) in stalled {
        let mut taken = Vec::new();
        drop(reader.read_to_end(&mut taken));
        assert!(taken.len() < content.len(), "the reader was dropped");
        let mut answer = String::new();
        drop(writer.read_to_string(&mut answer));
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.is_empty(),
            "{answer}"
        );
    }
}

#[test]
fn two_thousand_idle_connections_leave_room() {
    let registry = Registry::start();
    let idle: Vec<_> = (0..2000).map_while(|_| registry.connect().ok()).collect();
    // As many as this process may have open.
    assert!(idle.len() >= 400, "{}", idle.len());
    drop(idle.into_iter().skip(400).collect::<Vec<_>>());
    for _ in 0..20 {
        push_blob(&registry, "a", &bytes(1, 100_000));
    }
}

#[test]
fn nonsense_is_answered_or_dropped() {
    let registry = Registry::start();
    for nonsense in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /v2/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut stream = registry.connect().expect("connects");
        stream.write_all(nonsense).expect("is sent");
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(
        (status(&registry, "GET", "/v2/"), files(&registry)),
        (200, 0)
    );
}
