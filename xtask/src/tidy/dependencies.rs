//! Which crate may use which: the crate table of `ARCHITECTURE.md`, read as it stands there, against the manifests.
//!
//! Also: no asynchronous runtime in the trees of what runs beside a container, and no banned crate in a manifest of ours.
//! Development dependencies may add `testkit` and whatever the table allows; the packages of the workshop may use all.

use super::{Report, Tree};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RULE: &str = "crate-table";
/// Packages that nothing of the product may use; they may use everything.
const WORKSHOP: [&str; 3] = ["testkit", "xtask", "tests"];
/// The crates whose code runs in the zygote, in shims and before a payload.
const SYNCHRONOUS: [&str; 4] = ["sys", "runtime", "shim-protocol", "shim"];
/// Nothing with threads, reactors or a network client beside a container.
const NOT_IN_SYNCHRONOUS: [&str; 8] = [
    "tokio",
    "mio",
    "async-std",
    "smol",
    "futures-executor",
    "hyper",
    "rayon",
    "rusqlite",
];
/// Reasons are in `docs/testing.md`; `deny.toml` lists the same for cargo-deny.
const BANNED: [&str; 10] = [
    "async-trait",
    "axum",
    "chrono",
    "lazy_static",
    "native-tls",
    "nix",
    "openssl",
    "openssl-sys",
    "tar",
    "tokio-tar",
];

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    layer: u32,
    name: String,
    imports: BTreeSet<String>,
}

pub(super) fn check(tree: &Tree, report: &mut Report) -> Result<(), String> {
    let rows = parse_table(&tree.read_text("ARCHITECTURE.md")?)?;
    check_layers(&rows, report);
    let packages = tree.metadata["packages"]
        .as_array()
        .ok_or("cargo metadata lists no packages")?;
    let members: BTreeMap<String, &Value> = packages
        .iter()
        .filter(|p| p["source"].is_null())
        .map(|p| (short(text(&p["name"])).to_owned(), p))
        .collect();
    for (name, package) in &members {
        if WORKSHOP.contains(&name.as_str()) {
            continue;
        }
        match rows.iter().find(|r| r.name == *name) {
            Some(row) => check_edges(row, package, &members, report),
            None => report.add(
                RULE,
                "ARCHITECTURE.md",
                format!("crate {name} has no row in the crate table"),
            ),
        }
    }
    for row in rows.iter().filter(|r| !members.contains_key(&r.name)) {
        report.add(
            RULE,
            "ARCHITECTURE.md",
            format!("the crate table names {}, which does not exist", row.name),
        );
    }
    check_trees(tree, report);
    Ok(())
}

/// A crate imports lower layers only, so that the table cannot describe a circle.
fn check_layers(rows: &[Row], report: &mut Report) {
    for row in rows {
        for import in &row.imports {
            match rows.iter().find(|r| r.name == *import) {
                None => report.add(
                    RULE,
                    "ARCHITECTURE.md",
                    format!("{} may import {import}, which has no row", row.name),
                ),
                Some(lower) if lower.layer >= row.layer => {
                    report.add(
                        RULE,
                        "ARCHITECTURE.md",
                        format!(
                            "{} (layer {}) may not import {import} (layer {})",
                            row.name, row.layer, lower.layer
                        ),
                    );
                }
                Some(_) => {}
            }
        }
    }
}

fn check_edges(
    row: &Row,
    package: &Value,
    members: &BTreeMap<String, &Value>,
    report: &mut Report,
) {
    let manifest = format!("crates/{}/Cargo.toml", row.name);
    for dependency in list(&package["dependencies"]) {
        let package = text(&dependency["name"]);
        if BANNED.contains(&package) {
            report.add(
                "banned-crate",
                &manifest,
                format!("{package} is banned, see docs/testing.md"),
            );
        }
        let name = short(package);
        if !members.contains_key(name) || !dependency["source"].is_null() {
            continue;
        }
        let for_tests = dependency["kind"] == "dev";
        if row.imports.contains(name) || for_tests && (name == "testkit" || name == row.name) {
            continue;
        }
        report.add(
            RULE,
            &manifest,
            format!(
                "{} must not depend on {name}: the crate table of ARCHITECTURE.md has no such edge",
                row.name
            ),
        );
    }
    if !list(&package["features"]).is_empty()
        || package["features"]
            .as_object()
            .is_some_and(|f| !f.is_empty())
    {
        report.add(RULE, &manifest, "no Cargo features: they multiply builds");
    }
}

/// Follows the resolved graph without development dependencies.
fn check_trees(tree: &Tree, report: &mut Report) {
    let names: BTreeMap<&str, &str> = list(&tree.metadata["packages"])
        .iter()
        .map(|p| (text(&p["id"]), text(&p["name"])))
        .collect();
    let edges: BTreeMap<&str, Vec<&str>> = list(&tree.metadata["resolve"]["nodes"])
        .iter()
        .map(|n| (text(&n["id"]), needed(n)))
        .collect();
    for (id, name) in &names {
        if !SYNCHRONOUS.contains(&short(name)) || !name.starts_with("gantry-") {
            continue;
        }
        for reached in reachable(id, &edges) {
            let reached = names.get(reached).copied().unwrap_or_default();
            if NOT_IN_SYNCHRONOUS.contains(&reached) {
                report.add(
                    "synchronous",
                    &format!("crates/{}/Cargo.toml", short(name)),
                    format!("{reached} is in the dependency tree of {name}"),
                );
            }
        }
    }
}

