//! `docker volume prune`

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::format::{float, human_size};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;

pub(crate) static COMMAND: Command = Command {
    group: "volume",
    names: &["prune"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "Remove unused local volumes",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all", "Remove volumes with a name too").short('a'),
        Flag::filter(r#"Remove only what meets these conditions (e.g. "label=<label>")"#),
        Flag::boolean("force", "Do not ask").short('f'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let all = given.bool("all");
    let which = if all { "all" } else { "anonymous" };
    let question = format!(
        "WARNING! This will remove {which} local volumes not used by at least one container.\nAre you sure you want to continue?"
    );
    if !given.bool("force") && !confirm(&question) {
        return Ok(());
    }
    let mut filters = given.list("filter").to_vec();
    filters.extend(session.config().prune_filters.iter().cloned());
    if all {
        filters.push("all=true".into());
    }
    let query = filter::to_query(&filters);
    let request = Request::post("/volumes/prune").query_if(!filters.is_empty(), "filters", &query);
    let client = session.client()?;
    session.block_on(async {
        let report = Value::from_json(&client.send(request).await?.bytes().await?)?;
        let deleted = report.get("VolumesDeleted").list();
        if !deleted.is_empty() {
            let names: Vec<&str> = deleted.iter().map(Value::str).collect();
            output::print_line(&format!("Deleted Volumes:\n{}\n", names.join("\n")));
        }
        let reclaimed = report.get("SpaceReclaimed").integer();
        output::print_line(&format!(
            "Total reclaimed space: {}",
            human_size(float(reclaimed))
        ));
        Ok(())
    })
}
