//! `xtask/tidy-exceptions.txt`: findings that are right all the same, each with its reason.
//!
//! A line is `rule path reason …`; the path is the file's, without a line number. A line that excuses nothing is a finding.

use super::{Report, Tree};

const FILE: &str = "xtask/tidy-exceptions.txt";

pub(super) fn apply(tree: &Tree, report: &mut Report) -> Result<(), String> {
    let text = tree.read_text(FILE)?;
    for line in text
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let (Some(rule), Some(path), Some(_)) = (words.next(), words.next(), words.next()) else {
            report.add(
                "exceptions",
                FILE,
                format!("a line is `rule path reason`, not: {line}"),
            );
            continue;
        };
        let before = report.findings.len();
        report
            .findings
            .retain(|f| f.rule != rule || f.path.split(':').next() != Some(path));
        if report.findings.len() == before {
            report.add(
                "exceptions",
                FILE,
                format!("this excuses nothing any more: {line}"),
            );
        }
    }
    Ok(())
}
