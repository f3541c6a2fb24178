//! The cache of another registry: fetching, sharing, freshness, faults of the other one.

use crate::image::{bytes, digest, files, manifest, push_blob, push_image, push_manifest, status};
use gantry_registry::client::{self, Credentials};
use gantry_registry::server::UpstreamOptions;
use gantry_testkit::registry::{Access, PASSWORD, Registry, Transport, USER};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

fn cache_of(host: &str, tag_lifetime: Duration, credentials: Option<Credentials>) -> Registry {
    let host = host.to_owned();
    Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.lease = Duration::from_secs(1);
        options.upstream = Some(UpstreamOptions {
            host,
            credentials,
            tag_lifetime,
            client: client::Options::default(),
        });
    })
}

#[test]
fn what_was_pulled_once_is_here() {
    let mut upstream = Registry::start();
    let [digest, config, layer] = push_image(&upstream, "a/b", "x", 1);
    let cache = cache_of(&upstream.host(), Duration::ZERO, None);
    assert_eq!(status(&cache, "GET", "/v2/a/b/manifests/none"), 404);
    assert_eq!(
        status(&cache, "HEAD", &format!("/v2/a/b/blobs/{config}")),
        200
    );
    let answer = cache.ask("GET", "/v2/a/b/manifests/x", &[], &[]);
    assert_eq!(
        (answer.status, answer.header("docker-content-digest")),
        (200, digest.as_str())
    );
    let path = format!("/v2/a/b/blobs/{layer}");
    let part = cache.ask("GET", &path, &[("Range", "bytes=4000-4009")], &[]);
    assert_eq!(
        (part.status, part.body.as_slice()),
        (206, &bytes(101, 5000)[4000..4010])
    );
    assert_eq!(cache.ask("GET", &path, &[], &[]).body, bytes(101, 5000));
    assert_eq!(
        cache.ask("GET", "/v2/a/b/tags/list", &[], &[]).json()["tags"][0],
        "x"
    );
    assert_eq!(status(&cache, "POST", "/v2/a/b/blobs/uploads/"), 405);
    upstream.stop(Duration::ZERO);
    for path in [
        "manifests/x".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{config}"),
        format!("blobs/{layer}"),
    ] {
        assert_eq!(
            status(&cache, "GET", &format!("/v2/a/b/{path}")),
            200,
            "{path}"
        );
    }
    assert_eq!(status(&cache, "GET", "/v2/a/b/manifests/other"), 502);
    std::thread::sleep(Duration::from_millis(2100));
    cache.collect();
    assert_eq!(files(&cache), 0, "what nobody asks for goes");
}

#[test]
fn a_tag_follows_the_other_registry_after_its_lifetime() {
    let upstream = Registry::start();
    let [first, ..] = push_image(&upstream, "a", "x", 1);
    let eager = cache_of(&upstream.host(), Duration::ZERO, None);
    let lazy = cache_of(&upstream.host(), Duration::from_hours(1), None);
    let found = |cache: &Registry| {
        cache
            .ask("HEAD", "/v2/a/manifests/x", &[], &[])
            .header("docker-content-digest")
            .to_owned()
    };
    assert_eq!(
        [found(&eager), found(&lazy)],
        [first.clone(), first.clone()]
    );
    let [second, ..] = push_image(&upstream, "a", "x", 2);
    assert_eq!([found(&eager), found(&lazy)], [second, first]);
    assert_eq!(status(&upstream, "DELETE", "/v2/a/manifests/x"), 202);
    assert_eq!(status(&eager, "GET", "/v2/a/manifests/x"), 404);
}

#[test]
fn the_other_registry_is_asked_with_the_caches_credentials() {
    let upstream = Registry::start_with(Access::Password, Transport::Plain, |_| ());
    let credentials = Credentials {
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
        ..Credentials::default()
    };
    let knowing = cache_of(&upstream.host(), Duration::ZERO, Some(credentials));
    assert_eq!(status(&knowing, "GET", "/v2/a/manifests/x"), 404);
    let ignorant = cache_of(&upstream.host(), Duration::ZERO, None);
    assert_eq!(status(&ignorant, "GET", "/v2/a/manifests/x"), 502);
}

#[test]
fn many_clients_share_one_transfer() {
    let upstream = Registry::start();
    let content = bytes(7, 20_000_000);
    let digest = push_blob(&upstream, "a", &content);
    let cache = cache_of(&upstream.host(), Duration::ZERO, None);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (cache, content) = (&cache, &content);
            let path = format!("/v2/a/blobs/{digest}");
            scope.spawn(move || assert_eq!(cache.ask("GET", &path, &[], &[]).body, *content));
        }
    });
    assert_eq!(files(&cache), 1);
}

/// A registry that sends something else than it was asked for.
#[test]
fn a_wrong_blob_is_neither_kept_nor_whole() {
    let wanted = bytes(1, 100_000);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let host = listener.local_addr().expect("has an address").to_string();
    let wrong = bytes(2, 100_000);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take(20) {
            let mut stream = stream;
            let mut head = [0; 4096];
            drop(stream.read(&mut head));
            drop(write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
            ));
            drop(stream.write_all(&wrong));
        }
    });
    let cache = cache_of(&host, Duration::ZERO, None);
    let answer = cache.ask("GET", &format!("/v2/a/blobs/{}", digest(&wanted)), &[], &[]);
    assert!(answer.body.len() < 100_000, "{}", answer.body.len());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(files(&cache), 0);
}

#[test]
fn a_manifest_without_its_blobs_is_kept() {
    let upstream = Registry::start();
    let (config, layer) = (bytes(1, 10), bytes(2, 10));
    push_blob(&upstream, "a", &config);
    push_blob(&upstream, "a", &layer);
    push_manifest(&upstream, "a", "x", &manifest(&config, &layer));
    assert_eq!(
        status(
            &upstream,
            "DELETE",
            &format!("/v2/a/blobs/{}", digest(&layer))
        ),
        202
    );
    let cache = cache_of(&upstream.host(), Duration::ZERO, None);
    assert_eq!(status(&cache, "GET", "/v2/a/manifests/x"), 200);
    assert_eq!(
        status(&cache, "GET", &format!("/v2/a/blobs/{}", digest(&layer))),
        404
    );
}
