//! Names say what a thing is. Words that fit everything are refused as names of modules and types, and so are abbreviations.
//!
//! The glossary is held to one entry a word, in order, so that a second meaning of a word shows up when it is added.

use super::{Report, Tree};

const RULE: &str = "name";
/// Nowhere in the name of a file or type of ours.
const VAGUE: [&str; 9] = [
    "manager", "mgr", "helper", "helpers", "util", "utils", "common", "misc", "handler",
];
/// Not as the whole name of a module.
const VAGUE_ALONE: [&str; 4] = ["impl", "inner", "data", "handlers"];
/// Write the word out.
const ABBREVIATED: [(&str, &str); 5] = [
    ("ctr", "container"),
    ("cfg", "config"),
    ("img", "image"),
    ("vol", "volume"),
    ("mgmt", "management"),
];

pub(super) fn check(tree: &Tree, report: &mut Report) -> Result<(), String> {
    for source in &tree.sources {
        let stem = stem(&source.path);
        if VAGUE_ALONE.contains(&stem) {
            report.add(
                RULE,
                &source.path,
                format!("{stem} is no name for a module"),
            );
        }
        judge(stem.split('_'), stem, &source.path, report);
        let mut before = "";
        for (line, word) in source.words() {
            if matches!(before, "struct" | "enum" | "trait" | "type" | "union") {
                let parts = parts(word);
                judge(
                    parts.iter().map(String::as_str),
                    word,
                    &format!("{}:{line}", source.path),
                    report,
                );
            }
            before = word;
        }
    }
    let terms = glossary(&tree.read_text("docs/glossary.md")?);
    for pair in terms.windows(2) {
        if pair[0].to_lowercase() >= pair[1].to_lowercase() {
            report.add(
                "glossary",
                "docs/glossary.md",
                format!(
                    "`{}` must come before `{}`, and each only once",
                    pair[1], pair[0]
                ),
            );
        }
    }
    Ok(())
}

fn judge<'a>(parts: impl Iterator<Item = &'a str>, name: &str, place: &str, report: &mut Report) {
    for part in parts {
        if VAGUE.contains(&part) {
            report.add(
                RULE,
                place,
                format!("{name}: `{part}` says nothing about what it is"),
            );
        }
        if let Some((_, full)) = ABBREVIATED.iter().find(|(short, _)| *short == part) {
            report.add(RULE, place, format!("{name}: write {full}, not {part}"));
        }
    }
}

/// The module's name: of the file, or for `mod.rs` of the folder.
fn stem(path: &str) -> &str {
    let path = path.strip_suffix("/mod.rs").unwrap_or(path);
    path.rsplit('/')
        .next()
        .unwrap_or(path)
        .trim_end_matches(".rs")
}

/// `ImageConfig` as `image`, `config`.
fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for c in name.chars() {
        if c.is_uppercase() || parts.is_empty() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut() {
            last.extend(c.to_lowercase());
        }
    }
    parts
}

/// The terms: what stands in bold at the start of a list item.
fn glossary(document: &str) -> Vec<String> {
    document
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split_once("**"))
        .map(|(term, _)| term.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_names() {
        assert_eq!(parts("ImageCfg"), ["image", "cfg"]);
        assert_eq!(stem("crates/x/src/image/mod.rs"), "image");
        assert_eq!(stem("crates/x/src/pull.rs"), "pull");
        let mut report = Report::default();
        judge(
            ["network", "manager", "ctr"].into_iter(),
            "NetworkManagerCtr",
            "x",
            &mut report,
        );
        assert_eq!(report.findings.len(), 2);
    }

    #[test]
    fn glossary_terms() {
        assert_eq!(
            glossary("# x\n- **blob**: y\n- **layer**, z\ntext **no**\n"),
            ["blob", "layer"]
        );
    }
}
