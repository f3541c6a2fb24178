//! Our daemon and a real dockerd side by side: the same `docker` command on both, and a comparison of what came back.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::image;
use gantry_testkit::peer::Peer;
use gantry_testkit::program::{Finished, command, run, run_with_input};
use gantry_testkit::terminal::Terminal;
use std::cell::RefCell;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Both daemons, with the shell image on each.
pub(crate) struct Pair {
    pub(crate) ours: Daemon,
    pub(crate) peer: Peer,
    /// Of every container that a test makes, on both.
    prefix: String,
    differences: RefCell<Vec<String>>,
}

impl Pair {
    /// Starts ours in this test's world; none if there is nothing to compare with, which was said then.
    #[track_caller]
    pub(crate) fn start(test: &str) -> Option<Self> {
        let peer = Peer::find()?;
        let mut ours = Daemon::new(test);
        assert!(
            ours.start(""),
            "the daemon died; its log:\n{}",
            ours.log_text()
        );
        image::import_shell(&mut ours.client());
        image::import_shell(&mut peer.client());
        let pair = Self {
            ours,
            peer,
            prefix: format!("gc-{test}-"),
            differences: RefCell::default(),
        };
        pair.clean(&mut pair.peer.client());
        Some(pair)
    }

    /// The full name of one of the test's containers.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a command on both and notes where exit code, output or errors differ; gives what ours said.
    ///
    /// Single quotes hold a word together, a word that begins with `@` names a container of this test, `IMAGE` is the shell image.
    #[track_caller]
    pub(crate) fn same(&self, line: &str) -> Finished {
        self.same_with_input(line, b"")
    }

    /// As [`Pair::same`] for several commands, which both must end with these codes.
    pub(crate) fn check(&self, commands: &[(&str, i32)]) {
        for (line, code) in commands {
            let finished = self.same(line);
            if finished.code != *code {
                let note = format!("docker {line}\n    expected code {code}: {finished:?}");
                self.differences.borrow_mut().push(note);
            }
        }
    }

    /// As [`Pair::same`], with bytes on stdin.
    #[track_caller]
    pub(crate) fn same_with_input(&self, line: &str, input: &[u8]) -> Finished {
        self.same_words(&split(line), input)
    }

    /// As [`Pair::same`], for a shell script in a container of its own, with options before the image.
    #[track_caller]
    pub(crate) fn same_script(&self, options: &str, script: &str) -> Finished {
        let mut words = split(&format!("run --rm {options} IMAGE sh -c"));
        words.push(script.to_owned());
        self.same_words(&words, b"")
    }

    #[track_caller]
    fn same_words(&self, words: &[String], input: &[u8]) -> Finished {
        let [ours, peer] = self.both(words, input);
        let [shown, wanted] = [&ours, &peer].map(Self::normal);
        if shown != wanted {
            let line = words.join(" ");
            let difference =
                format!("docker {line}\n    Gantry:  {shown:?}\n    dockerd: {wanted:?}");
            self.differences.borrow_mut().push(difference);
        }
        ours
    }

