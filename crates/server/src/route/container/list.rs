//! `GET /containers/json`: the summary of a container. Filters are in `filter.rs`.

use super::super::State;
use super::filter::{FILTERS, Filter};
use crate::request::Request;
use crate::response::{self, Response};
use crate::time;
use crate::version::Lowered as _;
use gantry_api::ApiVersion;
use gantry_api::filters::Filters;
use gantry_api::types::{
    ContainerSummary, ContainerSummaryHostConfig, ContainerSummaryNetworkSettings,
    EndpointSettings, HealthSummary, MountPoint, PortSummary,
};
use gantry_base::Result;
use gantry_engine::container::view::{ContainerView, EndpointView, Status};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) async fn list(state: State, request: Request) -> Result<Response> {
    let filters = request.filters(&FILTERS)?;
    let limit = usize::try_from(request.number("limit")?.unwrap_or(0))
        .ok()
        .filter(|limit| *limit > 0);
    let filter = Filter::new(&state, &filters)?;
    let all = request.query.flag("all") || limit.is_some() || filters.has("status");
    let views = state.engine.containers.list();
    let views = window(&state, &views, &filters)?;
    let wanted = views
        .iter()
        .filter(|view| (all || view.state.status.is_live()) && filter.matches(view));
    let now_ns = time::now_ns();
    let mut summaries = Vec::new();
    for view in wanted.take(limit.unwrap_or(usize::MAX)) {
        let mut summary = summary(view, image_name(&state, view), now_ns);
        if request.query.flag("size") {
            add_size(&state, view, &mut summary).await;
        }
        summaries.push(summary.lowered(request.version));
    }
    Ok(response::ok(&summaries))
}

/// For `GET /system/df`: all containers with their sizes.
pub(in crate::route) async fn usage(state: &State, version: ApiVersion) -> Vec<ContainerSummary> {
    let now_ns = time::now_ns();
    let mut summaries = Vec::new();
    for view in &*state.engine.containers.list() {
        let mut summary = summary(view, image_name(state, view), now_ns);
        add_size(state, view, &mut summary).await;
        summaries.push(summary.lowered(version));
    }
    summaries
}

async fn add_size(state: &State, view: &ContainerView, summary: &mut ContainerSummary) {
    // One that was removed meanwhile has no size.
    let size = state.engine.containers.size(view.id.as_str()).await;
    let size = size.unwrap_or_default();
    summary.size_rw = signed(size.rw_bytes);
    summary.size_root_fs = signed(size.rootfs_bytes);
}

/// A size in the type that the API has for it.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The views after the one of `before`, and before the one of `since`.
fn window<'a>(
    state: &State,
    mut views: &'a [Arc<ContainerView>],
    filters: &Filters,
) -> Result<&'a [Arc<ContainerView>]> {
    let position = |views: &[Arc<ContainerView>], name: &str| -> Result<Option<usize>> {
        let wanted = state.engine.containers.get(name)?;
        Ok(views.iter().position(|view| view.id == wanted.id))
    };
    for name in filters.get("before") {
        let at = position(views, name)?;
        views = at.and_then(|at| views.get(at + 1..)).unwrap_or_default();
    }
    for name in filters.get("since") {
        if let Some(at) = position(views, name)? {
            views = &views[..at];
        }
    }
    Ok(views)
}

/// The image as the container was created with it, or its id where that name leads elsewhere by now.
fn image_name(state: &State, view: &ContainerView) -> String {
    let name = &view.config.image_reference;
    let leads_to_it = state
        .engine
        .images
        .get(name)
        .is_ok_and(|image| image.id.as_str() == view.image.as_str());
    if leads_to_it {
        name.clone()
    } else {
        view.image.as_str().to_owned()
    }
}

fn summary(view: &ContainerView, image: String, now_ns: i64) -> ContainerSummary {
    let config = &view.config;
    let failing_streak = view.state.health.as_ref().map_or(0, |h| h.failing_streak);
    let networks = view
        .networks
        .iter()
        .map(|end| (end.network.clone(), endpoint(end)))
        .collect();
    ContainerSummary {
        id: view.id.to_string(),
        names: vec![format!("/{}", view.name)],
        image,
        image_id: view.image.as_str().to_owned(),
        image_manifest_descriptor: None,
        command: command(view),
        created: view.created_ns / 1_000_000_000,
        ports: port_summaries(view),
        size_rw: 0,
        size_root_fs: 0,
        labels: config
            .labels
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        state: view.state.status.as_str().to_owned(),
        status: status(view, now_ns),
        host_config: ContainerSummaryHostConfig {
            network_mode: config.network.mode_as_given.clone(),
            annotations: config
                .annotations
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        },
        network_settings: ContainerSummaryNetworkSettings { networks },
        mounts: mount_points(view),
        health: Some(HealthSummary {
            status: health(view).into(),
            failing_streak: failing_streak.into(),
        }),
    }
}

fn command(view: &ContainerView) -> String {
    let mut command = view.path.clone();
    for argument in &view.args {
        command.push(' ');
        if argument.contains(' ') {
            command.push('\'');
            command.push_str(argument);
            command.push('\'');
        } else {
            command.push_str(argument);
        }
    }
    command
}

/// Docker's word for a container's health.
pub(super) fn health(view: &ContainerView) -> &'static str {
    let health = view.state.health.as_ref();
    health.map_or("none", |health| health.status.as_str())
}

