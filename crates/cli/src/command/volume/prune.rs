//! `docker volume prune`

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::prune::{print_names, print_reclaimed, prune};
use crate::session::Session;

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
    let client = session.client()?;
    session.block_on(async {
        let report = prune(client, "/volumes/prune", &filters).await?;
        print_names("Deleted Volumes:", report.get("VolumesDeleted"));
        print_reclaimed(report.get("SpaceReclaimed").integer());
        Ok(())
    })
}
