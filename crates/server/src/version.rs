//! What differs between the versions of the API. Handlers know the newest; here, for each change, a small function lifts the
//! request of an older client to it, or lowers the answer.
//!
//! Each list is ordered from the newest change to the oldest. `(52, f)` means: `f` serves clients older than version 1.52.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all functions of a list have one signature"
)]

use gantry_api::ApiVersion;
use gantry_api::types::{
    ContainerConfig, ContainerCreateRequest, ContainerInspectResponse, ContainerSummary,
    EventMessage, ImageInspect, ImageSummary, LegacyNetworkSettings, Mount, Network, SystemInfo,
};
use gantry_base::{Error, Result};
use serde_json::Value;

type Lift<T> = (u16, fn(&mut T) -> Result<()>);
type Lower<T> = (u16, fn(&mut T));

fn older(version: ApiVersion, minor: u16) -> bool {
    version < ApiVersion::new(1, minor)
}

/// The create request of a client.
pub(crate) fn lift_create(
    version: ApiVersion,
    mut request: ContainerCreateRequest,
) -> Result<ContainerCreateRequest> {
    for (minor, lift) in CREATE {
        if older(version, *minor) {
            lift(&mut request)?;
        }
    }
    if !older(version, 52) {
        // The members are gone; Go's decoder leaves out what it does not know.
        request.config.mac_address.clear();
        if let Some(host) = &mut request.host_config {
            host.kernel_memory_tcp = 0;
        }
    }
    Ok(request)
}

const CREATE: &[Lift<ContainerCreateRequest>] = &[
    (48, create_without_priorities_and_images),
    (45, create_without_subpath),
    (44, create_with_one_network),
    (43, create_without_annotations),
    (42, create_with_lenient_mounts),
    (41, create_in_host_cgroup_namespace),
    (40, create_with_shareable_ipc),
    (25, create_without_auto_remove),
];

fn mounts(request: &mut ContainerCreateRequest) -> impl Iterator<Item = &mut Mount> {
    request
        .host_config
        .iter_mut()
        .flat_map(|host| host.mounts.iter_mut().flatten())
}

fn create_without_priorities_and_images(request: &mut ContainerCreateRequest) -> Result<()> {
    let networking = request.networking_config.iter_mut();
    let endpoints = networking.flat_map(|config| config.endpoints_config.iter_mut().flatten());
    for settings in endpoints.filter_map(|(_, settings)| settings.as_mut()) {
        settings.gw_priority = 0;
    }
    if mounts(request).any(|mount| mount.kind == "image") {
        return Err(Error::invalid(
            "Mount type \"Image\" needs API v1.48 or newer",
        ));
    }
    Ok(())
}

fn create_without_subpath(request: &mut ContainerCreateRequest) -> Result<()> {
    let has_subpath = |mount: &mut Mount| {
        mount
            .volume_options
            .as_ref()
            .is_some_and(|options| !options.subpath.is_empty())
    };
    if mounts(request).any(has_subpath) {
        return Err(Error::invalid(
            "VolumeOptions.Subpath needs API v1.45 or newer",
        ));
    }
    Ok(())
}

fn create_with_one_network(request: &mut ContainerCreateRequest) -> Result<()> {
    if let Some(check) = &mut request.config.healthcheck {
        check.start_interval = 0;
    }
    let forced = |mount: &mut Mount| {
        mount.kind == "bind"
            && mount
                .bind_options
                .as_ref()
                .is_some_and(|options| options.read_only_force_recursive)
    };
    if mounts(request).any(forced) {
        let text = "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer";
        return Err(Error::invalid(text));
    }
    let wide = std::mem::take(&mut request.config.mac_address);
    let host = request.host_config.as_ref();
    let mode = host
        .map_or("", |host| host.network_mode.as_str())
        .to_owned();
    let is_alone = matches!(mode.as_str(), "host" | "none") || mode.starts_with("container:");
    if !wide.is_empty() && is_alone {
        return Err(Error::invalid(
            "conflicting options: mac-address and the network mode",
        ));
    }
    if request.networking_config.is_none() && wide.is_empty() {
        return Ok(());
    }
    let networking = request.networking_config.get_or_insert_default();
    let endpoints = networking.endpoints_config.get_or_insert_default();
    if endpoints.len() > 1 {
        let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        let names = names.join(", ");
        let text = format!("Container cannot be created with multiple network endpoints: {names}");
        return Err(Error::invalid(text));
    }
    // The address of the container was its only network's; an endpoint's own did not exist.
    for settings in endpoints.values_mut().flatten() {
        settings.mac_address.clone_from(&wide);
    }
    if endpoints.is_empty() && !wide.is_empty() {
        let name = if mode.is_empty() {
            "default".to_owned()
        } else {
            mode
        };
        let settings = gantry_api::types::EndpointSettings {
            mac_address: wide,
            ..Default::default()
        };
        endpoints.insert(name, Some(settings));
    }
    Ok(())
}

