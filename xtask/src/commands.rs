//! `docs/commands.md`: every command of Docker's command line, its route, and where each room keeps it.
//!
//! Generated from `xtask/commands.txt`. A command that is said to work must have a file in the command line, one in the engine
//! (unless it is the client's alone) and a test, and its route must stand in the server's table; a row that points nowhere fails.

use crate::Outcome;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

pub(crate) const DOCUMENT: &str = "docs/commands.md";
const TABLE: &str = "xtask/commands.txt";
/// Where the routes are, relative to the root.
const ROUTES: &str = "crates/server/src";

/// One command; `–` stands for what it does not have.
struct Row<'a> {
    command: &'a str,
    route: &'a str,
    client: &'a str,
    engine: &'a str,
    tests: &'a str,
    /// `works`, `partly: what is missing`, or `later`.
    status: &'a str,
}

/// Writes the document.
///
/// # Errors
/// When a row points nowhere, or the document cannot be written.
pub(crate) fn write(root: &Path) -> Outcome {
    let (text, findings) = generate(root)?;
    if !findings.is_empty() {
        return Err(findings.join("\n"));
    }
    std::fs::write(root.join(DOCUMENT), text).map_err(|e| format!("cannot write {DOCUMENT}: {e}"))
}

/// The document's text, and what is wrong with the table.
pub(crate) fn generate(root: &Path) -> Result<(String, Vec<String>), String> {
    let table = std::fs::read_to_string(root.join(TABLE))
        .map_err(|e| format!("cannot read {TABLE}: {e}"))?;
    let mut findings = Vec::new();
    let mut rows = Vec::new();
    for line in table
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'))
    {
        match parse(line) {
            Some(row) => rows.push(row),
            None => findings.push(format!("{TABLE}: a row has six cells between bars: {line}")),
        }
    }
    let exists = |path: &str| root.join(path).is_file();
    let routes = routes(&root.join(ROUTES));
    let mut seen = BTreeSet::new();
    for row in &rows {
        findings.extend(judge(row, &exists, &routes));
        if !seen.insert(row.command) {
            findings.push(format!("{TABLE}: {} has two rows", row.command));
        }
    }
    Ok((render(&rows), findings))
}

fn parse(line: &str) -> Option<Row<'_>> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [command, route, client, engine, tests, status] = cells[..] else {
        return None;
    };
    Some(Row {
        command,
        route,
        client,
        engine,
        tests,
        status,
    })
}

fn judge(row: &Row<'_>, exists: &dyn Fn(&str) -> bool, routes: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(format!("{TABLE}: {}: {what}", row.command));
    let works = row.status == "works" || row.status.starts_with("partly: ");
    if !works && row.status != "later" {
        find(format!(
            "the status is works, partly: …, or later, not {}",
            row.status
        ));
    }
    for (room, path) in rooms(row) {
        if path == "–" {
            if works && room != "engine" {
                find(format!("it works, but its {room} is not named"));
            }
        } else if !exists(&path) {
            find(format!("its {room} is not there: {path}"));
        }
    }
    if works && row.route != "–" && !routes.contains(&route_in_code(row.route)) {
        find(format!("the server has no route {}", row.route));
    }
    findings
}

/// The files of a row, relative to the root.
fn rooms(row: &Row<'_>) -> Vec<(&'static str, String)> {
    let file = |folder: &str, name: &str| {
        if name == "–" {
            name.to_owned()
        } else {
            format!("{folder}/{name}.rs")
        }
    };
    let mut rooms = vec![
        ("command line", file("crates/cli/src/command", row.client)),
        ("engine", file("crates/engine/src", row.engine)),
    ];
    rooms.extend(
        row.tests
            .split(", ")
            .map(|test| ("test", file("tests", test))),
    );
    rooms
}

/// How the server writes a route: the path alone, without the method.
fn route_in_code(route: &str) -> String {
    let path = route.split_once(' ').map_or(route, |(_, path)| path);
    let mut written = String::new();
    let mut inside = false;
    for c in path.chars() {
        // The server writes `{}` for what has a name here.
        inside = inside && c != '}';
        if !inside {
            written.push(c);
        }
        inside = inside || c == '{';
    }
    format!("\"{written}\"")
}

/// All source text of the server, in which routes are looked for.
fn routes(folder: &Path) -> String {
    let mut text = String::new();
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &routes(&path);
        } else {
            text += &std::fs::read_to_string(&path).unwrap_or_default();
        }
    }
    text
}

fn render(rows: &[Row<'_>]) -> String {
    let count = |status: &str| rows.iter().filter(|r| r.status.starts_with(status)).count();
    let mut text = format!(
        "# Commands\n\nGenerated by `cargo xtask commands` from `xtask/commands.txt`; every file named here exists.\n\
         Of {} commands {} work, {} in part.\n\n| Command | Route | Command line | Engine | Tests | Status |\n|---|---|---|---|---|---|\n",
        rows.len(),
        count("works"),
        count("partly")
    );
    for row in rows {
        let cells: Vec<String> = rooms(row)
            .into_iter()
            .map(|(_, path)| link(&path))
            .collect();
        let route = if row.route == "–" {
            "–".to_owned()
        } else {
            format!("`{}`", row.route)
        };
        let tests = cells[2..].join(", ");
        writeln!(
            text,
            "| `{}` | {route} | {} | {} | {tests} | {} |",
            row.command, cells[0], cells[1], row.status
        )
        .expect("a string takes any text");
    }
    text
}

fn link(path: &str) -> String {
    if path == "–" {
        return path.to_owned();
    }
    let name = path.rsplit('/').take(2).collect::<Vec<_>>();
    let name: Vec<&str> = name.into_iter().rev().collect();
    format!("[{}](../{path})", name.join("/").trim_end_matches(".rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(line: &str) -> Vec<String> {
        let row = parse(line).expect("six cells");
        judge(
            &row,
            &|path| path.contains("rename"),
            "route(\"/containers/{}/rename\")",
        )
    }

    #[test]
    fn rows_that_point_nowhere_are_found() {
        let good = "container rename | POST /containers/{id}/rename | container/rename | container/rename | api/rename | works";
        assert_eq!(findings(good), [""; 0]);
        assert_eq!(
            findings(&good.replace("container/rename | container", "container/gone | container"))
                .len(),
            1
        );
        assert_eq!(findings(&good.replace("api/rename", "–")).len(), 1);
        assert_eq!(findings(&good.replace("{id}/rename", "{id}/gone")).len(), 1);
        assert_eq!(findings(&good.replace("works", "soon")).len(), 1);
        assert_eq!(findings("swarm init | – | – | – | – | later"), [""; 0]);
        assert!(parse("a | b").is_none());
    }
}
