//! `docker inspect`: whatever has the name.

use crate::command::container::inspect::inspect as inspect_container;
use crate::command::image::inspect::inspect as inspect_image;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::inspection::Inspection;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};
use gantry_base::{Error, ErrorKind};

const TYPES: &[&str] = &[
    "config",
    "container",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "task",
    "volume",
];
/// Where a name is looked for, in this order.
const SEARCHED: &[&str] = &["container", "image", "network", "volume", "plugin"];

pub(crate) static COMMAND: Command = Command {
    group: "",
    names: &["inspect"],
    top_level: Some("inspect"),
    arguments: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on objects",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::format_without_table().short('f'),
        Flag::boolean("size", "Display total file sizes of containers").short('s'),
        Flag::text("type", "Only inspect objects of the given type"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let kind = given.text("type");
    let all = TYPES.join("\", \"");
    if given.is_given("type") && kind.is_empty() {
        return Err(Failure::new(format!(
            "type is empty: must be one of \"{all}\""
        )));
    }
    if !kind.is_empty() && !TYPES.contains(&kind) {
        return Err(Failure::new(format!(
            "unknown type: {kind:?}: must be one of \"{all}\""
        )));
    }
    let client = session.client()?;
    let mut inspection = Inspection::new(given.text("format"))?;
    session.block_on(async {
        for name in &given.arguments {
            inspection.add(find(client, name, kind, given.bool("size")).await);
        }
        inspection.finish()
    })
}

async fn find(client: &Client, name: &str, wanted: &str, with_size: bool) -> Outcome<Vec<u8>> {
    let searched: &[&str] = if wanted.is_empty() {
        SEARCHED
    } else {
        &[wanted]
    };
    for kind in searched {
        match inspect(client, kind, name, with_size).await {
            Ok(answer) => {
                if with_size && *kind != "container" {
                    output::print_error_line(&format!("WARNING: --size ignored for {kind}"));
                }
                return Ok(answer);
            }
            Err(error) if wanted.is_empty() && is_elsewhere(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::new(format!("Error: No such object: {name}")))
}

async fn inspect(
    client: &Client,
    kind: &str,
    name: &str,
    with_size: bool,
) -> gantry_base::Result<Vec<u8>> {
    let noun = match kind {
        "container" => return inspect_container(client, name, with_size).await,
        "image" => return inspect_image(client, name, "").await,
        "plugin" => return get(client, path("plugins", name, "json")).await,
        noun => format!("{noun}s"),
    };
    get(client, path(&noun, name, "")).await
}

async fn get(client: &Client, path: String) -> gantry_base::Result<Vec<u8>> {
    Ok(client
        .send(Request::get(path))
        .await?
        .bytes()
        .await?
        .to_vec())
}

/// Whether the name may be that of something else.
fn is_elsewhere(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.kind() == ErrorKind::NotImplemented
        || error.message().contains("not supported")
        || error.message().contains("invalid reference format")
}
