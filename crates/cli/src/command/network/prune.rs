//! `docker network prune`

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use gantry_api::client::Request;
use gantry_api::types::NetworksPruneReport;

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["prune"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "Remove all unused networks",
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
    let question = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !given.bool("force") && !confirm(question) {
        return Ok(());
    }
    let mut filters = session.config().prune_filters.clone();
    filters.extend_from_slice(given.list("filter"));
    let filters = filter::to_query(&filters);
    let client = session.client()?;
    session.block_on(async {
        let request =
            Request::post("/networks/prune").query_if(!filters.is_empty(), "filters", &filters);
        let report: NetworksPruneReport = client.send(request).await?.json().await?;
        let deleted = report.networks_deleted.unwrap_or_default();
        if !deleted.is_empty() {
            output::print_line(&format!("Deleted Networks:\n{}\n", deleted.join("\n")));
        }
        Ok(())
    })
}