    /// Removes the test's containers, and fails if anything differed or is left of ours.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.clean(&mut self.peer.client());
        self.clean(&mut self.ours.client());
        let differences = self.differences.take();
        assert!(
            differences.is_empty(),
            "{} commands differ:\n{}",
            differences.len(),
            differences.join("\n")
        );
        self.ours.assert_clean("the test");
    }

    /// Runs a command on both and compares nothing.
    #[track_caller]
    pub(crate) fn both<S: AsRef<str>>(&self, words: &[S], input: &[u8]) -> [Finished; 2] {
        let words = self.expand(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        [
            self.ours.docker_command(&words),
            self.peer.docker_command(&words),
        ]
        .map(|mut c| run_with_input(&mut c, input))
    }

    /// The same command in a pseudo-terminal on each.
    #[track_caller]
    pub(crate) fn terminals(&self, line: &str) -> [Terminal; 2] {
        let words = self.expand(&split(line));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        [
            self.ours.docker_command(&words),
            self.peer.docker_command(&words),
        ]
        .map(|c| Terminal::start(&c, 24, 80))
    }

    fn expand<S: AsRef<str>>(&self, words: &[S]) -> Vec<String> {
        let words = words.iter().map(AsRef::as_ref);
        words
            .map(|word| match word {
                "IMAGE" => image::SHELL.to_owned(),
                _ => word.replace('@', &self.prefix),
            })
            .collect()
    }

    /// What may differ between two daemons in any output: IDs, times, addresses.
    pub(crate) fn normal(finished: &Finished) -> Finished {
        Finished {
            code: finished.code,
            stdout: normal(&finished.stdout),
            stderr: normal(&finished.stderr),
        }
    }

    fn clean(&self, client: &mut Client) {
        let list = client
            .json("GET", "/containers/json?all=1", None)
            .unwrap_or_default();
        for container in list.as_array().into_iter().flatten() {
            let name = container["Names"][0]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches('/');
            if name.starts_with(&self.prefix) {
                // Another removal (`--rm`) may be faster.
                drop(client.ask("DELETE", &format!("/containers/{name}?force=1&v=1"), None));
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.clean(&mut self.peer.client());
        self.clean(&mut self.ours.client());
    }
}

/// This moment in seconds, as `--since` takes it.
pub(crate) fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is not before 1970");
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

/// Runs a program of this machine in the test's world.
#[track_caller]
pub(crate) fn run_here(program: &str, arguments: &[&str]) -> Finished {
    let mut command: Command = command(program, arguments);
    run(&mut command)
}

/// Words of a line; single quotes hold one together.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Replaces IDs, times and addresses by words for them.
pub(crate) fn normal(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let (word, after) = rest.split_at(token_length(rest));
            match word {
                "" => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                _ if is_time(word) => out += "<time>",
                _ if is_id(word) => out += "<id>",
                _ if is_address(word) => out += "<address>",
                _ if is_link(word) => out += "<link>",
                _ => out += word,
            }
            rest = after;
        }
    }
    out
}

/// The length of the run of characters that IDs, times and addresses consist of.
fn token_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '-' | '_' | '+')))
        .unwrap_or(text.len())
}

/// A digest, or an ID in full or of twelve digits; a number alone is none.
fn is_id(word: &str) -> bool {
    let word = word
        .strip_prefix("sha256:")
        .unwrap_or(word)
        .trim_end_matches([':', '.']);
    matches!(word.len(), 12 | 64)
        && word
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && !word.bytes().all(|b| b.is_ascii_digit())
}

/// As `2026-11-21T10:00:00.123456789Z`.
fn is_time(word: &str) -> bool {
    let shape: String = word
        .chars()
        .take(16)
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00"
}

/// The host's end of a pair of links.
fn is_link(word: &str) -> bool {
    let digits = word.strip_prefix("veth").unwrap_or_default();
    digits.len() == 7 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Four numbers with dots, and a port perhaps; none that every machine has.
fn is_address(word: &str) -> bool {
    let address = word.split(':').next().unwrap_or_default();
    address.split('.').count() == 4
        && address.split('.').all(|n| n.parse::<u8>().is_ok())
        && !address.starts_with("127.")
        && address != "0.0.0.0"
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn only_what_may_differ_is_replaced() {
        assert_eq!(normal("a1b2c3d4e5f6: done\n"), "<id> done\n");
        assert_eq!(normal("sha256:".to_owned().as_str()), "sha256:");
        assert_eq!(normal(&format!("x {} y", "0a".repeat(32))), "x <id> y");
        assert_eq!(normal("2026-11-21T10:00:00.123456789Z line"), "<time> line");
        assert_eq!(
            normal("172.17.0.2 127.0.0.1 0.0.0.0:80"),
            "<address> 127.0.0.1 0.0.0.0:80"
        );
        assert_eq!(normal("000000000000 deadbeef"), "000000000000 deadbeef");
    }
}