fn create_without_annotations(request: &mut ContainerCreateRequest) -> Result<()> {
    if let Some(host) = &mut request.host_config {
        host.annotations.clear();
    }
    Ok(())
}

fn create_with_lenient_mounts(request: &mut ContainerCreateRequest) -> Result<()> {
    for mount in mounts(request) {
        if mount.kind != "volume" {
            mount.volume_options = None;
        }
        if mount.kind != "tmpfs" {
            mount.tmpfs_options = None;
        }
        if let Some(options) = &mut mount.bind_options {
            options.create_mountpoint = false;
        }
    }
    if let Some(host) = &mut request.host_config {
        host.console_size = [0, 0];
    }
    Ok(())
}

fn create_in_host_cgroup_namespace(request: &mut ContainerCreateRequest) -> Result<()> {
    let has_v1 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if let Some(host) = request
        .host_config
        .as_mut()
        .filter(|host| host.cgroupns_mode.is_empty() && !has_v1)
    {
        host.cgroupns_mode = "host".into();
    }
    Ok(())
}

fn create_with_shareable_ipc(request: &mut ContainerCreateRequest) -> Result<()> {
    for mount in mounts(request) {
        if let Some(options) = &mut mount.bind_options {
            options.non_recursive = false;
        }
    }
    let host = request.host_config.get_or_insert_default();
    host.kernel_memory_tcp = 0;
    if host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".into();
    }
    Ok(())
}

fn create_without_auto_remove(request: &mut ContainerCreateRequest) -> Result<()> {
    if let Some(host) = &mut request.host_config {
        host.auto_remove = false;
    }
    Ok(())
}

/// Lowers an answer.
pub(crate) trait Lowered: Sized + 'static {
    /// The changes, from the newest to the oldest.
    const CHANGES: &'static [Lower<Self>];
    /// This answer for a client of `version`.
    fn lowered(mut self, version: ApiVersion) -> Self {
        for (minor, lower) in Self::CHANGES {
            if older(version, *minor) {
                lower(&mut self);
            }
        }
        self
    }
}

impl Lowered for ContainerSummary {
    const CHANGES: &'static [Lower<Self>] = &[
        (52, |summary| summary.health = None),
        (48, |summary| summary.image_manifest_descriptor = None),
        (46, |summary| summary.host_config.annotations.clear()),
    ];
}

impl Lowered for ContainerInspectResponse {
    const CHANGES: &'static [Lower<Self>] = &[
        (52, inspect_with_legacy_network),
        (48, |inspect| inspect.image_manifest_descriptor = None),
        (45, inspect_with_short_id_alias),
    ];
}

fn inspect_with_legacy_network(inspect: &mut ContainerInspectResponse) {
    inspect.config.on_build.get_or_insert(None);
    let network = &mut inspect.network_settings;
    let bridge = network.networks.get("bridge");
    // dockerd shows the name of the default bridge for whatever network.
    network.bridge.get_or_insert_default();
    network.legacy = Some(
        bridge.map_or_else(LegacyNetworkSettings::default, |bridge| {
            LegacyNetworkSettings {
                endpoint_id: bridge.endpoint_id.clone(),
                gateway: bridge.gateway.clone(),
                global_ipv6_address: bridge.global_ipv6_address.clone(),
                global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
                ip_address: bridge.ip_address.clone(),
                ip_prefix_len: bridge.ip_prefix_len,
                ipv6_gateway: bridge.ipv6_gateway.clone(),
                mac_address: bridge.mac_address.clone(),
                ..LegacyNetworkSettings::default()
            }
        }),
    );
}

fn inspect_with_short_id_alias(inspect: &mut ContainerInspectResponse) {
    let short = inspect.id.get(..12).unwrap_or_default().to_owned();
    for (name, endpoint) in &mut inspect.network_settings.networks {
        let is_user_defined = !matches!(name.as_str(), "bridge" | "host" | "none" | "default")
            && !name.starts_with("container:");
        if is_user_defined {
            let aliases = endpoint.aliases.get_or_insert_default();
            for alias in [&short, &inspect.config.hostname] {
                if !aliases.contains(alias) {
                    aliases.push(alias.clone());
                }
            }
        }
    }
}

