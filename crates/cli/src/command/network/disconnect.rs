//! `docker network disconnect`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_api::types::NetworkDisconnectRequest;

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["disconnect"],
    top_level: None,
    arguments: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    arity: Arity::Exactly(2),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::boolean("force", "Also from a network that is gone").short('f')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let body = NetworkDisconnectRequest {
        container: given.arguments[1].clone(),
        force: given.bool("force"),
    };
    let client = session.client()?;
    session.block_on(async {
        let route = path("networks", &given.arguments[0], "disconnect");
        let request = Request::post(route).json(&body)?;
        client.send(request).await?.bytes().await?;
        Ok(())
    })
}
