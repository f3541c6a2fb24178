//! `docker container inspect`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::inspection::Inspection;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["inspect"],
    top_level: None,
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::format_without_table().short('f'),
        Flag::boolean("size", "Display total file sizes").short('s'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let mut inspection = Inspection::new(given.text("format"))?;
    session.block_on(async {
        for name in &given.arguments {
            inspection.add(
                inspect(client, name, given.bool("size"))
                    .await
                    .map_err(Into::into),
            );
        }
        inspection.finish()
    })
}

/// What the daemon says of one container.
pub(crate) async fn inspect(
    client: &Client,
    name: &str,
    with_size: bool,
) -> gantry_base::Result<Vec<u8>> {
    let request = Request::get(path("containers", name, "json")).query_if(with_size, "size", "1");
    Ok(client.send(request).await?.bytes().await?.to_vec())
}
