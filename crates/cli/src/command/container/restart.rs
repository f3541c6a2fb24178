//! `docker restart`

use super::{for_each, stop};
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::Given;
use crate::session::Session;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["restart"],
    top_level: Some("restart"),
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    arity: Arity::AtLeast(1),
    flags: stop::flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    stop::warn_of_time(given);
    for_each(session, given, |name| stop::request(given, name, "restart"))
}
