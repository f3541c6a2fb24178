//! Our daemon in this test's world and the dockerd outside of it, asked the same questions.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::image::{SHELL, import_shell};
use gantry_testkit::peer::Peer;
use serde_json::{Value, json};
use std::cell::RefCell;

/// Both daemons, with the shell image on each.
pub(crate) struct Both {
    pub(crate) ours: Daemon,
    pub(crate) peer: Peer,
    /// Of every container that the test makes.
    prefix: String,
    differences: RefCell<Vec<String>>,
}

/// Status and body, with what is bound to differ taken out.
pub(crate) type Answer = (u16, String);

impl Both {
    /// Starts ours; none if there is no dockerd to compare with, which was said then.
    #[track_caller]
    pub(crate) fn start(test: &str) -> Option<Self> {
        let peer = Peer::find()?;
        let mut ours = Daemon::new(&format!("api-{test}"));
        assert!(
            ours.start(""),
            "the daemon died; its log:\n{}",
            ours.log_text()
        );
        let prefix = format!("ga-{test}-");
        let both = Self {
            ours,
            peer,
            prefix,
            differences: RefCell::default(),
        };
        for mut client in both.clients() {
            import_shell(&mut client);
        }
        both.clean();
        Some(both)
    }

    /// A client of ours, and one of the peer.
    pub(crate) fn clients(&self) -> [Client; 2] {
        [self.ours.client(), self.peer.client()]
    }

    /// The name of one of the test's containers.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Asks both; `@` in the path stands for the prefix of the test's containers. Ours first.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> [Answer; 2] {
        let path = path.replace('@', &self.prefix);
        self.clients().map(|mut client| {
            let answer = client.ask(method, &path, body).expect("the daemon answers");
            (
                answer.status,
                normal(&String::from_utf8_lossy(&answer.body)),
            )
        })
    }

    /// Asks both, and notes a difference.
    #[track_caller]
    pub(crate) fn same(&self, method: &str, path: &str, body: Option<&Value>) {
        let [ours, peer] = self.ask(method, path, body);
        if ours != peer {
            let body = body.map(Value::to_string).unwrap_or_default();
            self.note(format!(
                "{method} {path} {body}\n    Gantry:  {ours:?}\n    dockerd: {peer:?}"
            ));
        }
    }

    /// Notes a difference.
    pub(crate) fn note(&self, difference: String) {
        self.differences.borrow_mut().push(difference);
    }

    /// Makes the same container on both.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, more: &Value) {
        for mut client in self.clients() {
            let path = format!("/v1.51/containers/create?name={}", self.name(name));
            client
                .request("POST", &path, Some(&with_image(more)))
                .expect("a container is made");
        }
    }

    /// Removes the test's containers, and fails if anything differed.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.clean();
        let differences = self.differences.take();
        assert!(
            differences.is_empty(),
            "{} answers differ:\n{}",
            differences.len(),
            differences.join("\n")
        );
    }

    fn clean(&self) {
        for mut client in self.clients() {
            let path = format!(
                "/v1.51/containers/json?all=1&filters=%7B%22name%22:[%22^/{}%22]%7D",
                self.prefix
            );
            let list = client
                .json("GET", &path, None)
                .expect("containers are listed");
            for container in list.as_array().into_iter().flatten() {
                let id = container["Id"].as_str().expect("a container has an id");
                let path = format!("/v1.51/containers/{id}?force=1&v=1");
                client
                    .request("DELETE", &path, None)
                    .expect("a container is removed");
            }
        }
    }
}

/// A create request for the shell image that runs `true`, unless `more` says otherwise.
pub(crate) fn with_image(more: &Value) -> Value {
    let mut request = json!({"Image": SHELL, "Cmd": ["true"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    request
}

/// Ids as `<id>`.
fn normal(text: &str) -> String {
    let mut result = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if matches!(c, '0'..='9' | 'a'..='f') {
            digits.push(c);
            continue;
        }
        result.push_str(if digits.len() == 64 { "<id>" } else { &digits });
        digits.clear();
        result.push(c);
    }
    result.trim_end().to_owned()
}
