//! `docker rm`

use super::send;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::joined::joined;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_base::{Error, ErrorKind};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["rm", "remove"],
    top_level: Some("rm"),
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("force", "Remove running containers too (uses SIGKILL)").short('f'),
        Flag::boolean("link", "Remove the link of this name").short('l'),
        Flag::boolean("volumes", "Remove the containers' anonymous volumes").short('v'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let force = given.bool("force");
    session.block_on(async {
        let names = &given.arguments;
        let answers = joined(names.iter().map(|name| async move {
            let name = name.trim_matches('/');
            if name.is_empty() {
                return Err(Error::invalid("container name cannot be empty"));
            }
            let request = Request::delete(path("containers", name, ""))
                .query_if(force, "force", "1")
                .query_if(given.bool("link"), "link", "1")
                .query_if(given.bool("volumes"), "v", "1");
            send(client, request).await
        }))
        .await;
        let mut failures = Vec::new();
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(()) => output::print_line(name),
                Err(error) if force && error.kind() == ErrorKind::NotFound => {
                    output::print_error_line(error.message());
                }
                Err(error) => failures.push(error.message().to_owned()),
            }
        }
        Failure::joined(failures)
    })
}
