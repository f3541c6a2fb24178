//! What stands in a file: a module's introduction, lint attributes with reasons, `unsafe` only where it belongs, work notes with an owner.

use super::source::Source;
use super::{Report, Tree};

/// Lines of an introduction.
const INTRODUCTION_LINES_MAX: usize = 20;
/// Where `unsafe` may be written; the lint `unsafe_code` asks for a reason there.
const UNSAFE: [&str; 4] = [
    "crates/sys/",
    "crates/runtime/src/",
    "crates/engine/hello/",
    "xtask/payload/",
];
/// The words that mark unfinished work in a comment, put together here so that this line is none.
const NOTES: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for source in &tree.sources {
        introduction(source, report);
        attributes(source, report);
        notes(source, report);
        unsafe_code(source, report);
        engine(source, report);
    }
}

fn unsafe_code(source: &Source, report: &mut Report) {
    let belongs = source.is_test() || UNSAFE.iter().any(|folder| source.path.starts_with(folder));
    if let Some((line, _)) = source.words().find(|(_, word)| *word == "unsafe")
        && !belongs
    {
        let place = format!("{}:{line}", source.path);
        report.add(
            "unsafe",
            &place,
            "unsafe code belongs into crates/sys or crates/runtime",
        );
    }
}

fn engine(source: &Source, report: &mut Report) {
    let elsewhere =
        source.path.starts_with("crates/engine/") && source.path != "crates/engine/src/lib.rs";
    if let Some(line) = source
        .code
        .lines()
        .position(|l| l.starts_with("impl Engine {"))
        && elsewhere
    {
        let place = format!("{}:{}", source.path, line + 1);
        report.add(
            "engine",
            &place,
            "Engine's methods stand in lib.rs; a verb belongs to its noun",
        );
    }
}

fn introduction(source: &Source, report: &mut Report) {
    let lines: Vec<&str> = source
        .text
        .lines()
        .take_while(|l| l.starts_with("//!"))
        .collect();
    let first = lines
        .first()
        .map_or("", |l| l.trim_start_matches("//!").trim());
    if first.is_empty() || first == "stub" {
        report.add(
            "module-doc",
            &source.path,
            "begin with `//!`: what this module is for, and what it does not do",
        );
    } else if lines.len() > INTRODUCTION_LINES_MAX {
        report.add(
            "module-doc",
            &source.path,
            format!(
                "the introduction has {} lines, at most {INTRODUCTION_LINES_MAX}",
                lines.len()
            ),
        );
    }
}

fn attributes(source: &Source, report: &mut Report) {
    for (number, line) in source.code.lines().enumerate() {
        let place = format!("{}:{}", source.path, number + 1);
        if line.contains("#[ignore") {
            report.add(
                "ignored-test",
                &place,
                "a test runs or says why it cannot; it is not ignored",
            );
        }
    }
    for start in ["[expect(", "[allow("] {
        for (offset, _) in source.code.match_indices(start) {
            let attribute = source.code[offset..].split(']').next().unwrap_or_default();
            if !attribute.contains("reason") {
                let line = source.code[..offset].matches('\n').count() + 1;
                let place = format!("{}:{line}", source.path);
                report.add("allow", &place, "an exception from a lint needs a reason, and is `expect` where it always applies");
            }
        }
    }
}

/// A note in a comment must name its owner in brackets behind the word.
fn notes(source: &Source, report: &mut Report) {
    for (number, (line, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
        let Some(comment) = line.get(code.trim_end().len()..) else {
            continue;
        };
        for note in NOTES {
            let bare = comment.match_indices(note).any(|(i, _)| {
                let (before, after) = (&comment[..i], &comment[i + note.len()..]);
                !after.starts_with('(')
                    && !after.starts_with(char::is_alphanumeric)
                    && !before.ends_with(char::is_alphanumeric)
            });
            if bare && comment.contains("//") {
                report.add(
                    "note",
                    &format!("{}:{}", source.path, number + 1),
                    format!("{note} needs an owner: {note}(name)"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<&'static str> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.rs");
        std::fs::write(&path, text).expect("a file in it");
        let mut source = Source::read(folder.path(), &path).expect("a source");
        source.path = "crates/cli/src/x.rs".to_owned();
        let tree = Tree {
            root: folder.path().to_owned(),
            sources: vec![source],
            metadata: serde_json::Value::Null,
        };
        let mut report = Report::default();
        check(&tree, &mut report);
        report.findings.iter().map(|f| f.rule).collect()
    }

    #[test]
    fn each_rule_finds_its_breach() {
        assert_eq!(findings("//! What it is.\n\nfn f() {}\n"), [""; 0]);
        assert_eq!(findings("fn f() {}\n"), ["module-doc"]);
        assert_eq!(
            findings("//! X.\n#[allow(dead_code)]\nfn f() {}\n"),
            ["allow"]
        );
        assert_eq!(
            findings("//! X.\n#[expect(dead_code)]\nfn f() {}\n"),
            ["allow"]
        );
        assert_eq!(
            findings("//! X.\n#[expect(\n    dead_code,\n    reason = \"a]b\"\n)]\nfn f() {}\n"),
            [""; 0]
        );
        assert_eq!(findings(concat!("//! X.\n// TO", "DO: later\n")), ["note"]);
        assert_eq!(
            findings(concat!("//! X.\n// TO", "DO(ann): later\n")),
            [""; 0]
        );
        assert_eq!(
            findings("//! X.\nfn f() { unsafe { g() } } // unsafe\n"),
            ["unsafe"]
        );
        assert_eq!(
            findings("//! X.\n// unsafe\nconst A: &str = \"unsafe #[allow(\";\n"),
            [""; 0]
        );
    }
}
