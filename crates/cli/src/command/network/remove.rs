//! `docker network rm`

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_base::ErrorKind;

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["rm", "remove"],
    top_level: None,
    arguments: "NETWORK [NETWORK...]",
    about: "Remove one or more networks",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::boolean("force", "No error for networks that do not exist").short('f')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    session.block_on(async {
        let mut has_failed = false;
        for name in &given.arguments {
            let request = Request::delete(path("networks", name, ""));
            let removed = match client.send(request).await {
                Ok(answer) => answer.bytes().await.map(drop),
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => output::print_line(name),
                Err(error) if given.bool("force") && error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    output::print_error_line(error.message());
                    has_failed = true;
                }
            }
        }
        if has_failed {
            // docker's own words, from its program's status.
            return Err(Failure::new("exit status 1"));
        }
        Ok(())
    })
}
