//! `POST /containers/create`: the wire's request as a typed configuration. Refuses what is wrong in dockerd's words, and what is
//! not supported yet by its name.

mod mounts;
mod network;
pub(super) mod ports;
mod process;
mod resources;
pub(in crate::route) use network::attachment;
pub(in crate::route) use process::check_stop_signal;
mod security;

use crate::request::{Request, json_error};
use crate::response::{self, Response};
use crate::route::State;
use crate::version;
use gantry_api::types::{
    ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, ContainerUpdateResponse,
    HostConfig,
};
use gantry_base::{ContainerName, Error, Result};
use gantry_engine::container::CreateOptions;
use gantry_engine::container::config::Config;
use gantry_engine::container::update::ContainerUpdate;
use gantry_oci::Platform;
use hyper::StatusCode;
use indexmap::IndexMap;
use std::collections::BTreeMap;

pub(super) async fn create(state: State, mut request: Request) -> Result<Response> {
    let text = request.json_text().await?.unwrap_or_default();
    let body =
        ContainerCreateRequest::from_json(&text).map_err(|error| json_error(&text, &error))?;
    if body.config == ContainerConfig::default() {
        let text = "config cannot be empty in order to create a container";
        return Err(Error::invalid(text));
    }
    let name = match request.query.get("name") {
        "" => None,
        name => Some(ContainerName::parse(name)?),
    };
    let platform = match request.query.get("platform") {
        text if text.is_empty() || !request.at_least(41) => None,
        text => Some(platform(text)?),
    };
    let body = version::lift_create(request.version, body)?;
    let mut warnings = Vec::new();
    let config = convert(&body, &mut warnings)?;
    let created = state
        .engine
        .containers
        .create(CreateOptions {
            name,
            config,
            platform,
        })
        .await?;
    let mut all = created.warnings;
    all.append(&mut warnings);
    let answer = ContainerCreateResponse {
        id: created.id.to_string(),
        warnings: all,
    };
    Ok(response::json(StatusCode::CREATED, &answer))
}

/// `POST /containers/{}/update`
pub(super) async fn update(state: State, mut request: Request) -> Result<Response> {
    let host: HostConfig = request.json().await?;
    let mut warnings = Vec::new();
    let update = ContainerUpdate {
        resources: resources::convert_update(&host, &mut warnings)?,
        restart: match host.restart_policy.name.as_str() {
            "" => None,
            _ => Some(process::restart_policy(&host)?),
        },
    };
    let reference = super::reference(&request)?;
    warnings.extend(state.engine.containers.update(reference, update).await?);
    Ok(response::ok(&ContainerUpdateResponse {
        warnings: (!warnings.is_empty()).then_some(warnings),
    }))
}

/// A platform as clients name it.
pub(in crate::route) fn platform(text: &str) -> Result<Platform> {
    let known = text.contains('/') || GO_OS.contains(&text) || GO_ARCHITECTURES.contains(&text);
    Platform::parse(text).filter(|_| known).ok_or_else(|| {
        let quoted = crate::request::quoted(text);
        Error::invalid(format!(
            "{quoted}: unknown operating system or architecture: invalid argument"
        ))
    })
}

/// Operating systems that a platform may name alone.
const GO_OS: [&str; 5] = ["linux", "windows", "darwin", "freebsd", "macos"];
/// Architectures that a platform may name alone.
const GO_ARCHITECTURES: [&str; 18] = [
    "386", "amd64", "x86_64", "x86-64", "arm", "armhf", "armel", "arm64", "aarch64", "loong64",
    "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x",
];

/// The request as a configuration, and warnings for the client.
fn convert(body: &ContainerCreateRequest, warnings: &mut Vec<String>) -> Result<Config> {
    let (config, default) = (&body.config, HostConfig::default());
    let host = body.host_config.as_ref().unwrap_or(&default);
    check_host(config, host)?;
    mounts::check(host.mounts.as_deref().unwrap_or_default())?;
    warn_of_volume_driver(host, warnings);
    check_sysctls(host)?;
    let process = process::convert(config, host)?;
    let healthcheck = process::healthcheck(config.healthcheck.as_ref())?;
    let restart = process::restart_policy(host)?;
    check_words(host)?;
    let security = security::convert(host)?;
    let resources = resources::convert(host, warnings)?;
    let namespaces = security::namespaces(host)?;
    let Ok(shm_size_bytes) = u64::try_from(host.shm_size) else {
        return Err(Error::invalid("SHM size can not be less than 0"));
    };
    refuse_unsupported(config, host)?;
    let networking = body.networking_config.clone().unwrap_or_default();
    let network = network::convert(config, host, &networking, warnings)?;
    let labels = config.labels.iter().flatten();
    let [rows, columns] = host.console_size;
    Ok(Config {
        image_reference: config.image.clone(),
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        labels: labels.map(|(k, v)| (k.clone(), v.clone())).collect(),
        annotations: unsorted(&host.annotations),
        process,
        exposed_ports: ports::exposed(config.exposed_ports.keys())?,
        volumes: config
            .volumes
            .iter()
            .flatten()
            .map(|(path, _)| path.clone())
            .collect(),
        healthcheck,
        resources,
        security,
        namespaces,
        network,
        mounts: mounts::convert(host)?,
        binds: host.binds.clone().unwrap_or_default(),
        tmpfs: unsorted(&host.tmpfs),
        shm_size_bytes,
        readonly_rootfs: host.readonly_rootfs,
        restart,
        auto_remove: host.auto_remove,
        log: process::log_config(&host.log_config)?,
        init: host.init,
        runtime: host.runtime.clone(),
        container_id_file: host.container_id_file.clone(),
        console_size: (rows, columns),
        volume_driver: host.volume_driver.clone(),
    })
}

