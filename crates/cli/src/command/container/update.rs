//! `docker update`

use crate::command::{Arity, Command};
use crate::container_options::{flags as container_flags, limit, parse_restart_policy};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given, parse_integer};
use crate::output;
use crate::session::Session;
use gantry_api::client::{Client, Request, path};
use gantry_api::types::{ContainerUpdateResponse, HostConfig};

const FLAGS: &[&str] = &[
    "blkio-weight",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "memory",
    "memory-reservation",
    "memory-swap",
    "pids-limit",
    "restart",
];

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["update"],
    top_level: Some("update"),
    arguments: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Update the configuration of one or more containers",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    let shared = container_flags()
        .into_iter()
        .filter(|flag| FLAGS.contains(&flag.long));
    shared
        .map(|flag| {
            if flag.long == "restart" {
                flag.default("")
            } else {
                flag
            }
        })
        .collect()
}

fn run(session: &Session, given: &Given) -> Outcome {
    if !FLAGS.iter().any(|flag| given.is_given(flag)) {
        return Err(Failure::new(
            "you must provide one or more flags when using this command",
        ));
    }
    let body = body(given).map_err(Failure::new)?;
    let client = session.client()?;
    session.block_on(async {
        let (mut failures, mut warnings) = (Vec::new(), Vec::new());
        for name in &given.arguments {
            match update(client, name, &body).await {
                Ok(answer) => {
                    output::print_line(name);
                    warnings.extend(answer.warnings.unwrap_or_default());
                }
                Err(error) => failures.push(error.message().to_owned()),
            }
        }
        if !warnings.is_empty() {
            output::print_line(&warnings.join("\n"));
        }
        Failure::joined(failures)
    })
}

async fn update(
    client: &Client,
    name: &str,
    body: &serde_json::Value,
) -> gantry_base::Result<ContainerUpdateResponse> {
    client
        .send(Request::post(path("containers", name, "update")).json(body)?)
        .await?
        .json()
        .await
}

/// The members of a host config that an update carries.
const MEMBERS: &[&str] = &[
    "CpuShares",
    "Memory",
    "NanoCpus",
    "CgroupParent",
    "BlkioWeight",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "Ulimits",
    "CpuCount",
    "CpuPercent",
    "IOMaximumIOps",
    "IOMaximumBandwidth",
    "RestartPolicy",
];

/// The limits and the restart policy.
fn body(given: &Given) -> Result<serde_json::Value, String> {
    let bytes = |name: &str| {
        if given.is_given(name) {
            limit::parse_swap_bytes(given.text(name))
        } else {
            Ok(0)
        }
    };
    let weight =
        parse_integer(given.text("blkio-weight")).and_then(|weight| u16::try_from(weight).ok());
    let host = HostConfig {
        restart_policy: parse_restart_policy(given.text("restart"))?,
        blkio_weight: weight.unwrap_or(0),
        cpu_period: given.integer("cpu-period"),
        cpu_quota: given.integer("cpu-quota"),
        cpu_realtime_period: given.integer("cpu-rt-period"),
        cpu_realtime_runtime: given.integer("cpu-rt-runtime"),
        cpu_shares: given.integer("cpu-shares"),
        nano_cpus: if given.is_given("cpus") {
            limit::parse_nano_cpus(given.text("cpus"))?
        } else {
            0
        },
        cpuset_cpus: given.text("cpuset-cpus").to_owned(),
        cpuset_mems: given.text("cpuset-mems").to_owned(),
        memory: bytes("memory")?,
        memory_reservation: bytes("memory-reservation")?,
        memory_swap: bytes("memory-swap")?,
        pids_limit: Some(given.integer("pids-limit")).filter(|limit| *limit != 0),
        ..HostConfig::default()
    };
    let mut body = serde_json::to_value(host).map_err(|error| error.to_string())?;
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| MEMBERS.contains(&name.as_str()));
    }
    Ok(body)
}
