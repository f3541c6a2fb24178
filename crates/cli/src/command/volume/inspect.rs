//! `docker volume inspect`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::inspection::Inspection;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "volume",
    names: &["inspect"],
    top_level: None,
    arguments: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::format_without_table().short('f')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let mut inspection = Inspection::new(given.text("format"))?;
    session.block_on(async {
        for name in &given.arguments {
            inspection.add(inspect(client, name).await.map_err(Into::into));
        }
        inspection.finish()
    })
}

async fn inspect(client: &Client, name: &str) -> gantry_base::Result<Vec<u8>> {
    Ok(client
        .send(Request::get(path("volumes", name, "")))
        .await?
        .bytes()
        .await?
        .to_vec())
}
