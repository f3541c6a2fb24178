//! Files and functions stay short enough to be read at one sitting.
//!
//! 500 lines a file, 800 with its tests; 70 lines a function. `ARCHITECTURE.md` stays within 300 lines.

use super::{Report, Tree};

const FILE_LINES_MAX: usize = 500;
const FILE_LINES_WITH_TESTS_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
/// A test may be a long table of cases.
const TEST_FUNCTION_LINES_MAX: usize = 120;
const ARCHITECTURE_LINES_MAX: usize = 300;

pub(super) fn check(tree: &Tree, report: &mut Report) -> Result<(), String> {
    for source in &tree.sources {
        let (all, without_tests) = (source.text.lines().count(), source.lines_without_tests());
        if all > FILE_LINES_WITH_TESTS_MAX {
            report.add(
                "file-length",
                &source.path,
                format!("{all} lines, at most {FILE_LINES_WITH_TESTS_MAX} with tests"),
            );
        } else if without_tests > FILE_LINES_MAX && !source.is_test() {
            report.add(
                "file-length",
                &source.path,
                format!("{without_tests} lines without tests, at most {FILE_LINES_MAX}"),
            );
        }
        let most = if source.is_test() {
            TEST_FUNCTION_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        };
        for function in source.functions() {
            if function.body_lines > most {
                let place = format!("{}:{}", source.path, function.line);
                report.add(
                    "function-length",
                    &place,
                    format!(
                        "{} has {} lines, at most {most}",
                        function.name, function.body_lines
                    ),
                );
            }
        }
    }
    let lines = tree.read_text("ARCHITECTURE.md")?.lines().count();
    if lines > ARCHITECTURE_LINES_MAX {
        report.add(
            "file-length",
            "ARCHITECTURE.md",
            format!("{lines} lines, at most {ARCHITECTURE_LINES_MAX}"),
        );
    }
    Ok(())
}