/// What a package needs to be built, not to be tested.
fn needed(node: &Value) -> Vec<&str> {
    list(&node["deps"])
        .iter()
        .filter(|d| list(&d["dep_kinds"]).iter().any(|k| k["kind"] != "dev"))
        .map(|d| text(&d["pkg"]))
        .collect()
}

fn reachable<'a>(start: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(edges.get(id).into_iter().flatten());
        }
    }
    seen
}

/// The rows of the table whose head begins `| L | Crate |`.
fn parse_table(document: &str) -> Result<Vec<Row>, String> {
    let mut lines = document
        .lines()
        .skip_while(|l| !l.starts_with("| L | Crate |"));
    if lines.next().is_none() {
        return Err("ARCHITECTURE.md has no table that begins with `| L | Crate |`".to_owned());
    }
    lines
        .skip(1)
        .take_while(|l| l.starts_with('|'))
        .map(parse_row)
        .filter_map(Result::transpose)
        .collect()
}

/// A row without a layer is of the workshop and says nothing.
fn parse_row(line: &str) -> Result<Option<Row>, String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [layer, name, _, imports, _] = cells[..] else {
        return Err(format!(
            "this row of the crate table does not have 5 cells: {line}"
        ));
    };
    let Ok(layer) = layer.parse() else {
        return Ok(None);
    };
    let name = name
        .split('`')
        .nth(1)
        .ok_or_else(|| format!("no crate in backquotes: {line}"))?;
    let imports = imports
        .split(',')
        .map(str::trim)
        .filter(|i| !matches!(*i, "" | "–" | "-"));
    Ok(Some(Row {
        layer,
        name: name.to_owned(),
        imports: imports.map(|i| i.trim_matches('`').to_owned()).collect(),
    }))
}

/// The folder's name of one of our packages.
fn short(package: &str) -> &str {
    package.strip_prefix("gantry-").unwrap_or(package)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "text\n| L | Crate | One sentence | May import | Must never |\n|---|---|---|---|---|\n\
        | 0 | `base` | a | – | x |\n| 1 | `oci` (bin) | b | base | x |\n| – | `xtask` | c | any | ship |\n\n| 9 | `no` | | | |\n";

    #[test]
    fn table_is_read_to_its_end() {
        let rows = parse_table(TABLE).expect("a table");
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[1],
            Row {
                layer: 1,
                name: "oci".into(),
                imports: BTreeSet::from(["base".into()])
            }
        );
        assert!(parse_table("| L | Crate |\n|---|\n| 1 | oci |\n").is_err());
        assert!(parse_table("nothing").is_err());
    }

    #[test]
    fn upward_and_unknown_imports_are_found() {
        let row = |layer, name: &str, import: &str| Row {
            layer,
            name: name.into(),
            imports: BTreeSet::from([import.to_owned()]),
        };
        let mut report = Report::default();
        check_layers(
            &[row(1, "a", "b"), row(2, "b", "a"), row(3, "c", "gone")],
            &mut report,
        );
        let messages: Vec<&str> = report.findings.iter().map(|f| f.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "a (layer 1) may not import b (layer 2)",
                "c may import gone, which has no row"
            ]
        );
    }

    #[test]
    fn edges_are_held_against_the_row() {
        let row = Row {
            layer: 1,
            name: "oci".into(),
            imports: BTreeSet::from(["base".into()]),
        };
        let package = serde_json::json!({"features": {"x": []}, "dependencies": [
            {"name": "gantry-base", "source": null, "kind": null},
            {"name": "gantry-testkit", "source": null, "kind": "dev"},
            {"name": "gantry-engine", "source": null, "kind": null},
            {"name": "serde", "source": "registry", "kind": null},
        ]});
        let members: BTreeMap<String, &Value> = ["base", "testkit", "engine", "oci"]
            .iter()
            .map(|n| ((*n).to_owned(), &package))
            .collect();
        let mut report = Report::default();
        check_edges(&row, &package, &members, &mut report);
        assert_eq!(report.findings.len(), 2);
        assert!(
            report.findings[0]
                .message
                .starts_with("oci must not depend on engine")
        );
        assert!(report.findings[1].message.starts_with("no Cargo features"));
    }

    #[test]
    fn trees_are_followed_without_test_dependencies() {
        let node = serde_json::json!({"deps": [
            {"pkg": "a", "dep_kinds": [{"kind": null}]}, {"pkg": "b", "dep_kinds": [{"kind": "dev"}]}, {"pkg": "c", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]},
        ]});
        assert_eq!(needed(&node), ["a", "c"]);
        let edges = BTreeMap::from([("x", vec!["y"]), ("y", vec!["x", "z"])]);
        assert_eq!(reachable("x", &edges), BTreeSet::from(["x", "y", "z"]));
    }
}
