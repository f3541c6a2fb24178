//! `docker manifest rm`

use super::parse;
use super::store::Store;
use crate::command::{Arity, Command, no_flags};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::session::Session;

pub(crate) static COMMAND: Command = Command {
    group: "manifest",
    names: &["rm"],
    top_level: None,
    arguments: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Delete one or more manifest lists from local storage",
    arity: Arity::AtLeast(1),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let store = Store::new(session);
    let mut failures = Vec::new();
    for name in &given.arguments {
        let list = match parse(name) {
            Ok(list) => list,
            Err(error) => {
                failures.push(error.message().to_owned());
                continue;
            }
        };
        match store.remove(&list) {
            Ok(true) => {}
            Ok(false) => failures.push(format!("No such manifest: {list}")),
            Err(failure) => failures.push(failure.message),
        }
    }
    Failure::joined(failures)
}
