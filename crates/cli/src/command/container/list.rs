//! `docker ps`

use super::row;
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::listing::Listing;
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
    state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\n\
    ports: {{- pad .Ports 1 0}}\n";

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["ls", "list", "ps"],
    top_level: Some("ps"),
    arguments: "[OPTIONS]",
    about: "List containers",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all", "Show all containers (default shows just running)").short('a'),
        Flag::filter("Show only containers that meet these conditions").short('f'),
        Flag::format(),
        Flag::integer("last", "Show the last created containers (of all states)")
            .short('n')
            .default("-1"),
        Flag::boolean("latest", "Show the last created container (of all states)").short('l'),
        Flag::boolean("no-trunc", "Do not cut output"),
        Flag::boolean("quiet", "Only display container IDs").short('q'),
        Flag::boolean("size", "Display total file sizes").short('s'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let quiet = given.bool("quiet");
    let format = match given.text("format") {
        "" => session.config().ps_format.clone(),
        format => {
            if quiet {
                output::print_error_line(
                    "WARNING: Ignoring custom format, because both --format and --quiet are set.",
                );
            }
            format.to_owned()
        }
    };
    let mut listing = Listing {
        format,
        header: row::HEADER,
        type_name: "*formatter.ContainerContext",
    };
    if !listing.format.is_empty() {
        listing.check(row::fields(&Value::Nil, true))?;
    }
    let wants_size = listing.format.contains(".Size") && !quiet && !given.is_given("size");
    let with_size = given.bool("size") || wants_size;
    let last = match given.integer_or("last", -1) {
        -1 if given.bool("latest") => 1,
        last => last,
    };
    let filters = filter::to_query(given.list("filter"));
    let request = Request::get("/containers/json")
        .query_if(given.bool("all"), "all", "1")
        .query_if(last > 0, "limit", last.to_string())
        .query_if(with_size, "size", "1")
        .query_if(!filters.is_empty(), "filters", &filters);
    listing.format = full_format(&listing.format, quiet, with_size);
    let client = session.client()?;
    session.block_on(async {
        let answer = client.send(request).await?.bytes().await?;
        let containers = Value::from_json(&answer)?;
        let is_cut = !given.bool("no-trunc");
        let rows = containers
            .list()
            .iter()
            .map(|container| row::fields(container, is_cut));
        output::print(&listing.render(rows)?);
        Ok(())
    })
}

fn full_format(format: &str, quiet: bool, with_size: bool) -> String {
    match format {
        "raw" if quiet => "container_id: {{.ID}}".into(),
        _ if quiet => "{{.ID}}".into(),
        "" | "table" if with_size => format!("{TABLE}\t{{{{.Size}}}}"),
        "" | "table" => TABLE.into(),
        "raw" if with_size => format!("{RAW}size: {{{{.Size}}}}\n"),
        "raw" => RAW.into(),
        other => other.to_owned(),
    }
}
