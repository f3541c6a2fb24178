//! `docker history`

use super::platform_query;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::format::{ellipsis, float, human_size_with, short_id};
use crate::listing::{Fields, Listing};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use crate::timestamp;
use gantry_api::client::{Request, path};

const CREATED_BY_WIDTH: usize = 45;
/// The year 2000: what is older has no date.
const EPOCH_S: i64 = 946_684_800;

const HEADER: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["history"],
    top_level: Some("history"),
    arguments: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::format(),
        Flag::boolean("human", "Print sizes and dates for people")
            .short('H')
            .default("true"),
        Flag::boolean("no-trunc", "Do not cut output"),
        Flag::text(
            "platform",
            r#"Show this platform: "os[/arch[/variant]]" (e.g., "linux/amd64")"#,
        ),
        Flag::boolean("quiet", "Only show image IDs").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let human = given.bool_or("human", true);
    let is_cut = !given.bool("no-trunc");
    let date = if human { "CreatedSince" } else { "CreatedAt" };
    let format = match given.text("format") {
        "" | "table" if given.bool("quiet") => "{{.ID}}".to_owned(),
        "" | "table" => {
            format!(
                "table {{{{.ID}}}}\t{{{{.{date}}}}}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}"
            )
        }
        format => format.to_owned(),
    };
    let mut request = Request::get(path("images", &given.arguments[0], "history"));
    if !given.text("platform").is_empty() {
        request = request.query("platform", platform_query(given.text("platform"))?);
    }
    let client = session.client()?;
    session.block_on(async {
        let history = Value::from_json(&client.send(request).await?.bytes().await?)?;
        let listing = Listing {
            format,
            header: HEADER,
            type_name: "*image.historyContext",
        };
        output::print(
            &listing.render(
                history
                    .list()
                    .iter()
                    .map(|layer| fields(layer, human, is_cut)),
            )?,
        );
        Ok(())
    })
}

fn fields(layer: &Value, human: bool, is_cut: bool) -> Fields {
    let id = layer.get("Id").str();
    let created = layer.get("Created").integer();
    let created_at = timestamp::rfc3339_local(created);
    let created_since = match created {
        _ if !human => created_at.clone(),
        ..=EPOCH_S => "N/A".to_owned(),
        _ => format!(
            "{} ago",
            timestamp::human_duration(timestamp::now_s() - created)
        ),
    };
    let created_by = layer.get("CreatedBy").str().replace('\t', " ");
    let size = layer.get("Size").integer();
    vec![
        (
            "ID",
            Value::from(if is_cut { short_id(id) } else { id.to_owned() }),
        ),
        ("CreatedAt", Value::from(created_at)),
        ("CreatedSince", Value::from(created_since)),
        (
            "CreatedBy",
            Value::from(if is_cut {
                ellipsis(&created_by, CREATED_BY_WIDTH)
            } else {
                created_by
            }),
        ),
        (
            "Size",
            Value::from(if human {
                human_size_with(float(size), 3)
            } else {
                size.to_string()
            }),
        ),
        ("Comment", layer.get("Comment").clone()),
    ]
}
