//! `docker network inspect`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::inspection::Inspection;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["inspect"],
    top_level: None,
    arguments: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::format_without_table().short('f'),
        Flag::boolean("verbose", "Show what helps to find faults").short('v'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let mut inspection = Inspection::new(given.text("format"))?;
    session.block_on(async {
        for name in &given.arguments {
            inspection.add(
                inspect(client, name, given.bool("verbose"))
                    .await
                    .map_err(Into::into),
            );
        }
        inspection.finish()
    })
}

async fn inspect(client: &Client, name: &str, verbose: bool) -> gantry_base::Result<Vec<u8>> {
    let request = Request::get(path("networks", name, "")).query_if(verbose, "verbose", "true");
    Ok(client.send(request).await?.bytes().await?.to_vec())
}
