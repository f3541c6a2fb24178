//! `docker manifest inspect`

use super::entry::{self, Entry};
use super::fetch::{Found, fetch};
use super::store::Store;
use super::{parse, parse_as};
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::json_text;
use crate::output;
use crate::session::Session;

pub(crate) static COMMAND: Command = Command {
    group: "manifest",
    names: &["inspect"],
    top_level: None,
    arguments: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Display an image manifest, or manifest list",
    arity: Arity::Between(1, 2),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("insecure", "Allow communication with an insecure registry"),
        Flag::boolean(
            "verbose",
            "Output additional info including layers and platform",
        )
        .short('v'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let is_verbose = given.bool("verbose");
    let store = Store::new(session);
    if let [list, image] = given.arguments.as_slice() {
        let list = parse_as("error parsing name for manifest list", list)?;
        let image = parse(image)?;
        let entry = store
            .get(&list, &image)?
            .ok_or_else(|| Failure::new(format!("No such manifest: {image}")))?;
        return print_image(&entry, is_verbose);
    }
    let reference = parse(&given.arguments[0])?;
    if let Some(entries) = store.list(&reference)? {
        return print_list(&entries, is_verbose);
    }
    session.block_on(async {
        match fetch(session, &reference, given.bool("insecure")).await? {
            Found::Image(entry) => print_image(&entry, is_verbose),
            Found::List(entries) => print_list(&entries, is_verbose),
        }
    })
}

fn print_image(entry: &Entry, is_verbose: bool) -> Outcome {
    let text = if is_verbose {
        json_text::indent_with(&entry::to_json(entry)?, "\t")
    } else {
        let bytes = entry.bytes()?;
        let raw = String::from_utf8_lossy(&bytes);
        // What follows the document is no part of it, and printed all the same.
        let end = &raw[raw.trim_end().len()..];
        json_text::indent_with(&raw, "\t") + end
    };
    output::print_line(&text);
    Ok(())
}

fn print_list(entries: &[Entry], is_verbose: bool) -> Outcome {
    let text = if is_verbose {
        json_text::indent_with(&entry::to_json(entries)?, "\t")
    } else {
        entry::list(entries)?.1
    };
    output::print_line(&text);
    Ok(())
}
