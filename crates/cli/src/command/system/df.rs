//! `docker system df`

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::format::{float, human_size};
use crate::listing::{Fields, Listing};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const HEADER: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

pub(crate) static COMMAND: Command = Command {
    group: "system",
    names: &["df"],
    top_level: None,
    arguments: "[OPTIONS]",
    about: "Show disk usage",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::format(),
        Flag::boolean("verbose", "Show each object").short('v'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    if given.bool("verbose") {
        return Err(Failure::new("--verbose is not supported yet"));
    }
    let format = match given.text("format") {
        "" | "table" => TABLE.to_owned(),
        format => format.to_owned(),
    };
    let client = session.client()?;
    session.block_on(async {
        let usage = Value::from_json(
            &client
                .send(Request::get("/system/df"))
                .await?
                .bytes()
                .await?,
        )?;
        let listing = Listing {
            format,
            header: HEADER,
            type_name: "*formatter.diskUsageContext",
        };
        output::print(&listing.render([
            images(&usage),
            containers(&usage),
            volumes(&usage),
            cache(&usage),
        ])?);
        Ok(())
    })
}

fn row(kind: &str, total: usize, active: usize, size: i64, reclaimable: String) -> Fields {
    vec![
        ("Type", Value::text(kind)),
        ("TotalCount", Value::from(total.to_string())),
        ("Active", Value::from(active.to_string())),
        ("Size", Value::from(human_size(float(size)))),
        ("Reclaimable", Value::from(reclaimable)),
    ]
}

/// `1.2MB (50%)`
fn share(reclaimable: i64, size: i64) -> String {
    let text = human_size(float(reclaimable));
    if size > 0 {
        format!("{text} ({}%)", reclaimable * 100 / size)
    } else {
        text
    }
}

fn images(usage: &Value) -> Fields {
    let images = usage.get("Images").list();
    let active: Vec<&Value> = images
        .iter()
        .filter(|image| image.get("Containers").integer() > 0)
        .collect();
    let size = usage.get("LayersSize").integer();
    let used: i64 = active
        .iter()
        .map(|image| {
            (
                image.get("Size").integer(),
                image.get("SharedSize").integer(),
            )
        })
        .filter(|(size, shared)| *size != -1 && *shared != -1)
        .map(|(size, shared)| size - shared)
        .sum();
    row(
        "Images",
        images.len(),
        active.len(),
        size,
        share(size - used, size),
    )
}

fn containers(usage: &Value) -> Fields {
    let containers = usage.get("Containers").list();
    let is_active = |container: &&Value| {
        matches!(
            container.get("State").str(),
            "running" | "paused" | "restarting"
        )
    };
    let size: i64 = containers
        .iter()
        .map(|container| container.get("SizeRw").integer())
        .sum();
    let idle: i64 = containers
        .iter()
        .filter(|c| !is_active(c))
        .map(|container| container.get("SizeRw").integer())
        .sum();
    row(
        "Containers",
        containers.len(),
        containers.iter().filter(is_active).count(),
        size,
        share(idle, size),
    )
}

fn volumes(usage: &Value) -> Fields {
    let volumes = usage.get("Volumes").list();
    let size_of = |volume: &Value| volume.at(&["UsageData", "Size"]).integer().max(0);
    let is_used = |volume: &&Value| volume.at(&["UsageData", "RefCount"]).integer() > 0;
    let size: i64 = volumes.iter().map(size_of).sum();
    let unused: i64 = volumes
        .iter()
        .filter(|volume| !is_used(volume))
        .map(size_of)
        .sum();
    row(
        "Local Volumes",
        volumes.len(),
        volumes.iter().filter(is_used).count(),
        size,
        share(unused, size),
    )
}

fn cache(usage: &Value) -> Fields {
    let records = usage.get("BuildCache").list();
    let own = |record: &&Value| !record.get("Shared").bool();
    let size: i64 = records
        .iter()
        .filter(own)
        .map(|record| record.get("Size").integer())
        .sum();
    let used = |record: &&Value| record.get("InUse").bool();
    let used_size: i64 = records
        .iter()
        .filter(own)
        .filter(used)
        .map(|record| record.get("Size").integer())
        .sum();
    row(
        "Build Cache",
        records.len(),
        records.iter().filter(used).count(),
        size,
        human_size(float(size - used_size)),
    )
}