/// Members that stand for themselves.
fn check_words(host: &HostConfig) -> Result<()> {
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err(Error::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    if host.annotations.contains_key("") {
        let text = "invalid Annotations: the empty string is not permitted as an annotation key";
        return Err(Error::invalid(text));
    }
    if !RUNTIMES.contains(&host.runtime.as_str()) {
        return Err(Error::invalid(format!(
            "unknown or invalid runtime name: {}",
            host.runtime
        )));
    }
    Ok(())
}

/// Names of the one runtime that there is: ours, and those of the runtime it stands for.
const RUNTIMES: [&str; 4] = ["", "gantry", "runc", "io.containerd.runc.v2"];

fn unsorted(map: &BTreeMap<String, String>) -> IndexMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// What dockerd looks at while it reads the request.
fn check_host(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    network::check(config, host)?;
    if !matches!(host.isolation.to_ascii_lowercase().as_str(), "" | "default") {
        let text = format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        );
        return Err(Error::invalid(text));
    }
    if host.io_maximum_bandwidth != 0 {
        let text = "invalid option: QoS maximum bandwidth configuration is not supported on linux";
        return Err(Error::invalid(text));
    }
    if host.io_maximum_iops != 0 {
        let text = "invalid option: QoS maximum IOPs configuration is not supported on linux";
        return Err(Error::invalid(text));
    }
    let (period, runtime) = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    if period != 0 && runtime > period {
        let text = "cpu real-time runtime cannot be higher than cpu real-time period";
        return Err(Error::invalid(text));
    }
    if host.cpu_shares < 0 {
        let text = format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        );
        return Err(Error::invalid(text));
    }
    Ok(())
}

fn warn_of_volume_driver(host: &HostConfig, warnings: &mut Vec<String>) {
    let named = |mount: &gantry_api::types::Mount| {
        let driver = mount
            .volume_options
            .as_ref()
            .and_then(|options| options.driver_config.as_ref());
        driver.is_some_and(|driver| !driver.name.is_empty())
    };
    let mut mounts = host.mounts.iter().flatten();
    if !host.volume_driver.is_empty() && mounts.any(|mount| mount.kind == "volume" && !named(mount))
    {
        warnings.push("WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead".into());
    }
}

/// Kernel parameters of an interface belong to its endpoint.
fn check_sysctls(host: &HostConfig) -> Result<()> {
    if host.network_mode == "host" || host.network_mode.starts_with("container:") {
        return Ok(());
    }
    for name in host.sysctls.keys() {
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        if parts.len() == 5 && parts[0] == "net" && parts[3].starts_with("eth") {
            return Err(Error::internal(format!(
                "interface specific sysctl setting {} must be supplied using driver option 'com.docker.network.endpoint.sysctls'",
                crate::request::quoted(name)
            )));
        }
    }
    Ok(())
}

fn refuse_unsupported(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    refuse(&[
        ("NetworkDisabled", config.network_disabled),
        ("VolumesFrom", given(&host.volumes_from)),
        // On networks with names a link is one more name, which the endpoint's settings carry.
        ("Links", given(&host.links) && !network::has_names(host)),
        ("StorageOpt", !host.storage_opt.is_empty()),
        ("Cgroup", !host.cgroup.is_empty()),
        (
            "UsernsMode",
            !matches!(host.userns_mode.as_str(), "" | "host" | "private"),
        ),
    ])
}

/// Refuses the first member that is set.
fn refuse(members: &[(&str, bool)]) -> Result<()> {
    match members.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(Error::not_implemented(format!(
            "{name} is not supported yet"
        ))),
        None => Ok(()),
    }
}
