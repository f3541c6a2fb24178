//! `docker image inspect`

use super::platform_query;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::inspection::Inspection;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["inspect"],
    top_level: None,
    arguments: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::format_without_table().short('f'),
        Flag::text(
            "platform",
            "Show this platform of an image that has several: 'os[/arch[/variant]]'",
        ),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let platform = match given.text("platform") {
        "" => String::new(),
        text => platform_query(text)?,
    };
    let client = session.client()?;
    let mut inspection = Inspection::new(given.text("format"))?;
    session.block_on(async {
        for name in &given.arguments {
            inspection.add(inspect(client, name, &platform).await.map_err(Into::into));
        }
        inspection.finish()
    })
}

/// What the daemon says of one image.
pub(crate) async fn inspect(
    client: &Client,
    name: &str,
    platform: &str,
) -> gantry_base::Result<Vec<u8>> {
    let request = Request::get(path("images", name, "json")).query_if(
        !platform.is_empty(),
        "platform",
        platform,
    );
    Ok(client.send(request).await?.bytes().await?.to_vec())
}
