//! `docker stats`: samples every second or so, drawn over each other.

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::format::{binary_size, float, human_size_with, short_id};
use crate::joined::joined;
use crate::listing::{Fields, Listing};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::{Client, Request, path};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const HEADER: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["stats"],
    top_level: Some("stats"),
    arguments: "[OPTIONS] [CONTAINER...]",
    about: "Display a live stream of the resources that containers use",
    arity: Arity::AtLeast(0),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all", "Show all containers (default shows just running)").short('a'),
        Flag::format(),
        Flag::boolean("no-stream", "Show the first result and end"),
        Flag::boolean("no-trunc", "Do not cut output"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let format = match (given.text("format"), session.config().stats_format.as_str()) {
        ("" | "table", "") | ("table", _) => TABLE.to_owned(),
        ("", configured) => configured.to_owned(),
        (format, _) => format.to_owned(),
    };
    let listing = Listing {
        format,
        header: HEADER,
        type_name: "*container.statsContext",
    };
    session.block_on(async {
        loop {
            let names = if given.arguments.is_empty() {
                list(client, given.bool("all")).await?
            } else {
                given.arguments.clone()
            };
            let samples = joined(names.iter().map(|name| sample(client, name))).await;
            let mut rows = Vec::new();
            for (name, sample) in names.iter().zip(samples) {
                match sample {
                    Ok(sample) => rows.push(fields(name, &sample, !given.bool("no-trunc"))),
                    Err(error) if !given.arguments.is_empty() => {
                        return Err(Failure::new(error.message()));
                    }
                    Err(_) => {}
                }
            }
            let text = listing.render(rows)?;
            if given.bool("no-stream") {
                output::print(&text);
                return Ok(());
            }
            let lines = text.replace('\n', "\x1b[K\n");
            output::print(&format!("\x1b[H{lines}\x1b[J"));
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    })
}

async fn list(client: &Client, all: bool) -> Outcome<Vec<String>> {
    let request = Request::get("/containers/json").query_if(all, "all", "1");
    let containers = Value::from_json(&client.send(request).await?.bytes().await?)?;
    Ok(containers
        .list()
        .iter()
        .map(|container| short_id(container.get("Id").str()))
        .collect())
}

async fn sample(client: &Client, name: &str) -> gantry_base::Result<Value> {
    let request = Request::get(path("containers", name, "stats")).query("stream", "0");
    Value::from_json(&client.send(request).await?.bytes().await?)
}

fn fields(container: &str, sample: &Value, is_cut: bool) -> Fields {
    let id = sample.get("id").str();
    let memory = sample.get("memory_stats");
    let used = memory_used(memory);
    let limit = float(memory.get("limit").integer());
    let share = if limit > 0.0 {
        used / limit * 100.0
    } else {
        0.0
    };
    let (received, sent) = network(sample.get("networks"));
    let (read, written) = block_io(sample.get("blkio_stats"));
    let size = |bytes: i64| human_size_with(float(bytes), 3);
    vec![
        ("Container", Value::text(container)),
        (
            "Name",
            Value::text(sample.get("name").str().trim_start_matches('/')),
        ),
        (
            "ID",
            Value::from(if is_cut { short_id(id) } else { id.to_owned() }),
        ),
        ("CPUPerc", Value::from(format!("{:.2}%", cpu_share(sample)))),
        (
            "MemUsage",
            Value::from(format!("{} / {}", binary_size(used), binary_size(limit))),
        ),
        ("MemPerc", Value::from(format!("{share:.2}%"))),
        (
            "NetIO",
            Value::from(format!("{} / {}", size(received), size(sent))),
        ),
        (
            "BlockIO",
            Value::from(format!("{} / {}", size(read), size(written))),
        ),
        (
            "PIDs",
            Value::from(sample.at(&["pids_stats", "current"]).integer().to_string()),
        ),
    ]
}

/// Usage without the cache that can be dropped at once.
fn memory_used(memory: &Value) -> f64 {
    let usage = memory.get("usage").integer();
    let stats = memory.get("stats");
    let inactive = match stats.get("total_inactive_file") {
        Value::Nil => stats.get("inactive_file").integer(),
        version_1 => version_1.integer(),
    };
    float(if inactive < usage {
        usage - inactive
    } else {
        usage
    })
}

fn cpu_share(sample: &Value) -> f64 {
    let (now, before) = (sample.get("cpu_stats"), sample.get("precpu_stats"));
    let total = |stats: &Value| float(stats.at(&["cpu_usage", "total_usage"]).integer());
    let system = |stats: &Value| float(stats.get("system_cpu_usage").integer());
    let (used, passed) = (total(now) - total(before), system(now) - system(before));
    let cpus = match now.get("online_cpus").integer() {
        0 => float(i64::try_from(now.at(&["cpu_usage", "percpu_usage"]).list().len()).unwrap_or(0)),
        cpus => float(cpus),
    };
    if used > 0.0 && passed > 0.0 {
        used / passed * cpus * 100.0
    } else {
        0.0
    }
}

fn network(networks: &Value) -> (i64, i64) {
    networks
        .entries()
        .fold((0, 0), |(received, sent), (_, one)| {
            (
                received + one.get("rx_bytes").integer(),
                sent + one.get("tx_bytes").integer(),
            )
        })
}

fn block_io(stats: &Value) -> (i64, i64) {
    stats
        .get("io_service_bytes_recursive")
        .list()
        .iter()
        .fold((0, 0), |(read, written), entry| {
            let bytes = entry.get("value").integer();
            match entry.get("op").str().bytes().next() {
                Some(b'r' | b'R') => (read + bytes, written),
                Some(b'w' | b'W') => (read, written + bytes),
                _ => (read, written),
            }
        })
}
