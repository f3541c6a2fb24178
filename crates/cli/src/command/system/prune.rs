//! `docker system prune`: what is not used, of every kind, by the requests of the single commands.

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::filter;
use crate::flag::{Flag, Given};
use crate::format::{float, human_size};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::{Client, Request};

pub(crate) static COMMAND: Command = Command {
    group: "system",
    names: &["prune"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "Remove unused data",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean(
            "all",
            "Remove all unused images, not just those without a name",
        )
        .short('a'),
        Flag::filter(r#"Remove only what meets these conditions (e.g. "label=<key>=<value>")"#),
        Flag::boolean("force", "Do not ask").short('f'),
        Flag::boolean("volumes", "Remove anonymous volumes too"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let filters = given.list("filter");
    let has_volumes = given.bool("volumes");
    if has_volumes && filters.iter().any(|filter| filter.starts_with("until=")) {
        return Err(Failure::new(
            r#"ERROR: The "until" filter is not supported with "--volumes""#,
        ));
    }
    if !given.bool("force") && !confirm(&warning(given.bool("all"), has_volumes, filters)) {
        return Ok(());
    }
    let mut filters = filters.to_vec();
    filters.extend(session.config().prune_filters.iter().cloned());
    let mut image_filters = filters.clone();
    image_filters.push(format!("dangling={}", !given.bool("all")));
    let client = session.client()?;
    session.block_on(async {
        let mut reclaimed = 0;
        let report = prune(client, "/containers/prune", &filters, &mut reclaimed).await?;
        print_names("Deleted Containers:", report.get("ContainersDeleted"));
        let report = prune(client, "/networks/prune", &filters, &mut reclaimed).await?;
        print_names("Deleted Networks:", report.get("NetworksDeleted"));
        if has_volumes {
            let report = prune(client, "/volumes/prune", &filters, &mut reclaimed).await?;
            print_names("Deleted Volumes:", report.get("VolumesDeleted"));
        }
        let report = prune(client, "/images/prune", &image_filters, &mut reclaimed).await?;
        print_images(report.get("ImagesDeleted"));
        let report = prune(client, "/build/prune", &filters, &mut reclaimed).await?;
        print_names("Deleted build cache objects:", report.get("CachesDeleted"));
        output::print_line(&format!(
            "Total reclaimed space: {}",
            human_size(float(reclaimed))
        ));
        Ok(())
    })
}

fn warning(all: bool, has_volumes: bool, filters: &[String]) -> String {
    let mut lines = vec![
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if has_volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.extend(if all {
        [
            "all images without at least one container associated to them",
            "all build cache",
        ]
    } else {
        ["dangling images", "unused build cache"]
    });
    let mut text = String::from("WARNING! This will remove:\n");
    for line in lines {
        text.push_str("  - ");
        text.push_str(line);
        text.push('\n');
    }
    if !filters.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in filters {
            text.push_str("  - ");
            text.push_str(filter);
            text.push('\n');
        }
    }
    text.push_str("\nAre you sure you want to continue?");
    text
}

async fn prune(
    client: &Client,
    path: &str,
    filters: &[String],
    reclaimed: &mut i64,
) -> Outcome<Value> {
    let query = filter::to_query(filters);
    let request = Request::post(path).query_if(!filters.is_empty(), "filters", &query);
    let report = Value::from_json(&client.send(request).await?.bytes().await?)?;
    *reclaimed += report.get("SpaceReclaimed").integer();
    Ok(report)
}

fn print_names(title: &str, names: &Value) {
    let names: Vec<&str> = names.list().iter().map(Value::str).collect();
    if !names.is_empty() {
        output::print_line(&format!("{title}\n{}\n", names.join("\n")));
    }
}

fn print_images(deleted: &Value) {
    let lines = deleted
        .list()
        .iter()
        .map(|one| match one.get("Untagged").str() {
            "" => format!("deleted: {}\n", one.get("Deleted").str()),
            name => format!("untagged: {name}\n"),
        });
    let lines: String = lines.collect();
    if !lines.is_empty() {
        output::print_line(&format!("Deleted Images:\n{lines}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_names_what_goes() {
        assert_eq!(
            warning(false, false, &[]),
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - dangling images\n  - unused build cache\n\nAre you sure you want to continue?"
        );
        let full = warning(true, true, &["label=a".to_owned()]);
        assert!(full.contains("  - all anonymous volumes not used"));
        assert!(
            full.contains("\n\n  Items to be pruned will be filtered with:\n  - label=a\n\nAre")
        );
    }
}
