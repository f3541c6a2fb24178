//! The generated sections of `docs/benchmarks.md`: what stands between a pair of markers; the rest is written by hand.

use std::path::Path;

const DOCUMENT: &str = "docs/benchmarks.md";

/// Replaces what stands between the markers of this name.
pub(super) fn write(root: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = root.join(DOCUMENT);
    let context = |e: std::io::Error| format!("cannot change {DOCUMENT}: {e}");
    let old = std::fs::read_to_string(&path).map_err(context)?;
    let new = replaced(&old, name, text)
        .ok_or_else(|| format!("{DOCUMENT} has no section <!-- {name} -->"))?;
    std::fs::write(&path, new).map_err(context)
}

fn replaced(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        let new = "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n";
        assert_eq!(replaced(old, "x", "new\n\n").as_deref(), Some(new));
        assert_eq!(replaced(old, "y", "new"), None);
    }
}
