//! The crash table of `docs/state.md` against the failpoints in the code: each has its row, and each row its failpoint.

use super::{Report, Tree};
use std::collections::BTreeSet;

const RULE: &str = "crash-table";
const DOCUMENT: &str = "docs/state.md";

pub(super) fn check(tree: &Tree, report: &mut Report) -> Result<(), String> {
    let documented = documented(&tree.read_text(DOCUMENT)?);
    let mut found = BTreeSet::new();
    for source in tree
        .sources
        .iter()
        .filter(|s| !s.path.starts_with("crates/base/") && !s.path.starts_with("xtask/"))
    {
        for (name, line) in failpoints(&source.text) {
            if !documented.contains(name) {
                report.add(
                    RULE,
                    &format!("{}:{line}", source.path),
                    format!("failpoint {name} has no row in the crash table of {DOCUMENT}"),
                );
            }
            found.insert(name.to_owned());
        }
    }
    for name in documented.difference(&found) {
        report.add(
            RULE,
            DOCUMENT,
            format!("the crash table names {name}, which is no failpoint"),
        );
    }
    Ok(())
}

fn failpoints(text: &str) -> impl Iterator<Item = (&str, usize)> {
    text.match_indices("failpoint!(\"")
        .filter_map(|(at, start)| {
            let name = text[at + start.len()..].split('"').next()?;
            Some((name, text[..at].matches('\n').count() + 1))
        })
}

/// The names in the first column of the table under the heading `The crash table`.
fn documented(text: &str) -> BTreeSet<String> {
    let rows = text
        .lines()
        .skip_while(|l| *l != "## The crash table")
        .skip_while(|l| !l.starts_with("| "))
        .take_while(|l| l.starts_with('|'));
    rows.filter_map(|row| Some(row.strip_prefix("| `")?.split('`').next()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_both_sides() {
        assert_eq!(
            documented(
                "| `x` |\n## The crash table\ntext\n\n| Killed at | |\n|---|---|\n| `a.b` | c |\n\n| `d` | |\n"
            ),
            BTreeSet::from(["a.b".to_owned()])
        );
        assert_eq!(
            failpoints("x\n    gantry_base::failpoint!(\"a.b\");\n").collect::<Vec<_>>(),
            [("a.b", 2)]
        );
    }
}
