//! `docker image prune`

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::prune::{print_images, print_reclaimed, prune};
use crate::session::Session;

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
    let client = session.client()?;
    session.block_on(async {
        let report = prune(client, "/images/prune", &filters).await?;
        let deleted = report.get("ImagesDeleted");
        print_images(deleted);
        let reclaimed = if deleted.list().is_empty() {
            0
        } else {
            report.get("SpaceReclaimed").integer()
        };
        print_reclaimed(reclaimed);
        Ok(())
    })
}
