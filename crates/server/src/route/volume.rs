//! `/volumes/…`

use super::{State, route};
use crate::app::Serve;
use crate::request::{Request, invalid};
use crate::response::{self, Response};
use crate::router::Router;
use crate::time;
use gantry_api::filters::Filters;
use gantry_api::types::{
    Volume, VolumeCreateRequest, VolumeListResponse, VolumeUsageData, VolumesPruneReport,
};
use gantry_base::{Error, ErrorKind, Result};
use gantry_engine::volume::{VolumeOptions, VolumeView};
use hyper::StatusCode;
use indexmap::IndexMap;
use std::collections::BTreeMap;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/volumes", list);
    route!(router, POST "/volumes/create", create);
    route!(router, POST "/volumes/prune", prune);
    route!(router, GET "/volumes/{}", inspect);
    route!(router, PUT "/volumes/{}", update);
    route!(router, DELETE "/volumes/{}", remove);
}

async fn list(state: State, request: Request) -> Result<Response> {
    let filters = request.filters(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.boolean("dangling").map_err(invalid)?;
    let volumes = state.engine.volumes.list()?;
    let wanted = volumes
        .iter()
        .filter(|volume| dangling.is_none_or(|dangling| dangling != volume.is_used))
        .filter(|volume| matches(&filters, volume));
    Ok(response::ok(&VolumeListResponse {
        volumes: wanted.map(wire).collect(),
        warnings: None,
    }))
}

fn matches(filters: &Filters, volume: &VolumeView) -> bool {
    let names = filters.get("name");
    filters.matches_exactly("driver", "local")
        && filters.passes_labels(|key| label(volume, key))
        && (names.is_empty() || names.iter().any(|part| volume.name.contains(part.as_str())))
}

fn label<'a>(volume: &'a VolumeView, key: &str) -> Option<&'a str> {
    volume.labels.as_ref()?.get(key).map(String::as_str)
}

async fn create(state: State, mut request: Request) -> Result<Response> {
    let body: VolumeCreateRequest = request.json().await?;
    if body.cluster_volume_spec.is_some() {
        return Err(no_cluster());
    }
    let map = |map: Option<BTreeMap<String, String>>| {
        map.map(|map| map.into_iter().collect::<IndexMap<_, _>>())
    };
    let options = VolumeOptions {
        name: body.name,
        driver: body.driver,
        labels: map(body.labels),
        options: map(body.driver_opts),
    };
    let volume = state.engine.volumes.create(options).await?;
    Ok(response::json(StatusCode::CREATED, &wire(&volume)))
}

async fn inspect(state: State, request: Request) -> Result<Response> {
    Ok(response::ok(&wire(
        &state.engine.volumes.get(&request.name)?,
    )))
}

/// Only volumes of a swarm can be changed.
async fn update(_: State, _: Request) -> Result<Response> {
    Err(no_cluster())
}

fn no_cluster() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    )
}

async fn remove(state: State, request: Request) -> Result<Response> {
    match state.engine.volumes.remove(&request.name).await {
        Err(error) if error.kind() == ErrorKind::NotFound && request.query.flag("force") => {}
        other => other?,
    }
    Ok(response::status(StatusCode::NO_CONTENT))
}

async fn prune(state: State, request: Request) -> Result<Response> {
    let filters = request.filters(&["all", "label", "label!"])?;
    // Before version 1.42 named volumes went too.
    let all = filters
        .boolean("all")
        .map_err(invalid)?
        .unwrap_or(!request.at_least(42));
    let wanted = move |volume: &VolumeView| {
        (all || volume.is_anonymous()) && filters.passes_labels(|key| label(volume, key))
    };
    let pruned = state.engine.volumes.prune(wanted).await?;
    Ok(response::ok(&VolumesPruneReport {
        volumes_deleted: pruned.names,
        space_reclaimed: pruned.space_reclaimed_bytes,
    }))
}

/// For `GET /system/df`.
pub(super) async fn usage(state: &State) -> Result<Vec<Volume>> {
    let usage = state.engine.volumes.usage().await?;
    let volumes = usage.iter().map(|(volume, users, bytes)| Volume {
        usage_data: Some(VolumeUsageData {
            ref_count: i64::try_from(*users).unwrap_or(i64::MAX),
            size: i64::try_from(*bytes).unwrap_or(i64::MAX),
        }),
        ..wire(volume)
    });
    Ok(volumes.collect())
}

fn wire(volume: &VolumeView) -> Volume {
    let map = |map: &Option<IndexMap<String, String>>| {
        map.as_ref()
            .map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    Volume {
        created_at: time::rfc3339(volume.created_ns / 1_000_000_000 * 1_000_000_000),
        driver: "local".into(),
        labels: map(&volume.labels),
        mountpoint: volume.mountpoint.to_string_lossy().into_owned(),
        name: volume.name.clone(),
        options: map(&volume.options),
        scope: "local".into(),
        usage_data: None,
    }
}
