//! `docker container prune`

use super::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::format::{float, human_size};
use crate::output;
use crate::session::Session;
use gantry_api::client::Request;
use gantry_api::types::ContainersPruneReport;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["prune"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "Remove all stopped containers",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::filter(r#"Remove only what meets these conditions (e.g. "until=<timestamp>")"#),
        Flag::boolean("force", "Do not ask").short('f'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let question =
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !given.bool("force") && !confirm(question) {
        return Ok(());
    }
    let mut filters = session.config().prune_filters.clone();
    filters.extend_from_slice(given.list("filter"));
    let filters = filter::to_query(&filters);
    let client = session.client()?;
    session.block_on(async {
        let request =
            Request::post("/containers/prune").query_if(!filters.is_empty(), "filters", &filters);
        let report: ContainersPruneReport = client.send(request).await?.json().await?;
        let deleted = report.containers_deleted.unwrap_or_default();
        if !deleted.is_empty() {
            output::print_line(&format!("Deleted Containers:\n{}\n", deleted.join("\n")));
        }
        let reclaimed = if deleted.is_empty() {
            0
        } else {
            i64::try_from(report.space_reclaimed).unwrap_or(0)
        };
        output::print_line(&format!(
            "Total reclaimed space: {}",
            human_size(float(reclaimed))
        ));
        Ok(())
    })
}
