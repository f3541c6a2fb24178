//! `docker kill`

use super::for_each;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["kill"],
    top_level: Some("kill"),
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::text("signal", "Signal to send to the container").short('s')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let signal = given.text("signal");
    for_each(session, given, |name| {
        Request::post(path("containers", name, "kill")).query_if(
            !signal.is_empty(),
            "signal",
            signal,
        )
    })
}