/// `Up 3 seconds`, `Exited (0) About a minute ago`.
fn status(view: &ContainerView, now_ns: i64) -> String {
    let state = &view.state;
    let ago = |since: Option<i64>| time::human(now_ns - since.unwrap_or(now_ns));
    match state.status {
        Status::Running => {
            let health = match health(view) {
                "none" => String::new(),
                "starting" => " (health: starting)".into(),
                known => format!(" ({known})"),
            };
            format!("Up {}{health}", ago(state.started_ns))
        }
        Status::Paused => format!("Up {} (Paused)", ago(state.started_ns)),
        Status::Restarting => format!(
            "Restarting ({}) {} ago",
            state.exit_code,
            ago(state.finished_ns)
        ),
        Status::Removing => "Removal In Progress".into(),
        Status::Dead => "Dead".into(),
        Status::Created => "Created".into(),
        Status::Exited if state.started_ns.is_none() => "Created".into(),
        Status::Exited if state.finished_ns.is_none() => String::new(),
        Status::Exited => format!(
            "Exited ({}) {} ago",
            state.exit_code,
            ago(state.finished_ns)
        ),
    }
}

/// Published ports with their addresses, and ports that are only exposed; of live containers.
pub(super) fn port_summaries(view: &ContainerView) -> Vec<PortSummary> {
    if !view.state.status.is_live()
        || view.sandbox_key.is_empty()
        || view.config.network.mode == "host"
    {
        return Vec::new();
    }
    let published = view.ports.iter().map(|port| PortSummary {
        ip: port.host_ip.to_string(),
        private_port: port.container.port,
        public_port: Some(port.host_port).filter(|port| *port != 0),
        kind: port.container.protocol.as_str().to_owned(),
    });
    let mut ports: Vec<PortSummary> = published.collect();
    // Only bridges know ports at all.
    let has_ports = view.networks.iter().any(|end| end.driver == "bridge");
    for exposed in view.config.exposed_ports.iter().filter(|_| has_ports) {
        if !view.ports.iter().any(|port| port.container == *exposed) {
            ports.push(PortSummary {
                private_port: exposed.port,
                kind: exposed.protocol.as_str().to_owned(),
                ..PortSummary::default()
            });
        }
    }
    ports.sort_by(|a, b| (a.private_port, &a.kind, &a.ip).cmp(&(b.private_port, &b.kind, &b.ip)));
    ports
}

pub(super) fn mount_points(view: &ContainerView) -> Vec<MountPoint> {
    let points = view.mounts.iter().map(|mount| MountPoint {
        kind: mount.kind.to_owned(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.rw,
        propagation: mount.propagation.clone(),
    });
    points.collect()
}

/// A container's end of a network.
pub(super) fn endpoint(end: &EndpointView) -> EndpointSettings {
    let text = |value: Option<String>| value.unwrap_or_default();
    let asked = &end.asked;
    let ipam_config =
        asked
            .addresses
            .as_ref()
            .map(|addresses| gantry_api::types::EndpointIpamConfig {
                ipv4_address: text(addresses.ipv4.map(|ip| ip.to_string())),
                ipv6_address: text(addresses.ipv6.map(|ip| ip.to_string())),
                link_local_ips: Some(addresses.link_local.iter().map(IpAddr::to_string).collect()),
            });
    let length = |length: Option<u8>| length.map_or(0, i64::from);
    EndpointSettings {
        ipam_config,
        links: asked.links.clone(),
        aliases: asked.aliases.clone(),
        mac_address: if end.mac_address.is_empty() {
            text(asked.mac_address.clone())
        } else {
            end.mac_address.clone()
        },
        driver_opts: asked
            .driver_options
            .as_ref()
            .map(|options| options.clone().into_iter().collect()),
        gw_priority: asked.gateway_priority,
        network_id: end.network_id.clone(),
        endpoint_id: end.endpoint_id.clone(),
        gateway: text(end.gateway.map(|ip| ip.to_string())),
        ip_address: text(end.ipv4.map(|net| net.addr().to_string())),
        ip_prefix_len: length(end.ipv4.map(|net| net.prefix_len())),
        ipv6_gateway: text(end.ipv6_gateway.map(|ip| ip.to_string())),
        global_ipv6_address: text(end.ipv6.map(|net| net.addr().to_string())),
        global_ipv6_prefix_len: length(end.ipv6.map(|net| net.prefix_len())),
        dns_names: (!end.dns_names.is_empty()).then(|| end.dns_names.clone()),
    }
}

/// Ports of inspect: every exposed port of a running container, with its bindings or null.
pub(super) fn port_map(
    view: &ContainerView,
) -> BTreeMap<String, Option<Vec<gantry_api::types::PortBinding>>> {
    let mut map: BTreeMap<String, Option<Vec<_>>> = BTreeMap::new();
    for port in port_summaries(view) {
        let bindings = map
            .entry(format!("{}/{}", port.private_port, port.kind))
            .or_default();
        // Those of routed networks have an address, but no port of the host.
        if !port.ip.is_empty() {
            let binding = gantry_api::types::PortBinding {
                host_ip: port.ip,
                host_port: port
                    .public_port
                    .map(|port| port.to_string())
                    .unwrap_or_default(),
            };
            bindings.get_or_insert_default().push(binding);
        }
    }
    map
}
