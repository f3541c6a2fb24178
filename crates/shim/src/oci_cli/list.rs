//! `state`, `list`, `ps`.

use gantry_oci::runtime::OCI_VERSION;
use gantry_runtime::{Error, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use super::Context;
use super::flags::Matches;
use super::store::{Container, Status};

pub(super) fn state(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    let text = serde_json::to_string_pretty(&describe(&container, ""))
        .map_err(|error| Error::internal(error.to_string()))?;
    print!("{text}");
    Ok(0)
}

pub(super) fn list(context: &Context, matches: &Matches) -> Result<i32> {
    let containers = context.store.list();
    if matches.has("quiet") {
        for container in &containers {
            println!("{}", container.record.id);
        }
        return Ok(0);
    }
    match format(matches)? {
        Format::Json => {
            let all: Vec<Value> = containers
                .iter()
                .map(|container| describe(container, &owner(container)))
                .collect();
            println!(
                "{}",
                if all.is_empty() {
                    Value::Null
                } else {
                    Value::Array(all)
                }
            );
        }
        Format::Table => {
            let mut rows = vec![
                ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            for container in &containers {
                let (status, pid) = status_and_pid(container);
                let record = &container.record;
                let bundle = record.bundle.display().to_string();
                rows.push(vec![
                    record.id.clone(),
                    pid.to_string(),
                    status.name().to_owned(),
                    bundle,
                    record.created.clone(),
                    owner(container),
                ]);
            }
            print!("{}", table(&rows));
        }
    }
    Ok(0)
}

pub(super) fn ps(context: &Context, matches: &Matches) -> Result<i32> {
    let container = context.store.open(&matches.arguments[0])?;
    let pids = container.cgroup().procs()?;
    if let Format::Json = format(matches)? {
        println!("{}", json!(pids));
        return Ok(0);
    }
    let arguments = if matches.arguments.len() > 1 {
        &matches.arguments[1..]
    } else {
        &["-ef".to_owned()][..]
    };
    let output = Command::new("ps")
        .args(arguments)
        .output()
        .map_err(|error| Error::from(error).prefixed("cannot run ps"))?;
    if !output.status.success() {
        return Err(Error::invalid(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    print!(
        "{}",
        filter_ps(&String::from_utf8_lossy(&output.stdout), &pids)?
    );
    Ok(0)
}

/// The heading, and the lines whose PID is one of these.
fn filter_ps(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_ascii_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    let mut filtered = format!("{heading}\n");
    for line in lines {
        let pid = line
            .split_ascii_whitespace()
            .nth(column)
            .and_then(|field| field.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            let _ = writeln!(filtered, "{line}");
        }
    }
    Ok(filtered)
}

enum Format {
    Table,
    Json,
}

fn format(matches: &Matches) -> Result<Format> {
    match matches.value("format") {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(_) => Err(Error::invalid("invalid format option")),
    }
}

fn status_and_pid(container: &Container) -> (Status, i32) {
    let status = container.status();
    (
        status,
        if status == Status::Stopped {
            0
        } else {
            container.record.pid
        },
    )
}

fn describe(container: &Container, owner: &str) -> Value {
    let (status, pid) = status_and_pid(container);
    let record = &container.record;
    let mut value = json!({
        "ociVersion": OCI_VERSION,
        "id": record.id,
        "pid": pid,
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
    });
    if !record.spec.annotations.is_empty() {
        value["annotations"] = json!(record.spec.annotations);
    }
    value["owner"] = json!(owner);
    value
}

/// Who has made the container: the owner of its directory, by name if there is one.
fn owner(container: &Container) -> String {
    let Ok(metadata) = std::fs::metadata(&container.folder) else {
        return String::new();
    };
    let uid = metadata.uid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

/// Columns at least 12 wide, three spaces apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count() + 3)
            .max()
            .unwrap_or(0)
            .max(12)
    };
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == columns {
                text.push_str(cell);
            } else {
                let width = width(column);
                let _ = write!(text, "{cell:width$}");
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_process_lists() {
        let rows = vec![
            vec!["ID".into(), "PID".into(), "OWNER".into()],
            vec!["a".repeat(12), "7".into(), "root".into()],
        ];
        assert_eq!(
            table(&rows),
            "ID             PID         OWNER\naaaaaaaaaaaa   7           root\n"
        );
        let text = "UID   PID CMD\nroot    1 init\nroot   12 sh -c 1\n";
        assert_eq!(
            filter_ps(text, &[12]).expect("has a heading"),
            "UID   PID CMD\nroot   12 sh -c 1\n"
        );
        assert!(filter_ps("CMD\n", &[1]).is_err());
    }
}
