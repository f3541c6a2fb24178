//! The tidy check: rules of `ARCHITECTURE.md` and `docs/testing.md` that a program can judge.
//!
//! Each rule is a module with one function that takes the [`Tree`] and adds to a [`Report`]; it never stops at the first finding.
//! A finding that is right all the same is listed in `xtask/tidy-exceptions.txt` with its reason; a listed exception that
//! excuses nothing any more is itself a finding. The check runs as `cargo xtask tidy` and as a test of this package.

mod crash_table;
mod dead;
mod dependencies;
mod exceptions;
pub(crate) mod frozen;
mod names;
mod size;
mod source;
mod text;

use crate::Outcome;
use serde_json::Value;
use source::Source;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository as the rules see it.
pub(crate) struct Tree {
    /// Its root folder.
    root: PathBuf,
    /// Every Rust file under `crates`, `tests` and `xtask`, in the order of their paths.
    sources: Vec<Source>,
    /// What `cargo metadata` says about the workspace and everything it depends on.
    metadata: Value,
}

/// What was found: one line for each breach, with the rule's name.
#[derive(Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

struct Finding {
    rule: &'static str,
    path: String,
    message: String,
}

impl Tree {
    fn read(root: &Path) -> Result<Self, String> {
        let mut paths = Vec::new();
        for folder in ["crates", "tests", "xtask"] {
            rust_files(&root.join(folder), &mut paths)?;
        }
        paths.sort();
        let sources = paths
            .iter()
            .map(|path| Source::read(root, path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            root: root.to_owned(),
            sources,
            metadata: metadata(root)?,
        })
    }

    fn read_text(&self, path: &str) -> Result<String, String> {
        read(&self.root.join(path))
    }
}

impl Report {
    fn add(&mut self, rule: &'static str, path: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            rule,
            path: path.to_owned(),
            message: message.into(),
        });
    }
}

/// Runs every rule.
///
/// # Errors
/// The findings as text, or why the repository could not be read.
pub(crate) fn run(root: &Path) -> Outcome {
    let tree = Tree::read(root)?;
    let mut report = Report::default();
    dependencies::check(&tree, &mut report)?;
    size::check(&tree, &mut report)?;
    names::check(&tree, &mut report)?;
    text::check(&tree, &mut report);
    dead::check(&tree, &mut report)?;
    frozen::check(&tree, &mut report)?;
    crash_table::check(&tree, &mut report)?;
    generated(&tree, &mut report)?;
    exceptions::apply(&tree, &mut report)?;
    if report.findings.is_empty() {
        println!("tidy: {} files, nothing to say", tree.sources.len());
        return Ok(());
    }
    let mut text = String::new();
    for finding in &report.findings {
        let (path, message) = (&finding.path, &finding.message);
        writeln!(text, "{path}: {message} [{}]", finding.rule).expect("a string takes any text");
    }
    Err(format!("{text}tidy: {} findings", report.findings.len()))
}

/// Documents that are generated must say what they would say if they were generated now.
fn generated(tree: &Tree, report: &mut Report) -> Outcome {
    let (commands, findings) = crate::commands::generate(&tree.root)?;
    for finding in findings {
        report.add("commands", "xtask/commands.txt", finding);
    }
    for (chore, path, current) in [
        ("commands", crate::commands::DOCUMENT, commands),
        (
            "protocol",
            crate::protocol::DOCUMENT,
            crate::protocol::generate(&tree.root)?,
        ),
    ] {
        if tree.read_text(path)? != current {
            report.add(
                "generated",
                path,
                format!("out of date: run cargo xtask {chore}"),
            );
        }
    }
    Ok(())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let Ok(entries) = folder.read_dir() else {
        return Ok(());
    };
    for entry in entries {
        let path = entry
            .map_err(|e| format!("cannot list {}: {e}", folder.display()))?
            .path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = |extra: &[&str]| {
        Command::new(&cargo)
            .args(["metadata", "--format-version=1", "--locked"])
            .args(extra)
            .current_dir(root)
            .output()
            .map_err(|e| format!("cannot run cargo metadata: {e}"))
    };
    let mut output = run(&["--offline"])?;
    if !output.status.success() {
        output = run(&[])?;
    }
    if !output.status.success() {
        return Err(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("cannot parse cargo metadata's answer: {e}"))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(findings) = super::run(&crate::root()) {
            panic!("{findings}");
        }
    }
}
