//! `docker manifest create`

use super::fetch::{Found, fetch};
use super::store::Store;
use super::{parse, parse_as};
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;

pub(crate) static COMMAND: Command = Command {
    group: "manifest",
    names: &["create"],
    top_level: None,
    arguments: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Create a local manifest list for annotating and pushing to a registry",
    arity: Arity::AtLeast(2),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("amend", "Amend an existing manifest list").short('a'),
        Flag::boolean("insecure", "Allow communication with an insecure registry"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let list = parse_as("error parsing name for manifest list", &given.arguments[0])?;
    let store = Store::new(session);
    if !given.bool("amend") && store.list(&list)?.is_some() {
        return Err(Failure::new(
            "refusing to amend an existing manifest list with no --amend flag",
        ));
    }
    session.block_on(async {
        for name in &given.arguments[1..] {
            let image = parse(name)?;
            if store.get(&list, &image)?.is_some() {
                continue;
            }
            match fetch(session, &image, given.bool("insecure")).await? {
                Found::Image(entry) => store.save(&list, &image, &entry)?,
                Found::List(_) => {
                    return Err(Failure::new(format!("{image} is a manifest list")));
                }
            }
        }
        output::print_line(&format!("Created manifest list {list}"));
        Ok(())
    })
}
