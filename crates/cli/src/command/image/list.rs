//! `docker images`

use super::{row, tree};
use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::filter;
use crate::flag::{Flag, Given};
use crate::listing::Listing;
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const DIGEST_TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["ls", "list"],
    top_level: Some("images"),
    arguments: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    arity: Arity::AtMost(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all", "Show all images (default hides intermediate ones)").short('a'),
        Flag::boolean("digests", "Show digests"),
        Flag::filter("Show only images that meet these conditions").short('f'),
        Flag::format(),
        Flag::boolean("no-trunc", "Do not cut output"),
        Flag::boolean("quiet", "Only show image IDs").short('q'),
        Flag::boolean("tree", "List the platforms of images as a tree"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let is_tree = given.bool("tree");
    if is_tree {
        tree::check(given)?;
    }
    let mut filters = given.list("filter").to_vec();
    let name = given.arguments.first();
    filters.extend(name.map(|name| format!("reference={name}")));
    let filters = filter::to_query(&filters);
    let request = Request::get("/images/json")
        .query_if(given.bool("all"), "all", "1")
        .query_if(!filters.is_empty(), "filters", &filters)
        .query_if(is_tree, "manifests", "1");
    let quiet = given.bool("quiet");
    let digests = given.bool("digests");
    let format = match given.text("format") {
        "" if !quiet && !session.config().images_format.is_empty() => {
            session.config().images_format.clone()
        }
        "" => "table".into(),
        format => format.to_owned(),
    };
    let format = full_format(&format, quiet, digests);
    let client = session.client()?;
    session.block_on(async {
        let images = Value::from_json(&client.send(request).await?.bytes().await?)?;
        if is_tree {
            tree::print(&images);
            return Ok(());
        }
        let shown = row::Shown {
            is_cut: !given.bool("no-trunc"),
            has_digests: digests,
            needs_digests: digests || format.contains("{{.Digest}}"),
        };
        let rows: Vec<_> = images
            .list()
            .iter()
            .flat_map(|image| row::rows(image, shown))
            .collect();
        let listing = Listing {
            format: format.clone(),
            header: row::HEADER,
            type_name: "*formatter.imageContext",
        };
        output::print(&listing.render(rows)?);
        if let Some(name) = name
            && images.list().is_empty()
            && given.invoked.ends_with(" images")
        {
            hint(session, name);
        }
        Ok(())
    })
}

/// Somebody who types the name of a command of `image` means that.
fn hint(session: &Session, name: &str) {
    let verbs = [
        "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push",
        "rm", "save", "tag",
    ];
    if verbs.contains(&name) {
        let program = session.program;
        output::print_error_line(&format!(
            "\nNo images found matching {name:?}: did you mean \"{program} image {name}\"?"
        ));
    }
}

fn full_format(format: &str, quiet: bool, digests: bool) -> String {
    const RAW_END: &str =
        "image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
    match format {
        "table" if quiet => "{{.ID}}".into(),
        "table" if digests => DIGEST_TABLE.into(),
        "table" => TABLE.into(),
        "raw" if quiet => "image_id: {{.ID}}".into(),
        "raw" if digests => format!(
            "repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\ndigest: {{{{.Digest}}}}\n{RAW_END}"
        ),
        "raw" => format!("repository: {{{{ .Repository }}}}\ntag: {{{{.Tag}}}}\n{RAW_END}"),
        other if other.starts_with("table") && digests && !other.contains("{{.Digest}}") => {
            format!("{other}\t{{{{.Digest}}}}")
        }
        other => other.to_owned(),
    }
}
