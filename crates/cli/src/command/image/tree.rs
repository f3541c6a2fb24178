//! `docker image ls --tree`: each image with the platforms that its index speaks of.

use crate::failure::Outcome;
use crate::format::{ellipsis, float, human_size_with, short_id};
use crate::output;
use crate::template::Value;
use crate::terminal;
use std::fmt::Write as _;

/// Between columns.
const SPACING: usize = 3;
/// The column of names is at least so wide, or others give way.
const NAME_WIDTH_MIN: usize = 12;
const WIDTH_MIN: usize = 20;
const WIDTH_WITHOUT_TERMINAL: usize = 80;

const TITLE: &str = "\x1b[39m\x1b[1m";
const NAME: &str = "\x1b[34m\x1b[1m";
const NORMAL: &str = "\x1b[39m";
const FAINT: &str = "\x1b[39m\x1b[2m";
const END: &str = "\x1b[0m";

/// The columns after the names: title, width, whether they are aligned to the right.
const COLUMNS: [(&str, usize, bool); 4] = [
    ("ID", 12, false),
    ("DISK USAGE", 10, true),
    ("CONTENT SIZE", 12, true),
    ("EXTRA", 5, false),
];

/// One line of the tree without its name.
struct Details {
    cells: [String; 3],
    is_used: bool,
}

struct Child {
    platform: String,
    is_here: bool,
    details: Details,
}

struct Top {
    names: Vec<String>,
    created: i64,
    details: Details,
    children: Vec<Child>,
}

/// Prints what `GET /images/json?manifests=1` gave.
pub(super) fn print(images: &Value) {
    let is_terminal = terminal::stdout_is_terminal();
    let columns = terminal::size().map(|(_, columns)| usize::from(columns));
    let width = columns.filter(|columns| is_terminal && *columns > 0);
    let width = width.unwrap_or(WIDTH_WITHOUT_TERMINAL);
    output::print(&render(images, width, is_terminal));
}

/// Refuses the flags that say nothing about a tree.
pub(super) fn check(given: &crate::flag::Given) -> Outcome {
    for (flag, shown) in [
        ("quiet", "--quiet"),
        ("no-trunc", "--no-trunc"),
        ("digests", "--show-digest"),
        ("format", "--format"),
    ] {
        if given.is_given(flag) {
            let text = format!("{shown} is not yet supported with --tree");
            return Err(crate::failure::Failure::new(text));
        }
    }
    Ok(())
}

fn render(images: &Value, width: usize, is_terminal: bool) -> String {
    let mut tops: Vec<Top> = images.list().iter().map(top).collect();
    // What nobody named has no place in a tree of names.
    tops.retain(|top| !top.names.is_empty());
    tops.sort_by_key(|top| std::cmp::Reverse(top.created));
    let table = Table::new(&tops, width, is_terminal);
    let mut text = String::new();
    table.head(&mut text, width);
    let has_children = tops.iter().any(|top| !top.children.is_empty());
    for top in &tops {
        table.top(&mut text, top);
        if has_children {
            text.push('\n');
        }
    }
    text
}

fn size(bytes: i64) -> String {
    human_size_with(float(bytes), 3)
}

fn top(image: &Value) -> Top {
    let (mut children, mut content, mut is_used) =
        (Vec::new(), 0, image.get("Containers").integer() > 0);
    for manifest in image.get("Manifests").list() {
        if manifest.get("Kind").str() != "image" {
            continue;
        }
        let child = child(manifest);
        content += manifest.get("Size").get("Content").integer();
        is_used |= child.details.is_used;
        children.push(child);
    }
    let names = image.get("RepoTags").list().iter();
    let mut names: Vec<String> = names.map(|name| name.str().to_owned()).collect();
    // The shortest is last: the line that has the most room for it.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    Top {
        names,
        created: image.get("Created").integer(),
        details: Details {
            cells: [
                short_id(image.get("Id").str()),
                size(image.get("Size").integer()),
                size(content),
            ],
            is_used,
        },
        children,
    }
}

fn child(manifest: &Value) -> Child {
    let data = manifest.get("ImageData");
    let platform = data.get("Platform");
    let parts = ["os", "architecture", "variant"].map(|part| platform.get(part).str());
    let sizes = manifest.get("Size");
    Child {
        platform: parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/"),
        is_here: manifest.get("Available").is_true(),
        details: Details {
            cells: [
                short_id(manifest.get("ID").str()),
                size(sizes.get("Total").integer()),
                size(sizes.get("Content").integer()),
            ],
            is_used: !data.get("Containers").list().is_empty(),
        },
    }
}

struct Table {
    line_width: usize,
    name_width: usize,
    columns: &'static [(&'static str, usize, bool)],
    is_terminal: bool,
}

impl Table {
    fn new(tops: &[Top], width: usize, is_terminal: bool) -> Self {
        let line_width = width;
        let mut name_width = width.max(WIDTH_MIN);
        let mut columns = &COLUMNS[..];
        for (at, (_, column, _)) in COLUMNS.iter().enumerate() {
            if name_width < column + SPACING + NAME_WIDTH_MIN {
                columns = &COLUMNS[..at];
                break;
            }
            name_width -= column + SPACING;
        }
        let names = tops.iter().flat_map(|top| &top.names).map(String::len);
        let children = tops.iter().flat_map(|top| &top.children);
        // In bytes, as docker counts: its branches are seven of them, not three.
        let branches = children.map(|child| child.platform.len() + "└─ ".len());
        let widest = names.chain(branches).max().unwrap_or(0).max("IMAGE".len());
        Self {
            line_width,
            name_width: name_width.min(widest),
            columns,
            is_terminal,
        }
    }

