//! Top: the host's `ps` over the container's processes, as dockerd does it.

use super::Containers;
use super::command::Command;
use gantry_base::{Error, Result};
use std::collections::HashSet;

/// Columns and rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Top {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row a process.
    pub processes: Vec<Vec<String>>,
}

impl Containers {
    /// The processes of a container as `ps` with `ps_args` (default `-ef`) shows them.
    ///
    /// # Errors
    /// A container that does not run; arguments that `ps` refuses.
    pub async fn top(&self, reference: &str, ps_args: &str) -> Result<Top> {
        let ps_args = if ps_args.is_empty() { "-ef" } else { ps_args };
        if ps_args
            .split_whitespace()
            .any(|argument| argument.starts_with("--") && argument.contains("pid"))
        {
            return Err(Error::invalid(format!(
                "custom PID fields are not allowed: {ps_args}"
            )));
        }
        let pids = self.ask(reference, Command::Processes).await?;
        let list = pids
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let arguments: Vec<&str> = ps_args.split_whitespace().collect();
        // With the pids first `ps` lists them only; where the arguments do not go with that, everything is listed and filtered.
        let mut output = run_ps(&[&["-q", list.as_str()][..], &arguments].concat()).await?;
        if !output.status.success() {
            output = run_ps(&arguments).await?;
        }
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            // What follows the first paragraph is ps's own usage.
            let first = text.trim().split("\n\n").next().unwrap_or_default();
            return Err(Error::internal(format!("ps: {first}")));
        }
        parse(&String::from_utf8_lossy(&output.stdout), &pids)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one program besides the zygote: its output is Docker's answer"
)]
async fn run_ps(arguments: &[&str]) -> Result<std::process::Output> {
    tokio::process::Command::new("ps")
        .args(arguments)
        .output()
        .await
        .map_err(|error| Error::from(error).prefixed("cannot run ps on the host"))
}

/// Reads the table; the last column keeps its spaces. Rows of other processes are left out.
fn parse(text: &str, pids: &[i32]) -> Result<Top> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let column = titles.iter().position(|title| title == "PID");
    let column = column.ok_or_else(|| Error::internal("Couldn't find PID field in ps output"))?;
    let wanted: HashSet<i32> = pids.iter().copied().collect();
    let processes = lines
        .filter_map(|line| {
            let fields = split(line, titles.len());
            let pid: i32 = fields.get(column)?.parse().ok()?;
            wanted.contains(&pid).then_some(fields)
        })
        .collect();
    Ok(Top { titles, processes })
}

fn split(line: &str, columns: usize) -> Vec<String> {
    let mut fields = Vec::with_capacity(columns);
    let mut rest = line.trim();
    while fields.len() + 1 < columns {
        let Some((field, more)) = rest.split_once(char::is_whitespace) else {
            break;
        };
        fields.push(field.to_owned());
        rest = more.trim_start();
    }
    fields.push(rest.to_owned());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_keeps_its_spaces_and_others_are_left_out() {
        let text = "UID        PID CMD\nroot        12 sleep 100  now\nroot        13 other\n";
        let top = parse(text, &[12]).expect("has a PID column");
        assert_eq!(top.titles, ["UID", "PID", "CMD"]);
        assert_eq!(top.processes, [["root", "12", "sleep 100  now"]]);
        assert!(parse("UID CMD\n", &[1]).is_err());
    }
}