impl Lowered for ImageSummary {
    const CHANGES: &'static [Lower<Self>] = &[
        (51, |summary| summary.containers = -1),
        (48, |summary| summary.descriptor = None),
        (44, |summary| summary.virtual_size = Some(summary.size)),
        (43, image_summary_without_names),
    ];
}

fn image_summary_without_names(summary: &mut ImageSummary) {
    if summary.repo_tags.is_empty() && summary.repo_digests.is_empty() {
        summary.repo_tags.push("<none>:<none>".into());
        summary.repo_digests.push("<none>@<none>".into());
    }
}

impl Lowered for ImageInspect {
    const CHANGES: &'static [Lower<Self>] = &[
        (52, image_inspect_with_empty_members),
        (50, image_inspect_with_container_members),
        (48, |inspect| inspect.descriptor = None),
        (45, image_inspect_with_container),
        (44, image_inspect_with_virtual_size),
    ];
}

fn image_inspect_with_empty_members(inspect: &mut ImageInspect) {
    inspect.parent.get_or_insert_default();
    inspect.comment.get_or_insert_default();
    inspect.docker_version.get_or_insert_default();
    inspect.author.get_or_insert_default();
    let config = inspect.config.get_or_insert_default();
    config.cmd.get_or_insert(None);
    config.entrypoint.get_or_insert(None);
    config.env.get_or_insert(None);
    config.labels.get_or_insert(None);
    config.on_build.get_or_insert(None);
    config.user.get_or_insert_default();
    config.volumes.get_or_insert(None);
    config.working_dir.get_or_insert_default();
}

fn image_inspect_with_container_members(inspect: &mut ImageInspect) {
    let legacy = &mut inspect.config.get_or_insert_default().legacy;
    for name in [
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "OpenStdin",
        "StdinOnce",
        "Tty",
    ] {
        legacy.insert(name.into(), Value::Bool(false));
    }
    for name in ["Domainname", "Hostname", "Image"] {
        legacy.insert(name.into(), Value::String(String::new()));
    }
}

/// The container that the image was committed from; images are not made that way any more.
fn image_inspect_with_container(inspect: &mut ImageInspect) {
    let config = ContainerConfig {
        on_build: Some(None),
        ..ContainerConfig::default()
    };
    inspect.container_config = serde_json::to_value(config).ok();
}

fn image_inspect_with_virtual_size(inspect: &mut ImageInspect) {
    inspect.virtual_size = Some(inspect.size);
    if inspect.created.is_empty() {
        inspect.created = "0001-01-01T00:00:00Z".into();
    }
}

impl Lowered for SystemInfo {
    const CHANGES: &'static [Lower<Self>] = &[
        (52, info_with_kernel_memory_tcp),
        (50, info_with_bridge_filters),
        (49, info_with_expected_commits),
        (47, info_with_nondistributable_artifacts),
        (46, |info| info.containerd = None),
        (44, info_without_status_of_runtimes),
        (42, info_with_kernel_memory),
        (25, info_with_names_of_security_options),
    ];
}

/// Limits of the kernel's memory existed in version 1 of cgroups.
fn has_kernel_memory(info: &SystemInfo) -> bool {
    info.memory_limit && info.cgroup_version == "1"
}

fn info_with_kernel_memory_tcp(info: &mut SystemInfo) {
    info.kernel_memory_tcp = Some(has_kernel_memory(info));
}

fn info_with_kernel_memory(info: &mut SystemInfo) {
    info.kernel_memory = has_kernel_memory(info);
}

fn info_with_bridge_filters(info: &mut SystemInfo) {
    info.bridge_nf_iptables = Some(false);
    info.bridge_nf_ip6tables = Some(false);
}

fn info_with_expected_commits(info: &mut SystemInfo) {
    info.firewall_backend = None;
    for commit in [
        &mut info.containerd_commit,
        &mut info.runc_commit,
        &mut info.init_commit,
    ] {
        commit.expected = Some(commit.id.clone()).filter(|id| !id.is_empty());
    }
}

fn info_with_nondistributable_artifacts(info: &mut SystemInfo) {
    info.registry_config.allow_nondistributable_artifacts_cidrs = Some(None);
    info.registry_config
        .allow_nondistributable_artifacts_hostnames = Some(None);
}

fn info_without_status_of_runtimes(info: &mut SystemInfo) {
    for runtime in info.runtimes.values_mut() {
        runtime.status.clear();
    }
}

