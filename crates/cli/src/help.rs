//! Help texts in the layout of Docker's: usage, aliases, commands, options in one column wrapped at the terminal's width.

use crate::command::{self, Command, Group};
use crate::flag::Flag;
use std::fmt::Write as _;

const DEFAULT_WIDTH: usize = 80;

/// The help of one command.
pub(crate) fn of_command(command: &Command, program: &str, invoked: &str) -> String {
    let arguments = command.usage_arguments();
    let space = if arguments.is_empty() { "" } else { " " };
    let mut text = format!("Usage:  {invoked}{space}{arguments}\n\n{}\n", command.about);
    let aliases = command.all_names(program);
    if aliases.len() > 1 {
        let _ = write!(text, "\nAliases:\n  {}\n", aliases.join(", "));
    }
    let options = of_flags(&(command.flags)());
    if !options.is_empty() {
        let _ = write!(text, "\nOptions:\n{options}");
    }
    text
}

/// The help of a noun.
pub(crate) fn of_group(group: &Group, program: &str) -> String {
    let mut text = format!(
        "Usage:  {program} {} COMMAND\n\n{}\n\nCommands:\n",
        group.name, group.about
    );
    let mut rows: Vec<(&str, &str)> = command::of_group(group.name)
        .map(|command| (command.names[0], command.about))
        .collect();
    rows.sort_unstable();
    push_rows(&mut text, &rows);
    let _ = write!(
        text,
        "\nRun '{program} {} COMMAND --help' for more information on a command.\n",
        group.name
    );
    text
}

/// The help of the whole program.
pub(crate) fn of_program(program: &str, global_flags: &[Flag]) -> String {
    const COMMON: &[&str] = &["run", "exec", "ps", "pull", "images", "version", "info"];
    let mut text = format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA container platform\n\nCommon Commands:\n"
    );
    let all: Vec<(&str, &str)> = command::COMMANDS
        .iter()
        .filter_map(|command| Some((command.top_level?, command.about)))
        .collect();
    let common: Vec<_> = COMMON
        .iter()
        .filter_map(|name| all.iter().find(|(known, _)| known == name))
        .copied()
        .collect();
    push_rows(&mut text, &common);
    text.push_str("\nManagement Commands:\n");
    let groups: Vec<_> = command::GROUPS
        .iter()
        .map(|group| (group.name, group.about))
        .collect();
    push_rows(&mut text, &groups);
    if program == "gantry" {
        push_rows(&mut text, &[("daemon", "Run the daemon")]);
    }
    text.push_str("\nCommands:\n");
    let mut others: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| !COMMON.contains(name))
        .collect();
    others.sort_unstable();
    push_rows(&mut text, &others);
    let _ = write!(text, "\nGlobal Options:\n{}", of_flags(global_flags));
    let _ = write!(
        text,
        "\nRun '{program} COMMAND --help' for more information on a command.\n"
    );
    text
}

fn push_rows(text: &mut String, rows: &[(&str, &str)]) {
    let width = rows
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(11);
    for (name, about) in rows {
        let _ = writeln!(text, "  {name:width$} {about}");
    }
}

/// The options, sorted by name, one column for names and one for what they do.
pub(crate) fn of_flags(flags: &[Flag]) -> String {
    of_flags_wrapped(flags, width())
}

fn of_flags_wrapped(flags: &[Flag], width: usize) -> String {
    let mut shown: Vec<&Flag> = flags.iter().filter(|flag| !flag.is_hidden).collect();
    shown.sort_by_key(|flag| flag.long);
    let rows: Vec<(String, String)> = shown
        .iter()
        .map(|flag| (left_column(flag), right_column(flag)))
        .collect();
    let left_width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (left, right) in rows {
        let indent = left_width + 3;
        let _ = writeln!(
            text,
            "{left}{}{}",
            " ".repeat(indent - left.len()),
            wrap(indent, width, &right)
        );
    }
    text
}

fn left_column(flag: &Flag) -> String {
    let mut text = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    if !flag.type_name.is_empty() {
        text.push(' ');
        text.push_str(flag.type_name);
    }
    text
}

fn right_column(flag: &Flag) -> String {
    if flag.default.is_empty() {
        return flag.about.to_owned();
    }
    if flag.type_name == "string" {
        return format!("{} (default {:?})", flag.about, flag.default);
    }
    format!("{} (default {})", flag.about, flag.default)
}

/// Breaks `text` into lines that fit between `indent` and `width`; a last line may stick out a little.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    const SLOP: usize = 5;
    let column = width.saturating_sub(indent).max(24);
    let separator = format!("\n{}", " ".repeat(indent));
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut rest = paragraph;
        while rest.len() > column + SLOP {
            let Some(at) = rest[..=column.min(rest.len() - 1)]
                .rfind(' ')
                .filter(|at| *at > 0)
            else {
                break;
            };
            lines.push(&rest[..at]);
            rest = &rest[at + 1..];
        }
        lines.push(rest);
    }
    lines.join(&separator)
}

fn width() -> usize {
    crate::terminal::size_of_stdin().map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_aligned_and_wrapped() {
        let flags = [
            Flag::boolean("tty", "Allocate a pseudo-TTY").short('t'),
            Flag::text("name", "Assign a name").default("x"),
            Flag::list(
                "mount-a-long-name",
                "Words that do not fit into what is left of the line and must be wrapped",
            ),
        ];
        let expected = [
            "      --mount-a-long-name list   Words that do not fit into",
            "                                 what is left of the line",
            "                                 and must be wrapped",
            "      --name string              Assign a name (default \"x\")",
            "  -t, --tty                      Allocate a pseudo-TTY",
            "",
        ];
        assert_eq!(of_flags_wrapped(&flags, 60), expected.join("\n"));
    }
}
