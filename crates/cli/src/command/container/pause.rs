//! `docker pause`

use super::for_each;
use crate::command::{Arity, Command, no_flags};
use crate::failure::Outcome;
use crate::flag::Given;
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["pause"],
    top_level: Some("pause"),
    arguments: "CONTAINER [CONTAINER...]",
    about: "Pause all processes within one or more containers",
    arity: Arity::AtLeast(1),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    for_each(session, given, |name| {
        Request::post(path("containers", name, "pause"))
    })
}
