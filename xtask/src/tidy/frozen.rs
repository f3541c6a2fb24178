//! What a release has published must never change: migrations that have run somewhere, and the messages that a running
//! shim of an earlier daemon speaks.
//!
//! `xtask/frozen.txt` lists each with its SHA-256; `cargo xtask freeze` adds what is new when a release is made.
//! As soon as the changelog names a release, everything must be listed. Of the protocol the code counts, not its comments.

use super::{Report, Tree};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const RULE: &str = "frozen";
const FILE: &str = "xtask/frozen.txt";
const MIGRATIONS: &str = "crates/state/migrations";
const PROTOCOL: &str = "crates/shim-protocol/src/";

pub(super) fn check(tree: &Tree, report: &mut Report) -> Result<(), String> {
    let (recorded, present) = (parse(&tree.read_text(FILE)?), present(tree)?);
    let released = is_released(&tree.read_text("CHANGELOG.md")?);
    for finding in compare(&recorded, &present, released) {
        report.add(RULE, FILE, finding);
    }
    Ok(())
}

/// Lists everything there is now as released. What is listed already must still be the same.
///
/// # Errors
/// When something listed has changed, or a file cannot be read or written.
pub(crate) fn record(root: &Path) -> crate::Outcome {
    let tree = Tree::read(root)?;
    let text = tree.read_text(FILE)?;
    let (recorded, present) = (parse(&text), present(&tree)?);
    let findings = compare(&recorded, &present, false);
    if !findings.is_empty() {
        return Err(findings.join("\n"));
    }
    let mut text = text;
    for (name, hash) in present
        .iter()
        .filter(|(name, _)| !recorded.contains_key(*name))
    {
        writeln!(text, "{hash} {name}").map_err(|e| e.to_string())?;
        println!("frozen: {name}");
    }
    std::fs::write(root.join(FILE), text).map_err(|e| format!("cannot write {FILE}: {e}"))
}

fn compare(
    recorded: &BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
    released: bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, hash) in recorded {
        match present.get(name) {
            Some(now) if now == hash => {}
            Some(_) => findings.push(format!(
                "{name} was released and has changed: add a new one instead"
            )),
            // An older protocol version stays listed when the code has moved on.
            None if name.starts_with("shim-protocol") => {}
            None => findings.push(format!("{name} was released and is gone")),
        }
    }
    if released {
        let unlisted = present.keys().filter(|name| !recorded.contains_key(*name));
        findings.extend(unlisted.map(|name| {
            format!("{name} is in a released version but not listed: run cargo xtask freeze")
        }));
    }
    findings
}

/// Each migration, and the protocol under its version, with its hash.
fn present(tree: &Tree) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let folder = tree.root.join(MIGRATIONS);
    for entry in folder
        .read_dir()
        .map_err(|e| format!("cannot list {MIGRATIONS}: {e}"))?
    {
        let name = entry
            .map_err(|e| format!("cannot list {MIGRATIONS}: {e}"))?
            .file_name();
        let path = format!("{MIGRATIONS}/{}", name.display());
        found.insert(path.clone(), hash(&tree.read_text(&path)?));
    }
    let protocol = tree.sources.iter().filter(|s| s.path.starts_with(PROTOCOL));
    let code: Vec<&str> = protocol
        .flat_map(|s| literal_code(&s.text, &s.code))
        .collect();
    let version = code
        .iter()
        .skip_while(|word| **word != "VERSION:")
        .nth(3)
        .ok_or("crates/shim-protocol has no `pub const VERSION: u32 = …;`")?
        .trim_end_matches(';')
        .to_owned();
    found.insert(format!("shim-protocol-{version}"), hash(&code.join(" ")));
    Ok(found)
}

/// The words of the lines that hold code, with their literals (names on the wire are literals).
fn literal_code<'a>(text: &'a str, code: &str) -> Vec<&'a str> {
    let pairs = text.lines().zip(code.lines());
    pairs
        .filter(|(_, code)| !code.trim().is_empty())
        .flat_map(|(text, _)| text.split_whitespace())
        .collect()
}

fn hash(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        write!(hex, "{byte:02x}").expect("a string takes any text");
    }
    hex
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|l| l.split_once(' '))
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect()
}

/// Whether the changelog has a heading of a version, as `## 0.1.0`.
fn is_released(changelog: &str) -> bool {
    changelog.lines().any(|l| {
        l.strip_prefix("## ").is_some_and(|l| {
            l.trim_start_matches('[')
                .starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned()))
            .collect()
    }

    #[test]
    fn released_things_may_not_change() {
        let recorded = map(&[("m/1.sql", "a"), ("m/2.sql", "b"), ("shim-protocol-1", "c")]);
        assert!(
            compare(
                &recorded,
                &map(&[
                    ("m/1.sql", "a"),
                    ("m/2.sql", "b"),
                    ("m/3.sql", "x"),
                    ("shim-protocol-2", "d")
                ]),
                false
            )
            .is_empty()
        );
        assert_eq!(
            compare(
                &recorded,
                &map(&[("m/1.sql", "x"), ("shim-protocol-1", "x")]),
                false
            )
            .len(),
            3
        );
        assert_eq!(
            compare(
                &recorded,
                &map(&[("m/1.sql", "a"), ("m/2.sql", "b"), ("m/3.sql", "x")]),
                true
            )
            .len(),
            1
        );
    }

    #[test]
    fn the_changelog_tells_whether_there_was_a_release() {
        assert!(!is_released("# Changelog\n\n## Unreleased\n- 1.0\n"));
        assert!(is_released("## Unreleased\n## 0.1.0 (2026-11-21)\n"));
        assert!(is_released("## [0.1.0]\n"));
    }

    #[test]
    fn comments_do_not_count() {
        assert_eq!(
            literal_code("// x\na \"b\"\n", "    \na    \n"),
            ["a", "\"b\""]
        );
    }
}
