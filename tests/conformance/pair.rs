//! Our daemon and a real dockerd side by side: the same `docker` command on both, and a comparison of what came back.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::image;
use gantry_testkit::peer::Peer;
use gantry_testkit::program::{Finished, command, run, run_with_input};
use gantry_testkit::terminal::Terminal;
use std::process::Command;

/// Both daemons, with the shell image on each.
pub(crate) struct Pair {
    pub(crate) ours: Daemon,
    pub(crate) peer: Peer,
    /// Of every container that a test makes, on both.
    prefix: String,
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
            prefix: format!("gantry-conformance-{test}-"),
        };
        pair.clean(&mut pair.peer.client());
        Some(pair)
    }

    /// The full name of one of the test's containers.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a command on both, and checks that exit code, output and errors are the same; gives what ours said.
    /// A word that begins with `@` is the name of a container of this test.
    #[track_caller]
    pub(crate) fn same(&self, arguments: &str) -> Finished {
        self.same_words(&arguments.split(' ').collect::<Vec<_>>(), b"")
    }

    /// As [`Pair::same`], for a shell script in a container, with the options before the image.
    #[track_caller]
    pub(crate) fn same_script(&self, options: &str, script: &str) -> Finished {
        let mut words = vec!["run", "--rm"];
        words.extend(options.split(' ').filter(|w| !w.is_empty()));
        words.extend([image::SHELL, "sh", "-c", script]);
        self.same_words(&words, b"")
    }

    /// As [`Pair::same`], with the words apart and bytes on stdin.
    #[track_caller]
    pub(crate) fn same_words(&self, words: &[&str], input: &[u8]) -> Finished {
        let [ours, peer] = self.both(words, input);
        let [shown, wanted] = [&ours, &peer].map(Self::normal);
        assert_eq!(
            shown,
            wanted,
            "left: Gantry, right: dockerd; docker {}\nGantry's log:\n{}",
            words.join(" "),
            self.ours.log_text()
        );
        ours
    }

    /// Runs a command on both and compares nothing.
    #[track_caller]
    pub(crate) fn both(&self, words: &[&str], input: &[u8]) -> [Finished; 2] {
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
    pub(crate) fn terminals(&self, words: &[&str]) -> [Terminal; 2] {
        let words = self.expand(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        [
            self.ours.docker_command(&words),
            self.peer.docker_command(&words),
        ]
        .map(|c| Terminal::start(&c, 24, 80))
    }

    fn expand(&self, words: &[&str]) -> Vec<String> {
        words
            .iter()
            .map(|w| {
                w.strip_prefix('@')
                    .map_or_else(|| (*w).to_owned(), |name| self.name(name))
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

/// Runs a program of this machine in the test's world.
#[track_caller]
pub(crate) fn run_here(program: &str, arguments: &[&str]) -> Finished {
    let mut command: Command = command(program, arguments);
    run(&mut command)
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
        assert_eq!(
            normal("a1b2c3d4e5f6: done\n"),
            "<id> done\n"
        );
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