    fn head(&self, text: &mut String, width: usize) {
        const WARNING: &str = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
        let (legend, length) = if self.is_terminal {
            let _ = writeln!(text, "\x1b[93m{WARNING}{END}");
            let legend = "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m \x1b[38;5;0m\x1b[48;5;14m U \x1b[0m In Use ";
            (legend, 21)
        } else {
            let _ = writeln!(text, "{WARNING}");
            ("Info ->  U In Use ", 18)
        };
        let _ = writeln!(
            text,
            "{:pad$}{legend}\n",
            "",
            pad = width.max(WIDTH_MIN).saturating_sub(length)
        );
        // In bold wherever it goes, as docker has it.
        text.push_str(&cell("IMAGE", self.name_width, false, TITLE));
        for (title, width, is_right) in self.columns {
            let _ = write!(
                text,
                "{:SPACING$}{}",
                "",
                cell(title, *width, *is_right, TITLE)
            );
        }
        text.push('\n');
    }

    fn top(&self, text: &mut String, top: &Top) {
        let (last, others) = top
            .names
            .split_last()
            .expect("those without names are left out");
        for name in others {
            let shown = if self.is_terminal {
                ellipsis(name, self.line_width)
            } else {
                name.clone()
            };
            let _ = writeln!(text, "{}", self.colored(&shown, NAME));
        }
        text.push_str(&self.name(last, NAME));
        self.details(text, &top.details, NORMAL);
        for (at, child) in top.children.iter().enumerate() {
            let branch = if at + 1 == top.children.len() {
                "└─"
            } else {
                "├─"
            };
            let color = if child.is_here { NORMAL } else { FAINT };
            text.push_str(&self.name(&format!("{branch} {}", child.platform), color));
            self.details(text, &child.details, color);
        }
    }

    fn name(&self, text: &str, color: &str) -> String {
        let color = if self.is_terminal { color } else { "" };
        cell(
            &ellipsis(text, self.name_width),
            self.name_width,
            false,
            color,
        )
    }

    fn details(&self, text: &mut String, details: &Details, color: &str) {
        let color = if self.is_terminal { color } else { "" };
        for (at, (_, width, is_right)) in self.columns.iter().enumerate() {
            let _ = write!(text, "{:SPACING$}", "");
            match (details.cells.get(at), details.is_used) {
                (Some(value), _) => text.push_str(&cell(value, *width, *is_right, color)),
                (None, false) => text.push_str("     "),
                (None, true) if self.is_terminal => {
                    text.push_str("\x1b[38;5;0m\x1b[48;5;14m U \x1b[0m  ");
                }
                (None, true) => text.push_str("U    "),
            }
        }
        text.push('\n');
    }

    fn colored(&self, text: &str, color: &str) -> String {
        if self.is_terminal {
            format!("{color}{text}{END}")
        } else {
            text.to_owned()
        }
    }
}

/// A text in its column; only the text has the color.
fn cell(text: &str, width: usize, is_right: bool, color: &str) -> String {
    let pad = " ".repeat(width.saturating_sub(text.chars().count()));
    let text = if color.is_empty() {
        text.to_owned()
    } else {
        format!("{color}{text}{END}")
    };
    if is_right { pad + &text } else { text + &pad }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(json: &str, width: usize) -> Vec<String> {
        let images = Value::from_json(json.as_bytes()).expect("is JSON");
        let text = render(&images, width, false);
        text.lines().skip(4).map(str::to_owned).collect()
    }

    #[test]
    fn images_stand_above_their_platforms() {
        let json = r#"[
            {"Id":"sha256:aaaaaaaaaaaaaaaa","RepoTags":["one:1"],"Created":1,"Containers":0,"Size":1000},
            {"Id":"sha256:bbbbbbbbbbbbbbbb","RepoTags":[],"Created":9,"Containers":0,"Size":1000},
            {"Id":"sha256:cccccccccccccccc","RepoTags":["two:1","two:2"],"Created":2,"Containers":0,"Size":5000000,"Manifests":[
                {"ID":"sha256:dddddddddddddddd","Available":true,"Kind":"image","Size":{"Content":2000,"Total":3000},
                 "ImageData":{"Platform":{"os":"linux","architecture":"arm64","variant":"v8"},"Containers":["x"]}},
                {"ID":"sha256:eeeeeeeeeeeeeeee","Available":true,"Kind":"attestation","Size":{"Content":2000,"Total":2000},
                 "AttestationData":{"For":"sha256:d"}}]}]"#;
        let expected = [
            "two:1",
            "two:2                   cccccccccccc          5MB            2kB   U    ",
            "└─ linux/arm64/v8       dddddddddddd          3kB            2kB   U    ",
            "",
            "one:1                   aaaaaaaaaaaa          1kB             0B        ",
            "",
        ];
        assert_eq!(rendered(json, 80), expected);
        let narrow = rendered(json, 45);
        assert_eq!(narrow[1], "two:2               cccccccccccc          5MB");
    }
}
