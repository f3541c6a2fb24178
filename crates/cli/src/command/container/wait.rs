//! `docker wait`

use crate::command::{Arity, Command, no_flags};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};
use gantry_api::types::ContainerWaitResponse;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["wait"],
    top_level: Some("wait"),
    arguments: "CONTAINER [CONTAINER...]",
    about: "Wait until one or more containers stop, then print their exit codes",
    arity: Arity::AtLeast(1),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    session.block_on(async {
        let mut failures = Vec::new();
        for name in &given.arguments {
            match wait(client, name).await {
                Ok(answer) => output::print_line(&answer.status_code.to_string()),
                Err(error) => failures.push(error.message().to_owned()),
            }
        }
        Failure::joined(failures)
    })
}

async fn wait(client: &Client, name: &str) -> gantry_base::Result<ContainerWaitResponse> {
    client
        .send(Request::post(path("containers", name, "wait")))
        .await?
        .json()
        .await
}
