//! Runs command lines, and compares what happened with what Docker's command line did.

use crate::fake_api::{FakeApi, Recorded, Reply};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory with a fake daemon in it.
pub(crate) struct World {
    directory: tempfile::TempDir,
    api: FakeApi,
}

impl World {
    /// Files that command lines name, and a daemon that answers by `script`.
    pub(crate) fn new(
        files: &[(&str, &str)],
        script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Self {
        // Not where `TMPDIR` says: the path of a socket has to be short.
        let directory = tempfile::tempdir_in("/tmp").expect("can create a directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("can write");
        }
        let api = FakeApi::start(directory.path(), script);
        Self { directory, api }
    }
    /// A command of `program` in this world, with nothing of the user's environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("TZ", "UTC")
            .env("FROM_OUTSIDE", "value of the environment")
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.api.socket.display()),
            )
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }
    /// Runs a command line and tells everything about it.
    pub(crate) fn run(&self, program: &Path, line: &[String]) -> Value {
        let output = self.command(program).args(line).output().expect("can run");
        let requests = self.api.take_requests();
        let requests = comparable(line, requests.iter().map(Recorded::to_json).collect());
        // The next program finds the directory as this one did.
        for name in ["new.cid", "out.tar"] {
            let _ = std::fs::remove_file(self.directory.path().join(name));
        }
        let here = self.directory.path().to_str().expect("is UTF-8");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(here, "$DIR");
        let whole = json!({
            "line": line,
            "status": output.status.code(),
            "stdout": text(&output.stdout),
            "stderr": text(&output.stderr),
            "requests": requests,
        });
        serde_json::from_str(&whole.to_string().replace(here, "$DIR")).expect("is still JSON")
    }
    /// Runs the lines of `lines/{name}.txt` and compares with `golden/{name}.json`, which Docker's command line wrote.
    pub(crate) fn compare(&self, name: &str) {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
        let lines = std::fs::read_to_string(tests.join(format!("lines/{name}.txt")))
            .expect("the lines exist");
        let lines: Vec<Vec<String>> = lines.lines().map(split_words).collect();
        let path = tests.join(format!("golden/{name}.json"));
        let docker = std::env::var_os("GANTRY_TEST_DOCKER").map(PathBuf::from);
        if let (Some(docker), Some(_)) = (&docker, std::env::var_os("GANTRY_TEST_RECORD")) {
            let recorded: Vec<Value> = lines.iter().map(|line| self.run(docker, line)).collect();
            let text = serde_json::to_string_pretty(&recorded).expect("is JSON") + "\n";
            std::fs::write(&path, text).expect("can write");
        }
        let text = std::fs::read_to_string(&path).expect("the golden file exists");
        let expected: Vec<Value> = serde_json::from_str(&text).expect("the golden file is JSON");
        assert_eq!(
            expected.len(),
            lines.len(),
            "the golden file is of other lines"
        );
        let mut differences = Vec::new();
        for (line, expected) in lines.iter().zip(&expected) {
            assert_eq!(
                expected["line"],
                json!(line),
                "the golden file is of other lines"
            );
            let at = line.join(" ");
            if let Some(docker) = &docker {
                push_differences(
                    &format!("docker {at}: "),
                    &self.run(docker, line),
                    expected,
                    &mut differences,
                );
            }
            push_differences(
                &format!("gantry {at}: "),
                &self.run(&gantry(), line),
                expected,
                &mut differences,
            );
        }
        assert!(
            differences.is_empty(),
            "{} differences:\n{}",
            differences.len(),
            differences.join("\n")
        );
    }
}

/// Splits a line as a shell does, as far as spaces and quotes go.
fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The command line under test: an example of this crate, which cargo builds beside the tests.
pub(crate) fn gantry() -> PathBuf {
    let test = std::env::current_exe().expect("has a path");
    let target = test
        .parent()
        .and_then(Path::parent)
        .expect("is in target/debug/deps");
    target.join("examples/docker")
}

/// Leaves out what Docker asks and we need not, and the order that is up to chance.
fn comparable(line: &[String], mut requests: Vec<Value>) -> Vec<Value> {
    let is_run_detached = line.len() > 1 && line[0] == "run" && line[1] == "-d";
    requests.retain(|request| {
        let path = request["path"].as_str().unwrap_or_default();
        match line[0].as_str() {
            // Whether there is a swarm.
            "inspect" => path != "/info",
            // Nobody is there to hear of the end.
            "run" if is_run_detached => !path.ends_with("/wait"),
            // The answer's type says whether it is framed; and whether there is such a container.
            "logs" | "attach" => !path.ends_with("/json") && !path.contains("nothing"),
            _ => true,
        }
    });
    for request in &mut requests {
        if let Some(variables) = request
            .pointer_mut("/body/Env")
            .and_then(Value::as_array_mut)
        {
            variables.sort_unstable_by_key(ToString::to_string);
        }
        if let Some(body) = request["body"].as_object_mut() {
            // A leftover in the request that makes an exec.
            body.remove("Detach");
        }
    }
    if ["kill", "rm", "stop", "restart", "pause", "unpause"].contains(&line[0].as_str()) {
        requests.sort_unstable_by_key(ToString::to_string);
    }
    requests
}

fn push_differences(at: &str, actual: &Value, expected: &Value, differences: &mut Vec<String>) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            let keys: std::collections::BTreeSet<&String> =
                actual.keys().chain(expected.keys()).collect();
            for key in keys {
                let (actual, expected) = (
                    actual.get(key).unwrap_or(&Value::Null),
                    expected.get(key).unwrap_or(&Value::Null),
                );
                push_differences(&format!("{at}.{key}"), actual, expected, differences);
            }
        }
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                push_differences(&format!("{at}[{index}]"), actual, expected, differences);
            }
        }
        _ if actual == expected => {}
        _ => differences.push(format!(
            "{at}:\n    is       {actual}\n    expected {expected}"
        )),
    }
}
