//! What the `prune` verbs share: the request, and how they name what is gone.

use crate::failure::Outcome;
use crate::filter;
use crate::format::{float, human_size};
use crate::output;
use crate::template::Value;
use gantry_api::client::{Client, Request};

/// Sends a request to remove what is not used; gives the report.
pub(crate) async fn prune(client: &Client, path: &str, filters: &[String]) -> Outcome<Value> {
    let query = filter::to_query(filters);
    let request = Request::post(path).query_if(!filters.is_empty(), "filters", &query);
    Ok(Value::from_json(
        &client.send(request).await?.bytes().await?,
    )?)
}

pub(crate) fn print_names(title: &str, names: &Value) {
    let names: Vec<&str> = names.list().iter().map(Value::str).collect();
    if !names.is_empty() {
        output::print_line(&format!("{title}\n{}\n", names.join("\n")));
    }
}

pub(crate) fn print_images(deleted: &Value) {
    let lines = deleted
        .list()
        .iter()
        .map(|one| match one.get("Untagged").str() {
            "" => format!("deleted: {}\n", one.get("Deleted").str()),
            name => format!("untagged: {name}\n"),
        });
    let lines: String = lines.collect();
    if !lines.is_empty() {
        output::print_line(&format!("Deleted Images:\n{lines}"));
    }
}

/// The last line; in bytes.
pub(crate) fn print_reclaimed(reclaimed: i64) {
    output::print_line(&format!(
        "Total reclaimed space: {}",
        human_size(float(reclaimed))
    ));
}
