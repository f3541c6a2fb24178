//! `docker image prune`

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
    group: "image",
    names: &["prune"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "Remove unused images",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean(
            "all",
            "Remove all unused images, not just those without a name",
        )
        .short('a'),
        Flag::filter(r#"Remove only what meets these conditions (e.g. "until=<timestamp>")"#),
        Flag::boolean("force", "Do not ask").short('f'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let all = given.bool("all");
    let warning = if all {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !given.bool("force") && !confirm(&format!("{warning}\nAre you sure you want to continue?")) {
        return Ok(());
    }
    let mut filters = given.list("filter").to_vec();
    filters.push(format!("dangling={}", !all));
    filters.extend(session.config().prune_filters.iter().cloned());
    let request = Request::post("/images/prune").query("filters", filter::to_query(&filters));
    let client = session.client()?;
    session.block_on(async {
        let report = Value::from_json(&client.send(request).await?.bytes().await?)?;
        let deleted = report.get("ImagesDeleted").list();
        if !deleted.is_empty() {
            let lines = deleted.iter().map(|one| match one.get("Untagged").str() {
                "" => format!("deleted: {}\n", one.get("Deleted").str()),
                name => format!("untagged: {name}\n"),
            });
            output::print_line(&format!("Deleted Images:\n{}", lines.collect::<String>()));
        }
        let reclaimed = if deleted.is_empty() {
            0
        } else {
            report.get("SpaceReclaimed").integer()
        };
        output::print_line(&format!(
            "Total reclaimed space: {}",
            human_size(float(reclaimed))
        ));
        Ok(())
    })
}
