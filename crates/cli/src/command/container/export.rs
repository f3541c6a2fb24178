//! `docker export`

use crate::command::image::save::download;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["export"],
    top_level: Some("export"),
    arguments: "[OPTIONS] CONTAINER",
    about: "Export a container's file system as a tar archive",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::text("output", "Write to a file, instead of STDOUT").short('o')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let request = Request::get(path("containers", &given.arguments[0], "export"));
    download(
        session,
        request,
        given.text("output"),
        "failed to export container",
    )
}
