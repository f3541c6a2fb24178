//! `docker network ls`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::format::{natural_order, short_id};
use crate::listing::{Fields, Listing, join_labels, label_method};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const HEADER: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["ls", "list"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "List networks",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::filter(r#"Show only networks that meet these conditions (e.g. "driver=bridge")"#)
            .short('f'),
        Flag::format(),
        Flag::boolean("no-trunc", "Do not cut output"),
        Flag::boolean("quiet", "Only display network IDs").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let quiet = given.bool("quiet");
    let format = match given.text("format") {
        "" if !quiet && !session.config().networks_format.is_empty() => {
            session.config().networks_format.clone()
        }
        "" | "table" if quiet => "{{.ID}}".to_owned(),
        "" | "table" => TABLE.to_owned(),
        format => format.to_owned(),
    };
    let filters = filter::to_query(given.list("filter"));
    let client = session.client()?;
    session.block_on(async {
        let request = Request::get("/networks").query_if(!filters.is_empty(), "filters", &filters);
        let networks = Value::from_json(&client.send(request).await?.bytes().await?)?;
        let mut networks: Vec<&Value> = networks.list().iter().collect();
        networks.sort_by(|a, b| natural_order(a.get("Name").str(), b.get("Name").str()));
        let listing = Listing {
            format,
            header: HEADER,
            type_name: "*network.networkContext",
        };
        let is_cut = !given.bool("no-trunc");
        output::print(
            &listing.render(networks.into_iter().map(|network| fields(network, is_cut)))?,
        );
        Ok(())
    })
}

fn fields(network: &Value, is_cut: bool) -> Fields {
    let id = network.get("Id").str();
    let flag = |key: &str| Value::from(network.get(key).bool().to_string());
    vec![
        (
            "ID",
            Value::from(if is_cut { short_id(id) } else { id.to_owned() }),
        ),
        ("Name", network.get("Name").clone()),
        ("Driver", network.get("Driver").clone()),
        ("Scope", network.get("Scope").clone()),
        ("IPv4", flag("EnableIPv4")),
        ("IPv6", flag("EnableIPv6")),
        ("Internal", flag("Internal")),
        ("Labels", Value::from(join_labels(network.get("Labels")))),
        ("Label", label_method(network.get("Labels"))),
        ("CreatedAt", Value::text(network.get("Created").str())),
    ]
}
