//! Garbage: what goes, what stays, and that nothing is lost while clients push.

use crate::image::{
    INDEX, MANIFEST, bytes, descriptor, digest, files, manifest, push_blob, push_image,
    push_manifest, status,
};
use gantry_testkit::registry::{Access, Registry, Transport};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Leases end within a second or two.
fn hasty(lease_s: u64) -> Registry {
    Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.lease = Duration::from_secs(lease_s);
        options.upload_timeout = Duration::from_secs(1);
    })
}

#[test]
fn what_nothing_keeps_goes_and_the_rest_stays() {
    let registry = hasty(1);
    let [kept, config, layer] = push_image(&registry, "a", "kept", 1);
    let [gone, gone_config, _] = push_image(&registry, "a", "gone", 2);
    let stray = push_blob(&registry, "stray", b"stray");
    registry.ask("POST", "/v2/a/blobs/uploads/", &[], &[]);
    registry.collect();
    assert_eq!(files(&registry), 8, "leases run");
    assert_eq!(
        status(&registry, "DELETE", &format!("/v2/a/manifests/{gone}")),
        202
    );
    std::thread::sleep(Duration::from_millis(2100));
    registry.collect();
    for digest in [&config, &layer] {
        assert_eq!(
            status(&registry, "GET", &format!("/v2/a/blobs/{digest}")),
            200
        );
    }
    assert_eq!(
        status(&registry, "GET", &format!("/v2/a/manifests/{kept}")),
        200
    );
    assert_eq!(
        status(&registry, "GET", &format!("/v2/a/blobs/{gone_config}")),
        404
    );
    assert_eq!(
        status(&registry, "GET", &format!("/v2/stray/blobs/{stray}")),
        404
    );
    assert_eq!(files(&registry), 3);
    let catalog = registry.ask("GET", "/v2/_catalog", &[], &[]).json();
    assert_eq!(catalog, json!({"repositories": ["a"]}));
}

#[test]
fn a_blob_shared_by_repositories_stays_until_the_last_lets_go() {
    let registry = hasty(1);
    let [first, ..] = push_image(&registry, "a", "x", 1);
    push_image(&registry, "b", "x", 1);
    assert_eq!(files(&registry), 3);
    assert_eq!(
        status(&registry, "DELETE", &format!("/v2/a/manifests/{first}")),
        202
    );
    std::thread::sleep(Duration::from_millis(2100));
    registry.collect();
    assert_eq!(files(&registry), 3);
    assert_eq!(
        status(&registry, "DELETE", &format!("/v2/b/manifests/{first}")),
        202
    );
    registry.collect();
    assert_eq!(files(&registry), 0);
}

#[test]
fn untagged_manifests_go_only_where_asked_for() {
    let registry = Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.lease = Duration::from_secs(1);
        options.collect_untagged = true;
    });
    let (config, layer) = (bytes(1, 10), bytes(2, 10));
    push_blob(&registry, "a", &config);
    push_blob(&registry, "a", &layer);
    let child = manifest(&config, &layer);
    let child_digest = push_manifest(&registry, "a", "", &child);
    let text = child.to_string();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, text.as_bytes())]});
    push_manifest(&registry, "a", "index", &index);
    let mut about = child.clone();
    about["subject"] = descriptor(MANIFEST, text.as_bytes());
    let about = push_manifest(&registry, "a", "", &about);
    let mut lonely = child.clone();
    lonely["annotations"] = json!({"a": "b"});
    let lonely = push_manifest(&registry, "a", "", &lonely);
    std::thread::sleep(Duration::from_millis(2100));
    registry.collect();
    let found = [&child_digest, &about, &lonely]
        .map(|digest| status(&registry, "GET", &format!("/v2/a/manifests/{digest}")));
    assert_eq!(found, [200, 200, 404]);
    assert_eq!(status(&registry, "DELETE", "/v2/a/manifests/index"), 202);
    registry.collect();
    registry.collect();
    assert_eq!(files(&registry), 0);
}

/// Clients push images and pull them again while garbage is collected without a pause and others delete.
#[test]
fn nothing_is_lost_while_garbage_is_collected() {
    let registry = hasty(30);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (registry, done) = (&registry, &done);
        let collector = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                registry.collect();
            }
        });
        let clients: Vec<_> = (0..4)
            .map(|client| {
                scope.spawn(move || {
                    for round in 0..12 {
                        // Contents are shared by all clients, and let go of by each.
                        let repository = format!("r{client}");
                        let [manifest, config, layer] =
                            push_image(registry, &repository, "x", round % 3);
                        for path in [
                            format!("manifests/{manifest}"),
                            format!("blobs/{config}"),
                            format!("blobs/{layer}"),
                        ] {
                            let path = format!("/v2/{repository}/{path}");
                            let answer = registry.ask("GET", &path, &[], &[]);
                            assert_eq!(
                                (answer.status, digest(&answer.body).as_str()),
                                (200, path.rsplit('/').next().expect("has a name"))
                            );
                        }
                        for path in [
                            format!("manifests/{manifest}"),
                            format!("blobs/{config}"),
                            format!("blobs/{layer}"),
                        ] {
                            assert_eq!(
                                status(registry, "DELETE", &format!("/v2/{repository}/{path}")),
                                202
                            );
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = clients
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::Relaxed);
        collector.join().expect("collects");
        for result in results {
            result.expect("nothing is lost");
        }
    });
    registry.collect();
    assert_eq!(files(&registry), 0);
}
