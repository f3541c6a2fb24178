//! Manifests, tags, catalog and referrers.

use crate::image::{
    INDEX, MANIFEST, bytes, descriptor, digest, files, manifest, push_blob, push_image, status,
};
use gantry_testkit::registry::{Answer, Registry};
use serde_json::{Value, json};

fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link").strip_prefix('<')?;
    Some(
        link.strip_suffix(">; rel=\"next\"")
            .expect("leads to the next")
            .to_owned(),
    )
}

/// All pages of a list, in order.
fn pages(registry: &Registry, path: &str, field: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut path) = (Vec::new(), Some(path.to_owned()));
    while let Some(wanted) = path {
        let answer = registry.ask("GET", &wanted, &[], &[]);
        assert_eq!(answer.status, 200, "{wanted}: {}", answer.text());
        pages.push(answer.json()[field].as_array().expect("is a list").clone());
        path = next(&answer);
        assert!(pages.len() < 100, "there is no end");
    }
    pages
}

#[test]
fn tags_and_repositories_come_in_pages() {
    let registry = Registry::start();
    for repository in ["b/2", "a", "b/1"] {
        push_image(&registry, repository, "x", 1);
    }
    for tag in ["v10", "v2", "V1", "latest", "_x"] {
        push_image(&registry, "a", tag, 1);
    }
    assert_eq!(
        pages(&registry, "/v2/_catalog?n=2", "repositories"),
        [vec![json!("a"), json!("b/1")], vec![json!("b/2")]]
    );
    let all = ["V1", "_x", "latest", "v10", "v2", "x"]
        .map(Value::from)
        .to_vec();
    assert_eq!(
        pages(&registry, "/v2/a/tags/list", "tags"),
        std::slice::from_ref(&all)
    );
    for size in [1, 2, 3, 5, 6, 7] {
        let pages = pages(&registry, &format!("/v2/a/tags/list?n={size}"), "tags");
        assert_eq!(pages.concat(), all, "{size}");
        assert_eq!(pages.len(), 6_usize.div_ceil(size));
    }
    assert_eq!(
        pages(&registry, "/v2/a/tags/list?n=0", "tags"),
        [Vec::<Value>::new()]
    );
    assert_eq!(
        pages(&registry, "/v2/a/tags/list?last=v10", "tags"),
        [["v2", "x"].map(Value::from).to_vec()]
    );
    assert_eq!(status(&registry, "GET", "/v2/a/tags/list?n=x"), 400);
}

#[test]
fn a_manifest_is_kept_byte_for_byte_and_needs_what_it_names() {
    let registry = Registry::start();
    let (config, layer) = (bytes(1, 10), bytes(2, 10));
    let odd = format!("\n {} \n", manifest(&config, &layer));
    let put = |text: &str, name: &str| {
        registry.ask(
            "PUT",
            &format!("/v2/a/manifests/{name}"),
            &[("Content-Type", MANIFEST)],
            text.as_bytes(),
        )
    };
    push_blob(&registry, "a", &config);
    push_blob(&registry, "other", &layer);
    let missing = put(&odd, "v1");
    assert_eq!(
        (missing.status, missing.json()["errors"][0]["code"].as_str()),
        (400, Some("MANIFEST_BLOB_UNKNOWN"))
    );
    assert_eq!(
        missing.json()["errors"][0]["detail"]["digest"],
        digest(&layer)
    );
    assert_eq!(files(&registry), 2, "a refused manifest leaves nothing");
    push_blob(&registry, "a", &layer);
    let mut lying = manifest(&config, &layer);
    lying["layers"][0]["size"] = json!(11);
    assert_eq!(put(&lying.to_string(), "v1").status, 400);
    assert_eq!(put(&odd, &digest(b"other")).status, 400);
    assert_eq!(put(&odd, "v1").status, 201);
    assert_eq!(
        registry.ask("GET", "/v2/a/manifests/v1", &[], &[]).text(),
        odd
    );
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, b"not there")]});
    let answer = registry.ask(
        "PUT",
        "/v2/a/manifests/i",
        &[("Content-Type", INDEX)],
        index.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 400);
}

