//! Who may come in: passwords, what needs none, TLS, and what a read-only registry refuses.

use crate::image::{push_image, status};
use base64::Engine as _;
use gantry_registry::server::AuthOptions;
use gantry_testkit::registry::{self, Access, PASSWORD, Registry, Transport, USER};

fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

#[test]
fn a_password_is_asked_for_everywhere_but_at_the_health_check() {
    let registry = Registry::start_with(Access::Password, Transport::Plain, |_| ());
    assert_eq!(status(&registry, "GET", "/healthz"), 200);
    for (method, path) in [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/a/tags/list"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/x"),
        ("DELETE", "/v2/a/manifests/x"),
    ] {
        let answer = registry.ask(method, path, &[], &[]);
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, "Basic realm=\"test\""),
            "{path}"
        );
        let wrong = registry.ask(
            method,
            path,
            &[("Authorization", &basic(USER, "wrong"))],
            &[],
        );
        assert_eq!(wrong.status, 401);
    }
    let right = registry.ask(
        "GET",
        "/v2/",
        &[("Authorization", &basic(USER, PASSWORD))],
        &[],
    );
    assert_eq!((right.status, right.text().as_str()), (200, "{}"));
}

#[test]
fn pulling_can_be_free_while_pushing_is_not() {
    let registry = Registry::start_with(Access::Password, Transport::Plain, |options| {
        if let AuthOptions::Passwords { anonymous_pull, .. } = &mut options.auth {
            *anonymous_pull = true;
        }
    });
    assert_eq!(status(&registry, "GET", "/v2/a/tags/list"), 404);
    assert_eq!(status(&registry, "GET", "/v2/"), 401);
    assert_eq!(status(&registry, "POST", "/v2/a/blobs/uploads/"), 401);
    assert_eq!(status(&registry, "GET", "/v2/_catalog"), 401);
    let wrong = registry.ask(
        "GET",
        "/v2/a/tags/list",
        &[("Authorization", &basic(USER, "x"))],
        &[],
    );
    assert_eq!(wrong.status, 401);
}

#[test]
fn a_read_only_registry_refuses_changes() {
    let folder = tempfile::tempdir().expect("is made");
    let root = folder.path().to_owned();
    let writable = Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.root.clone_from(&root);
    });
    let [manifest, ..] = push_image(&writable, "a", "x", 1);
    drop(writable);
    let registry = Registry::start_with(Access::Open, Transport::Plain, |options| {
        options.root = root;
        options.is_read_only = true;
    });
    assert_eq!(status(&registry, "GET", "/v2/a/manifests/x"), 200);
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PUT", "/v2/a/manifests/x".to_owned()),
        ("DELETE", format!("/v2/a/manifests/{manifest}")),
        ("POST", "/v2/a/manifests/x".to_owned()),
        ("PATCH", "/v2/".to_owned()),
    ] {
        assert_eq!(status(&registry, method, &path), 405, "{method} {path}");
    }
}

#[test]
fn a_certificate_is_read_again_when_it_changes() {
    let registry = Registry::start_with(Access::Open, Transport::Tls, |_| ());
    let fetch = || {
        let output = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--cacert"])
            .arg(registry.authority())
            .arg(format!("https://{}/v2/", registry.host()))
            .output()
            .expect("curl runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(fetch(), (true, "{}".to_owned()));
    // Plain HTTP is no TLS: there is no answer at all.
    assert!(registry.try_ask("GET", "/v2/", &[], &[]).is_err());
    let folder = registry
        .authority()
        .parent()
        .expect("is in a folder")
        .to_owned();
    let elsewhere = tempfile::tempdir().expect("is made");
    registry::certificate(elsewhere.path());
    for name in ["tls.key", "tls.crt"] {
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::copy(elsewhere.path().join(name), folder.join(name)).expect("is replaced");
        let file = std::fs::File::options()
            .append(true)
            .open(folder.join(name));
        file.and_then(|file| file.set_modified(later))
            .expect("is touched");
    }
    registry.reload();
    assert!(
        !fetch().0,
        "the old authority is of no use for the new certificate"
    );
    std::fs::copy(elsewhere.path().join("ca.crt"), registry.authority()).expect("is replaced");
    assert_eq!(fetch(), (true, "{}".to_owned()));
    std::fs::write(folder.join("tls.crt"), "nonsense").expect("is damaged");
    registry.reload();
    assert_eq!(
        fetch(),
        (true, "{}".to_owned()),
        "a bad certificate does not replace a good one"
    );
}