fn info_with_names_of_security_options(info: &mut SystemInfo) {
    for option in &mut info.security_options {
        let name = option
            .split(',')
            .find_map(|part| part.strip_prefix("name="));
        if let Some(name) = name.map(str::to_owned) {
            *option = name;
        }
    }
}

impl Lowered for EventMessage {
    const CHANGES: &'static [Lower<Self>] = &[(52, event_with_legacy_members)];
}

fn event_with_legacy_members(event: &mut EventMessage) {
    if matches!(event.kind.as_str(), "container" | "image") {
        event.status = Some(event.action.clone());
        event.id = Some(event.actor.id.clone());
    }
    if event.kind == "container" {
        event.from = Some(
            event
                .actor
                .attributes
                .get("image")
                .cloned()
                .unwrap_or_default(),
        );
    }
}

impl Lowered for Network {
    const CHANGES: &'static [Lower<Self>] = &[(52, |network| {
        network.status = None;
        network.containers.get_or_insert_default();
    })];
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_api::types::HostConfig;

    const NEW: ApiVersion = ApiVersion::new(1, 52);
    const OLD: ApiVersion = ApiVersion::new(1, 24);

    #[test]
    fn an_old_create_request_is_lifted() {
        let host = HostConfig {
            auto_remove: true,
            console_size: [1, 2],
            annotations: [("a".to_owned(), "b".to_owned())].into(),
            ..HostConfig::default()
        };
        let config = ContainerConfig {
            mac_address: "02:00:00:00:00:01".into(),
            ..ContainerConfig::default()
        };
        let request = ContainerCreateRequest {
            config,
            host_config: Some(host),
            ..ContainerCreateRequest::default()
        };
        let lifted = lift_create(OLD, request.clone()).expect("is valid");
        let host = lifted.host_config.expect("was given");
        assert!(!host.auto_remove && host.annotations.is_empty());
        assert_eq!(
            (host.ipc_mode.as_str(), host.console_size),
            ("shareable", [0, 0])
        );
        let endpoints = lifted
            .networking_config
            .and_then(|n| n.endpoints_config)
            .expect("has an address");
        let settings = endpoints["default"].as_ref().expect("was made");
        assert_eq!(settings.mac_address, "02:00:00:00:00:01");
        assert_eq!(lifted.config.mac_address, "");
        let kept = lift_create(NEW, request)
            .expect("is valid")
            .host_config
            .expect("was given");
        assert!(kept.auto_remove && kept.ipc_mode.is_empty() && kept.console_size == [1, 2]);
    }

    #[test]
    fn old_clients_are_told_what_they_cannot_ask_for() {
        let endpoints = [("a".to_owned(), None), ("b".to_owned(), None)].into();
        let networking_config = Some(gantry_api::types::NetworkingConfig {
            endpoints_config: Some(endpoints),
        });
        let request = ContainerCreateRequest {
            networking_config,
            ..ContainerCreateRequest::default()
        };
        let error = lift_create(ApiVersion::new(1, 43), request.clone()).expect_err("are two");
        assert_eq!(
            error.message(),
            "Container cannot be created with multiple network endpoints: a, b"
        );
        assert!(lift_create(ApiVersion::new(1, 44), request).is_ok());
    }

    #[test]
    fn answers_are_lowered() {
        let keys = |version: ApiVersion| {
            let inspect = ContainerInspectResponse::default().lowered(version);
            let value = serde_json::to_value(inspect).expect("has string keys");
            let settings = value["NetworkSettings"]
                .as_object()
                .expect("is an object")
                .clone();
            (
                settings.keys().cloned().collect::<Vec<_>>(),
                value["Config"].get("OnBuild").cloned(),
            )
        };
        let (new, on_build) = keys(NEW);
        assert_eq!(new, ["Networks", "Ports", "SandboxID", "SandboxKey"]);
        assert_eq!(on_build, None);
        let (old, on_build) = keys(ApiVersion::new(1, 51));
        assert_eq!((old.len(), on_build), (18, Some(Value::Null)));

        let event = EventMessage {
            kind: "network".into(),
            action: "connect".into(),
            ..EventMessage::default()
        };
        assert_eq!(event.clone().lowered(OLD), event);
        let event = EventMessage {
            kind: "container".into(),
            action: "die".into(),
            ..event
        };
        assert_eq!(event.clone().lowered(NEW), event);
        assert_eq!(event.lowered(OLD).status.as_deref(), Some("die"));

        let summary = ImageSummary::default().lowered(ApiVersion::new(1, 42));
        assert_eq!((summary.containers, summary.virtual_size), (-1, Some(0)));
        assert_eq!(summary.repo_tags, ["<none>:<none>"]);
    }
}