#[test]
fn a_push_by_digest_sets_tags() {
    let registry = Registry::start();
    let [digest, ..] = push_image(&registry, "a", "v1", 1);
    let text = registry.ask("GET", "/v2/a/manifests/v1", &[], &[]).text();
    let path = format!("/v2/a/manifests/{digest}?tag=x&tag=y");
    let answer = registry.ask("PUT", &path, &[("Content-Type", MANIFEST)], text.as_bytes());
    assert_eq!((answer.status, answer.header("oci-tag")), (201, "x, y"));
    assert_eq!(status(&registry, "HEAD", "/v2/a/manifests/y"), 200);
    let path = format!("/v2/a/manifests/{digest}?tag=../x");
    assert_eq!(
        registry
            .ask("PUT", &path, &[("Content-Type", MANIFEST)], text.as_bytes())
            .status,
        400
    );
}

#[test]
fn deleting_a_tag_a_manifest_and_a_blob() {
    let registry = Registry::start();
    let [digest, config, _] = push_image(&registry, "a", "v1", 1);
    push_image(&registry, "a", "v2", 1);
    assert_eq!(status(&registry, "DELETE", "/v2/a/manifests/v1"), 202);
    assert_eq!(status(&registry, "DELETE", "/v2/a/manifests/v1"), 404);
    assert_eq!(
        status(&registry, "GET", &format!("/v2/a/manifests/{digest}")),
        200
    );
    assert_eq!(
        status(&registry, "DELETE", &format!("/v2/a/manifests/{digest}")),
        202
    );
    assert_eq!(status(&registry, "GET", "/v2/a/manifests/v2"), 404);
    assert_eq!(
        status(&registry, "DELETE", &format!("/v2/a/blobs/{config}")),
        202
    );
    assert_eq!(
        status(&registry, "GET", &format!("/v2/a/blobs/{config}")),
        404
    );
    assert_eq!(
        status(&registry, "DELETE", &format!("/v2/a/blobs/{config}")),
        404
    );
}

#[test]
fn referrers_are_found_filtered_and_paged() {
    let registry = Registry::start();
    let (config, layer) = (bytes(1, 10), bytes(2, 10));
    push_blob(&registry, "a", &config);
    push_blob(&registry, "a", &layer);
    let subject = descriptor(MANIFEST, b"pushed later");
    let path = format!("/v2/a/referrers/{}", digest(b"pushed later"));
    let none = registry.ask("GET", &path, &[], &[]);
    assert_eq!(
        (
            none.status,
            none.json()["manifests"].as_array().map(Vec::len)
        ),
        (200, Some(0))
    );
    assert_eq!(none.header("content-type"), INDEX);
    let mut pushed = Vec::new();
    for number in 0..40 {
        let mut document = manifest(&config, &layer);
        document["subject"] = subject.clone();
        document["annotations"] =
            json!({"number": number.to_string(), "long": "x".repeat(100_000)});
        if number % 20 == 0 {
            document["artifactType"] = json!("application/x+y");
        }
        let text = document.to_string();
        let digest = digest(text.as_bytes());
        let put = format!("/v2/a/manifests/{digest}");
        let answer = registry.ask("PUT", &put, &[("Content-Type", MANIFEST)], text.as_bytes());
        assert_eq!(
            (answer.status, answer.header("oci-subject")),
            (201, subject["digest"].as_str().expect("is text"))
        );
        pushed.push(digest);
    }
    let pages = pages(&registry, &path, "manifests");
    assert_eq!(pages.len(), 2);
    let mut found: Vec<_> = pages
        .concat()
        .iter()
        .map(|item| item["digest"].as_str().expect("is text").to_owned())
        .collect();
    found.sort();
    pushed.sort();
    assert_eq!(found, pushed);
    assert_eq!(
        pages[0][0]["artifactType"]
            .as_str()
            .map(|kind| kind.starts_with("application/")),
        Some(true)
    );
    let filtered = registry.ask(
        "GET",
        &format!("{path}?artifactType=application/x%2By"),
        &[],
        &[],
    );
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(
        filtered.json()["manifests"].as_array().map(Vec::len),
        Some(2)
    );
    assert!(filtered.json()["manifests"][0]["annotations"]["number"].is_string());
    assert_eq!(status(&registry, "GET", "/v2/a/referrers/sha256:xyz"), 400);
}
