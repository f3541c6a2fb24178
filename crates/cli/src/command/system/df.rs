//! `docker system df`

use crate::command::{Arity, Command, container, image};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::format::{float, human_size, human_size_with};
use crate::listing::{Fields, Listing};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;
use gantry_oci::Reference;

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
    let is_verbose = given.bool("verbose");
    if is_verbose && !matches!(given.text("format"), "" | "table") {
        return Err(Failure::new(
            "--verbose together with --format is not supported yet",
        ));
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
        if is_verbose {
            output::print(&verbose(&usage)?);
            return Ok(());
        }
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

const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "table {{.Name}}\t{{.Links}}\t{{.Size}}";
const CACHE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

/// A table for each kind of thing, with a row for each thing.
fn verbose(usage: &Value) -> Outcome<String> {
    let table = |format: &str, header, type_name, rows: Vec<Fields>| {
        let listing = Listing {
            format: format.to_owned(),
            header,
            type_name,
        };
        listing.render(rows)
    };
    let images = usage.get("Images").list().iter().map(image_row).collect();
    let images = table(
        IMAGES,
        image::row::HEADER,
        "*formatter.ImageContext",
        images,
    )?;
    let containers = usage.get("Containers").list().iter();
    let containers = containers.map(container_row).collect();
    let header = container::row::HEADER;
    let containers = table(
        CONTAINERS,
        header,
        "*formatter.ContainerContext",
        containers,
    )?;
    let header = &[
        ("Name", "VOLUME NAME"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ];
    let volumes = usage.get("Volumes").list().iter().map(volume_row).collect();
    let volumes = table(VOLUMES, header, "*formatter.VolumeContext", volumes)?;
    let header = &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ];
    let size = cache(usage).into_iter().find(|(name, _)| *name == "Size");
    let size = size.map(|(_, size)| size.to_string()).unwrap_or_default();
    let cache = table(CACHE, header, "*formatter.buildCacheContext", Vec::new())?;
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}\nBuild cache usage: {size}\n\n{cache}"
    ))
}

/// An image under its first name.
fn image_row(image: &Value) -> Fields {
    const NONE: &str = "<none>";
    let tags = image.get("RepoTags").list();
    let first = tags
        .first()
        .and_then(|name| Reference::parse(name.str()).ok());
    let shown = image::row::Shown {
        is_cut: true,
        has_digests: false,
        needs_digests: false,
    };
    let repository = first.as_ref().map(Reference::familiar_name);
    let tag = first.and_then(|name| name.tag);
    let (repository, tag) = (
        repository.as_deref().unwrap_or(NONE),
        tag.as_deref().unwrap_or(NONE),
    );
    image::row::fields(image, shown, repository, tag, NONE)
}

/// A container with the size of its own layer alone.
fn container_row(container: &Value) -> Fields {
    let mut fields = container::row::fields(container, true);
    let own = human_size_with(float(container.get("SizeRw").integer()), 3);
    for (name, value) in &mut fields {
        if *name == "Size" {
            *value = Value::from(own.clone());
        }
    }
    fields
}

fn volume_row(volume: &Value) -> Fields {
    let links = volume.at(&["UsageData", "RefCount"]).integer();
    let size = volume.at(&["UsageData", "Size"]).integer();
    vec![
        ("Name", volume.get("Name").clone()),
        ("Links", Value::from(links.to_string())),
        ("Size", Value::from(human_size(float(size)))),
    ]
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
