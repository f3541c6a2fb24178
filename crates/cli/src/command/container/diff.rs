//! `docker diff`

use crate::command::{Arity, Command, no_flags};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_api::types::FilesystemChange;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["diff"],
    top_level: Some("diff"),
    arguments: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    arity: Arity::Exactly(1),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let name = given.arguments[0].as_str();
    if name.is_empty() {
        return Err(Failure::new("Container name cannot be empty"));
    }
    let client = session.client()?;
    session.block_on(async {
        let request = Request::get(path("containers", name, "changes"));
        let changes: Option<Vec<FilesystemChange>> = client.send(request).await?.json().await?;
        for change in changes.into_iter().flatten() {
            let letter = match change.kind {
                1 => 'A',
                2 => 'D',
                _ => 'C',
            };
            output::print_line(&format!("{letter} {}", change.path));
        }
        Ok(())
    })
}
