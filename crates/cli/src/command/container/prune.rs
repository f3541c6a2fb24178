//! `docker container prune`

use super::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::prune::{print_names, print_reclaimed, prune};
use crate::session::Session;

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
    let client = session.client()?;
    session.block_on(async {
        let report = prune(client, "/containers/prune", &filters).await?;
        let deleted = report.get("ContainersDeleted");
        print_names("Deleted Containers:", deleted);
        let reclaimed = if deleted.list().is_empty() {
            0
        } else {
            report.get("SpaceReclaimed").integer()
        };
        print_reclaimed(reclaimed);
        Ok(())
    })
}
