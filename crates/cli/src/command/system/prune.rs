//! `docker system prune`: what is not used, of every kind, by the requests of the single commands.

use crate::command::container::confirm;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::prune::{print_images, print_names, print_reclaimed, prune};
use crate::session::Session;

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
        let report = prune(client, "/containers/prune", &filters).await?;
        reclaimed += report.get("SpaceReclaimed").integer();
        print_names("Deleted Containers:", report.get("ContainersDeleted"));
        let report = prune(client, "/networks/prune", &filters).await?;
        reclaimed += report.get("SpaceReclaimed").integer();
        print_names("Deleted Networks:", report.get("NetworksDeleted"));
        if has_volumes {
            let report = prune(client, "/volumes/prune", &filters).await?;
            reclaimed += report.get("SpaceReclaimed").integer();
            print_names("Deleted Volumes:", report.get("VolumesDeleted"));
        }
        let report = prune(client, "/images/prune", &image_filters).await?;
        reclaimed += report.get("SpaceReclaimed").integer();
        print_images(report.get("ImagesDeleted"));
        let report = prune(client, "/build/prune", &filters).await?;
        reclaimed += report.get("SpaceReclaimed").integer();
        print_names("Deleted build cache objects:", report.get("CachesDeleted"));
        print_reclaimed(reclaimed);
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
