//! `docker network prune`

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::prune::{print_names, prune};
use crate::session::Session;

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
    let client = session.client()?;
    session.block_on(async {
        let report = prune(client, "/networks/prune", &filters).await?;
        print_names("Deleted Networks:", report.get("NetworksDeleted"));
        Ok(())
    })
}
