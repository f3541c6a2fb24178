//! `docker search`

use crate::command::{Arity, Command};
use crate::credentials;
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::format::ellipsis;
use crate::listing::{Fields, Listing};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;
use gantry_api::types::SearchResult;

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
const HEADER: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
];
const DESCRIPTION_WIDTH: usize = 45;

pub(crate) static COMMAND: Command = Command {
    group: "",
    names: &["search"],
    top_level: Some("search"),
    arguments: "[OPTIONS] TERM",
    about: "Search Docker Hub for images",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::filter("Show only results that meet these conditions").short('f'),
        Flag::format(),
        Flag::integer("limit", "Show at most this many results"),
        Flag::boolean("no-trunc", "Show whole descriptions"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let term = given.arguments[0].as_str();
    let (format, is_whole) = (given.text("format"), given.bool("no-trunc"));
    let format = match format {
        "" | "table" => TABLE,
        format => format,
    };
    let domain = match term.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => gantry_oci::reference::DEFAULT_DOMAIN,
    };
    let credentials = credentials::get(session.config(), credentials::server_of(domain))?;
    let limit = given.integer("limit").to_string();
    let filters = filter::to_query(given.list("filter"));
    let client = session.client()?;
    let found: Vec<SearchResult> = session.block_on(async {
        let request = Request::get("/images/search")
            .query("term", term)
            .query_if(limit != "0", "limit", &limit)
            .query_if(!filters.is_empty(), "filters", &filters)
            .header("x-registry-auth", credentials.header());
        Ok(client.send(request).await?.json().await?)
    })?;
    let listing = Listing {
        format: format.to_owned(),
        header: HEADER,
        type_name: "*search.searchContext",
    };
    let mut found = found;
    found.sort_by_key(|result| std::cmp::Reverse(result.star_count));
    let text = listing.render(found.iter().map(|result| fields(result, is_whole)))?;
    output::print(&text);
    Ok(())
}

fn fields(result: &SearchResult, is_whole: bool) -> Fields {
    let description = result.description.replace(['\n', '\r'], " ");
    let description = if is_whole {
        description
    } else {
        ellipsis(&description, DESCRIPTION_WIDTH)
    };
    let official = if result.is_official { "[OK]" } else { "" };
    vec![
        ("Name", Value::text(&result.name)),
        ("Description", Value::text(&description)),
        ("StarCount", Value::text(result.star_count.to_string())),
        ("IsOfficial", Value::text(official)),
    ]
}
