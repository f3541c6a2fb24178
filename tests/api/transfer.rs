//! Pull, push, login and search between the daemon and a registry in one world: the messages are those that dockerd 28.5
//! sends in the same place, and what a killed pull left is used by the next.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::image::{SHELL, import_shell};
use gantry_testkit::registry::{Access, PASSWORD, Registry, Transport, USER};
use gantry_testkit::world;
use serde_json::{Value, json};

/// All messages of an answer, without those that say how far something is.
fn messages(client: &mut Client, path: &str) -> Vec<Value> {
    let answer = client.request("POST", path, None).expect("is answered");
    let text = String::from_utf8(answer.body).expect("is text");
    let all = text.lines().filter(|line| !line.is_empty());
    all.map(|line| serde_json::from_str::<Value>(line).expect("is JSON"))
        .filter(|message| {
            message["progressDetail"]
                .as_object()
                .is_none_or(serde_json::Map::is_empty)
        })
        .collect()
}

/// Status lines alone.
fn lines(messages: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |message: &Value| match text(&message["id"]) {
        id if id.is_empty() => text(&message["status"]),
        id => format!("{id}: {}", text(&message["status"])),
    };
    messages
        .iter()
        .map(line)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn an_image_goes_there_and_comes_back() {
    if !world::enter("transfer::an_image_goes_there_and_comes_back") {
        return;
    }
    let registry = Registry::start();
    let host = registry.host();
    let mut daemon = Daemon::new("transfer");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let mut client = daemon.client();
    import_shell(&mut client);
    let tag = |client: &mut Client, name: &str| {
        let path = format!("/images/{SHELL}/tag?repo={host}/{name}&tag=1");
        assert!(client.request("POST", &path, None).is_ok());
    };
    tag(&mut client, "a/shell");
    let pushed = messages(&mut client, &format!("/images/{host}/a/shell/push?tag=1"));
    let found = lines(&pushed);
    assert_eq!(
        found[0],
        format!("The push refers to repository [{host}/a/shell]")
    );
    assert!(found[1].ends_with(": Preparing"), "{found:?}");
    assert!(found[2].ends_with(": Pushed"), "{found:?}");
    let digest = pushed.last().expect("has an end")["aux"]["Digest"].clone();
    let digest = digest.as_str().expect("is text").to_owned();
    assert!(
        found[3].starts_with(&format!("1: digest: {digest} size: ")),
        "{found:?}"
    );

    // Once more, and beside it: nothing is sent.
    let again = lines(&messages(
        &mut client,
        &format!("/images/{host}/a/shell/push?tag=1"),
    ));
    assert!(again[2].ends_with(": Layer already exists"), "{again:?}");
    tag(&mut client, "b/shell");
    let beside = lines(&messages(
        &mut client,
        &format!("/images/{host}/b/shell/push?tag=1"),
    ));
    assert!(beside[2].ends_with(": Mounted from a/shell"), "{beside:?}");

    let pull = format!("/images/create?fromImage={host}/a/shell&tag=1");
    let same = lines(&messages(&mut client, &pull));
    let expected = [
        "1: Pulling from a/shell".to_owned(),
        format!("Digest: {digest}"),
        format!("Status: Image is up to date for {host}/a/shell:1"),
    ];
    assert_eq!(same, expected);

    // A daemon that has nothing of it.
    let mut other = Daemon::new("transfer-other");
    assert!(other.start(""), "{}", other.log_text());
    let mut client = other.client();
    let came = lines(&messages(&mut client, &pull));
    assert_eq!(came[0], "1: Pulling from a/shell");
    for (line, end) in came[1..].iter().zip([
        ": Pulling fs layer",
        ": Verifying Checksum",
        ": Download complete",
        ": Pull complete",
    ]) {
        assert!(line.ends_with(end), "{came:?}");
    }
    assert_eq!(came[5], format!("Digest: {digest}"));
    assert_eq!(
        came[6],
        format!("Status: Downloaded newer image for {host}/a/shell:1")
    );
    let partial = other.root().join("data/images/partial");
    assert_eq!(std::fs::read_dir(partial).expect("is there").count(), 0);

    // What was pulled goes on under the same digest, by every name.
    let path = format!("/images/{host}/a/shell:1/tag?repo={host}/c/shell&tag=2");
    assert!(client.request("POST", &path, None).is_ok());
    let pushed = messages(&mut client, &format!("/images/{host}/c/shell/push"));
    assert_eq!(pushed.last().expect("has an end")["aux"]["Digest"], digest);
    let remote = client
        .json("GET", &format!("/distribution/{host}/c/shell:2/json"), None)
        .expect("is answered");
    assert_eq!(remote["Descriptor"]["digest"], digest);
    assert_eq!(remote["Platforms"].as_array().map(Vec::len), Some(1));

    let refusal = |client: &mut Client, method: &str, path: &str| {
        client.request(method, path, None).expect_err("is refused")
    };
    let missing = refusal(
        &mut client,
        "POST",
        &format!("/images/create?fromImage={host}/a/shell&tag=9"),
    );
    let text =
        format!("manifest for {host}/a/shell:9 not found: manifest unknown: manifest unknown");
    assert!(
        missing.contains("404") && missing.contains(&text),
        "{missing}"
    );
    let nowhere = refusal(
        &mut client,
        "POST",
        "/images/create?fromImage=127.0.0.1:1/x&tag=1",
    );
    let text = "dial tcp 127.0.0.1:1: connect: connection refused";
    assert!(
        nowhere.contains("500") && nowhere.contains(text),
        "{nowhere}"
    );
    let search = refusal(&mut client, "GET", &format!("/images/search?term={host}/x"));
    assert!(search.contains("Unexpected status code 404"), "{search}");
}

#[test]
fn passwords_are_asked_for_and_tried() {
    if !world::enter("transfer::passwords_are_asked_for_and_tried") {
        return;
    }
    let registry = Registry::start_with(Access::Password, Transport::Plain, |_| ());
    let host = registry.host();
    let mut daemon = Daemon::new("transfer-password");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let mut client = daemon.client();
    let mut login = |password: &str| {
        let body = json!({"username": USER, "password": password, "serveraddress": host});
        client.json("POST", "/auth", Some(&body))
    };
    let taken = login(PASSWORD);
    let wrong = login("wrong");
    assert!(wrong.is_err(), "{wrong:?}");
    assert_eq!(taken.expect("is taken")["Status"], "Login Succeeded");
    let path = format!("/images/create?fromImage={host}/a/shell&tag=1");
    let refused = client.request("POST", &path, None).expect_err("is refused");
    assert!(refused.contains("no basic auth credentials"), "{refused}");
}
