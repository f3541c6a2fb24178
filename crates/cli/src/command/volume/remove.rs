//! `docker volume rm`

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "volume",
    names: &["rm", "remove"],
    top_level: None,
    arguments: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove one or more volumes",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::boolean("force", "No failure for a volume that is not there").short('f')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    session.block_on(async {
        let mut errors = Vec::new();
        for name in &given.arguments {
            let request = Request::delete(path("volumes", name, "")).query_if(
                given.bool("force"),
                "force",
                "1",
            );
            let removed = async { client.send(request).await?.discard().await };
            match removed.await {
                Ok(()) => output::print_line(name),
                Err(error) => errors.push(error.message().to_owned()),
            }
        }
        Failure::joined(errors)
    })
}
