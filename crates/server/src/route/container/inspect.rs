//! `GET /containers/{name}/json`: everything that is known of a container.

use super::super::State;
use super::host_config;
use super::list::{endpoint, mount_points, port_map, signed};
use crate::request::Request;
use crate::response::{self, Response};
use crate::time;
use crate::version::Lowered as _;
use gantry_api::types::{
    ContainerConfig, ContainerInspectResponse, ContainerState, DriverData, Empty, Health,
    HealthConfig, HealthcheckResult, NetworkSettings,
};
use gantry_base::Result;
use gantry_engine::container::view::{ContainerView, Status};
use indexmap::IndexMap;
use std::collections::BTreeMap;

pub(super) async fn inspect(state: State, request: Request) -> Result<Response> {
    let view = state.engine.containers.get(super::reference(&request)?)?;
    let mut answer = wire(&view);
    if request.query.flag("size") {
        let size = state.engine.containers.size(view.id.as_str()).await?;
        answer.size_rw = Some(signed(size.rw_bytes));
        answer.size_root_fs = Some(signed(size.rootfs_bytes));
    }
    Ok(response::ok(&answer.lowered(request.version)))
}

fn wire(view: &ContainerView) -> ContainerInspectResponse {
    let exec_ids: Vec<String> = view.exec_ids.iter().map(ToString::to_string).collect();
    ContainerInspectResponse {
        id: view.id.to_string(),
        created: time::rfc3339(view.created_ns),
        path: view.path.clone(),
        args: view.args.clone(),
        state: state(view),
        image: view.image.as_str().to_owned(),
        resolv_conf_path: view.resolv_conf_path.clone(),
        hostname_path: view.hostname_path.clone(),
        hosts_path: view.hosts_path.clone(),
        log_path: view.log_path.clone(),
        name: format!("/{}", view.name),
        restart_count: view.restart_count.into(),
        driver: "overlay2".into(),
        platform: "linux".into(),
        image_manifest_descriptor: None,
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: view.config.security.apparmor.clone(),
        exec_ids: (!exec_ids.is_empty()).then_some(exec_ids),
        host_config: host_config::wire(&view.config),
        graph_driver: Some(graph_driver(view)),
        storage: None,
        size_rw: None,
        size_root_fs: None,
        mounts: mount_points(view),
        config: config(view),
        network_settings: network_settings(view),
    }
}

fn state(view: &ContainerView) -> ContainerState {
    let state = &view.state;
    ContainerState {
        status: state.status.as_str().to_owned(),
        running: state.status.is_live(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid.into(),
        exit_code: state.exit_code.into(),
        error: state.error.clone(),
        started_at: time::rfc3339_or_never(state.started_ns),
        finished_at: time::rfc3339_or_never(state.finished_ns),
        health: state.health.as_ref().map(health),
    }
}

fn health(health: &gantry_engine::container::health::Health) -> Health {
    let results = health.log.iter().map(|result| HealthcheckResult {
        start: time::rfc3339(result.start_ns),
        end: time::rfc3339(result.end_ns),
        exit_code: result.exit_code.into(),
        output: result.output.clone(),
    });
    Health {
        status: health.status.as_str().to_owned(),
        failing_streak: health.failing_streak.into(),
        log: results.collect(),
    }
}

/// Directories as Docker's overlay2 driver shows them. The merged tree exists in the container's mount namespace only, and is
/// reached through its process.
fn graph_driver(view: &ContainerView) -> DriverData {
    let mut data = BTreeMap::from([("ID".to_owned(), view.id.to_string())]);
    if let Some(overlay) = &view.overlay {
        data.insert("LowerDir".into(), overlay.lower.clone());
        data.insert("UpperDir".into(), overlay.upper.clone());
        data.insert("WorkDir".into(), overlay.work.clone());
    }
    if view.state.pid != 0 {
        data.insert("MergedDir".into(), format!("/proc/{}/root", view.state.pid));
    }
    DriverData {
        data: Some(data),
        name: "overlay2".into(),
    }
}

pub(super) fn sorted(map: &IndexMap<String, String>) -> BTreeMap<String, String> {
    map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

pub(super) fn non_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn config(view: &ContainerView) -> ContainerConfig {
    let config = &view.config;
    let process = &config.process;
    let hostname = match config.hostname.as_str() {
        "" if config.network.mode.starts_with("container:") => String::new(),
        "" => view.id.short().to_owned(),
        hostname => hostname.to_owned(),
    };
    let health = config.healthcheck.as_ref();
    ContainerConfig {
        hostname,
        domainname: config.domainname.clone(),
        user: process.user.clone(),
        attach_stdin: process.attach_stdin,
        attach_stdout: process.attach_stdout,
        attach_stderr: process.attach_stderr,
        exposed_ports: config
            .exposed_ports
            .iter()
            .map(|port| (port.to_string(), Empty {}))
            .collect(),
        tty: process.tty,
        open_stdin: process.open_stdin,
        stdin_once: process.stdin_once,
        env: non_empty(&process.env),
        cmd: process.cmd.clone(),
        healthcheck: health.map(|check| HealthConfig {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        args_escaped: process.args_escaped,
        image: config.image_reference.clone(),
        volumes: (!config.volumes.is_empty()).then(|| {
            config
                .volumes
                .iter()
                .map(|path| (path.clone(), Empty {}))
                .collect()
        }),
        working_dir: process.working_dir.clone(),
        entrypoint: process.entrypoint.clone(),
        network_disabled: false,
        mac_address: String::new(),
        on_build: process.on_build.clone().map(Some),
        labels: Some(sorted(&config.labels)),
        stop_signal: process.stop_signal.clone(),
        stop_timeout: process.stop_timeout_s,
        shell: process.shell.clone(),
    }
}

fn network_settings(view: &ContainerView) -> NetworkSettings {
    let networks = view
        .networks
        .iter()
        .map(|end| (end.network.clone(), endpoint(end)))
        .collect();
    let has_sandbox = !view.sandbox_key.is_empty();
    NetworkSettings {
        bridge: None,
        // A sandbox is its container's own, so that the id of the one names the other.
        sandbox_id: if has_sandbox {
            view.id.to_string()
        } else {
            String::new()
        },
        sandbox_key: view.sandbox_key.clone(),
        ports: port_map(view),
        legacy: None,
        networks,
    }
}
