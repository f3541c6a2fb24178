//! Files that nothing reaches: a Rust file that no `mod` declaration leads to, so that it is not even compiled.
//!
//! Starts at the targets that cargo knows and follows `mod name;` and `#[path = "…"]` as rustc does.

use super::{Report, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Compiled by a build script or by xtask, not by cargo.
const COMPILED_OTHERWISE: [&str; 2] = ["crates/engine/hello/main.rs", "xtask/payload/main.rs"];

pub(super) fn check(tree: &Tree, report: &mut Report) -> Result<(), String> {
    let packages = tree.metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let files: BTreeMap<&str, (&str, &str)> = tree
        .sources
        .iter()
        .map(|s| (s.path.as_str(), (s.text.as_str(), s.code.as_str())))
        .collect();
    let mut reached: BTreeSet<String> = COMPILED_OTHERWISE.map(str::to_owned).into();
    for target in packages
        .iter()
        .filter(|p| p["source"].is_null())
        .flat_map(|p| p["targets"].as_array().into_iter().flatten())
    {
        let path = Path::new(target["src_path"].as_str().unwrap_or_default());
        if let Ok(path) = path.strip_prefix(&tree.root) {
            follow(path, true, &files, &mut reached);
        }
    }
    for path in files.keys().filter(|p| !reached.contains(**p)) {
        report.add("dead-file", path, "no `mod` declaration leads to this file");
    }
    Ok(())
}

/// Adds the file and what it declares; a target's root and `mod.rs` have their modules beside them, others in a folder of their name.
fn follow(
    path: &Path,
    is_root: bool,
    files: &BTreeMap<&str, (&str, &str)>,
    reached: &mut BTreeSet<String>,
) {
    let name = path.display().to_string();
    let Some((text, code)) = files.get(name.as_str()) else {
        return;
    };
    if !reached.insert(name) {
        return;
    }
    let beside = path.parent().unwrap_or(Path::new(""));
    let folder = if is_root || path.ends_with("mod.rs") {
        beside.to_owned()
    } else {
        path.with_extension("")
    };
    for (module, explicit) in declared(text, code) {
        if let Some(explicit) = explicit {
            follow(&normal(&beside.join(explicit)), true, files, reached);
        } else {
            follow(&folder.join(format!("{module}.rs")), false, files, reached);
            follow(&folder.join(&module).join("mod.rs"), false, files, reached);
        }
    }
}

/// The modules declared with `mod name;`, with the path an attribute gives; inside an inline module, with that module's folder.
fn declared(text: &str, code: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0_usize;
    let mut explicit = None;
    for (line, original) in code.lines().zip(text.lines()) {
        if line.trim_start().starts_with("#[path") {
            explicit = original.split('"').nth(1).map(str::to_owned);
        }
        if let Some(rest) = module_declaration(line) {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if rest[name.len()..].trim_start().starts_with(';') {
                let folder: String = inline
                    .iter()
                    .flat_map(|(_, name)| [name.as_str(), "/"])
                    .collect();
                found.push((folder + &name, explicit.take()));
            } else {
                inline.push((depth, name));
            }
        }
        depth = depth + line.matches('{').count()
            - line
                .matches('}')
                .count()
                .min(depth + line.matches('{').count());
        while inline.last().is_some_and(|(at, _)| depth <= *at) {
            inline.pop();
        }
    }
    found
}

/// What follows `mod ` on a line that declares a module.
fn module_declaration(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.strip_prefix("mod ")
}

/// Without `..` in the middle.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_followed_and_the_rest_is_dead() {
        let files = BTreeMap::from([
            (
                "c/src/lib.rs",
                "pub mod a;\npub(crate) mod b;\nmod inline {\n    mod deep;\n}\nmod last;\n",
            ),
            ("c/src/a.rs", "mod child;\n"),
            ("c/src/a/child.rs", ""),
            ("c/src/b/mod.rs", "mod child;\n"),
            (
                "c/src/b/child.rs",
                "#[path = \"../odd.rs\"]\nmod whatever;\n",
            ),
            ("c/src/odd.rs", ""),
            ("c/src/inline/deep.rs", ""),
            ("c/src/last.rs", ""),
            ("c/src/dead.rs", "mod a;\n"),
        ]);
        let files: BTreeMap<&str, (&str, &str)> = files
            .iter()
            .map(|(path, text)| (*path, (*text, *text)))
            .collect();
        let mut reached = BTreeSet::new();
        follow(Path::new("c/src/lib.rs"), true, &files, &mut reached);
        let dead: Vec<&&str> = files.keys().filter(|p| !reached.contains(**p)).collect();
        assert_eq!(dead, [&"c/src/dead.rs"]);
    }
}
