//! `docker top`

use crate::command::{Arity, Command, no_flags};
use crate::failure::Outcome;
use crate::flag::Given;
use crate::format::tabulate_with;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_api::types::ContainerTopResponse;

const LEAST_WIDTH: usize = 20;
const PADDING: usize = 3;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["top"],
    top_level: Some("top"),
    arguments: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    arity: Arity::AtLeast(1),
    flags: no_flags,
    is_interspersed: false,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let (name, arguments) = given
        .arguments
        .split_first()
        .expect("the arity asks for one argument");
    session.block_on(async {
        let request = Request::get(path("containers", name, "top")).query_if(
            !arguments.is_empty(),
            "ps_args",
            arguments.join(" "),
        );
        let top: ContainerTopResponse = client.send(request).await?.json().await?;
        let mut text = top.titles.join("\t") + "\n";
        for process in top.processes {
            text.push_str(&process.join("\t"));
            text.push('\n');
        }
        output::print(&tabulate_with(&text, LEAST_WIDTH, PADDING));
        Ok(())
    })
}
