//! `docker rename`

use super::send;
use crate::command::{Arity, Command, no_flags};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["rename"],
    top_level: Some("rename"),
    arguments: "CONTAINER NEW_NAME",
    about: "Rename a container",
    arity: Arity::Exactly(2),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let (old, new) = (given.arguments[0].trim(), given.arguments[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new(
            "Error: Neither old nor new names may be empty",
        ));
    }
    let client = session.client()?;
    session.block_on(async {
        let request = Request::post(path("containers", old, "rename")).query("name", new);
        send(client, request).await.map_err(|error| {
            output::print_error_line(error.message());
            Failure::new(format!("Error: failed to rename container named {old}"))
        })
    })
}
