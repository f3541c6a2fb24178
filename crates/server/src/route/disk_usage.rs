//! `GET /system/df`: what images, containers and volumes take up; and `POST /build/prune`, which `docker system prune` needs.

use super::{State, container, image, route, volume};
use crate::app::Serve;
use crate::request::Request;
use crate::response::{self, Response};
use crate::router::Router;
use gantry_api::types::{BuildCachePruneReport, DiskUsage};
use gantry_base::{Error, Result};

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/system/df", disk_usage);
    route!(router, POST "/build/prune", prune_build_cache);
}

/// Which kinds of things are asked for.
struct Kinds {
    named: Vec<String>,
}

impl Kinds {
    fn parse(request: &Request) -> Result<Self> {
        // Older versions do not know the parameter.
        let named: Vec<String> = if request.at_least(42) {
            let named = request.query.all("type");
            named.map(str::to_owned).collect()
        } else {
            Vec::new()
        };
        let known = ["container", "image", "volume", "build-cache"];
        match named.iter().find(|kind| !known.contains(&kind.as_str())) {
            Some(kind) => Err(Error::invalid(format!("unknown object type: {kind}"))),
            None => Ok(Self { named }),
        }
    }

    fn has(&self, kind: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|named| named == kind)
    }
}

async fn disk_usage(state: State, request: Request) -> Result<Response> {
    let kinds = Kinds::parse(&request)?;
    let mut usage = DiskUsage::default();
    if kinds.has("image") {
        let (layers_size, images) = image::usage(&state, request.version)?;
        usage.layers_size = layers_size;
        usage.images = Some(images);
    }
    if kinds.has("container") {
        usage.containers = Some(container::usage(&state, request.version).await);
    }
    if kinds.has("volume") {
        usage.volumes = Some(volume::usage(&state).await?);
    }
    if kinds.has("build-cache") {
        // Nothing builds here yet, so nothing is cached.
        usage.build_cache = Some(Vec::new());
    }
    Ok(response::ok(&usage))
}

/// Nothing is cached, so nothing is left to remove.
async fn prune_build_cache(_: State, _: Request) -> Result<Response> {
    Ok(response::ok(&BuildCachePruneReport::default()))
}
