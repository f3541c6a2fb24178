//! `docker stop`

use super::for_each;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["stop"],
    top_level: Some("stop"),
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

/// The flags of `stop` and `restart`.
pub(super) fn flags() -> Vec<Flag> {
    vec![
        Flag::integer("time", "Deprecated name of --timeout").hidden(),
        Flag::text("signal", "Signal to send to the container").short('s'),
        Flag::integer("timeout", "Seconds to wait before the container is killed").short('t'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    warn_of_time(given);
    for_each(session, given, |name| request(given, name, "stop"))
}

/// A request that stops, with the signal and the time to wait that were given.
pub(super) fn request(given: &Given, name: &str, verb: &str) -> Request {
    let flag = ["timeout", "time"]
        .into_iter()
        .find(|flag| given.is_given(flag));
    let timeout = flag.map(|flag| given.integer(flag));
    Request::post(path("containers", name, verb))
        .query_if(
            timeout.is_some(),
            "t",
            timeout.unwrap_or_default().to_string(),
        )
        .query_if(
            !given.text("signal").is_empty(),
            "signal",
            given.text("signal"),
        )
}

/// Docker's warning of the flag's old name.
pub(super) fn warn_of_time(given: &Given) {
    if given.is_given("time") {
        output::print_line("Flag --time has been deprecated, use --timeout instead");
    }
}
