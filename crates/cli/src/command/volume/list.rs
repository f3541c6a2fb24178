//! `docker volume ls`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::format::{float, human_size, natural_order};
use crate::listing::{Fields, Listing, join_labels, label_method};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;

const TABLE: &str = "table {{.Driver}}\t{{.Name}}";
const HEADER: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

pub(crate) static COMMAND: Command = Command {
    group: "volume",
    names: &["ls", "list"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "List volumes",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::filter(r#"Show only volumes that meet these conditions (e.g. "dangling=true")"#)
            .short('f'),
        Flag::format(),
        Flag::boolean("quiet", "Only display volume names").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let quiet = given.bool("quiet");
    let format = match given.text("format") {
        "" if !quiet && !session.config().volumes_format.is_empty() => {
            session.config().volumes_format.clone()
        }
        "" | "table" if quiet => "{{.Name}}".to_owned(),
        "" | "table" => TABLE.to_owned(),
        format => format.to_owned(),
    };
    let filters = filter::to_query(given.list("filter"));
    let client = session.client()?;
    session.block_on(async {
        let request = Request::get("/volumes").query_if(!filters.is_empty(), "filters", &filters);
        let answer = Value::from_json(&client.send(request).await?.bytes().await?)?;
        let mut volumes: Vec<&Value> = answer.get("Volumes").list().iter().collect();
        volumes.sort_by(|a, b| natural_order(a.get("Name").str(), b.get("Name").str()));
        let listing = Listing {
            format,
            header: HEADER,
            type_name: "*formatter.volumeContext",
        };
        output::print(&listing.render(volumes.into_iter().map(fields))?);
        Ok(())
    })
}

fn fields(volume: &Value) -> Fields {
    let usage = volume.get("UsageData");
    let known = |value: String| {
        Value::from(if usage.is_nil() {
            "N/A".to_owned()
        } else {
            value
        })
    };
    vec![
        ("Name", volume.get("Name").clone()),
        ("Driver", volume.get("Driver").clone()),
        ("Scope", volume.get("Scope").clone()),
        ("Mountpoint", volume.get("Mountpoint").clone()),
        ("Labels", Value::from(join_labels(volume.get("Labels")))),
        ("Label", label_method(volume.get("Labels"))),
        ("Links", known(usage.get("RefCount").integer().to_string())),
        (
            "Size",
            known(human_size(float(usage.get("Size").integer()))),
        ),
        ("Availability", Value::text("N/A")),
        ("Group", Value::text("N/A")),
        ("Status", Value::text("N/A")),
    ]
}
