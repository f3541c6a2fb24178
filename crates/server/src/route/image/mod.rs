//! `/images/…`: list, inspect, history, tag, remove, prune. What moves archives is in `transfer.rs`.

pub(super) mod change;
mod list;
mod manifest;
mod registry;
mod transfer;

pub(super) use list::usage;

use super::{State, route};
use crate::app::Serve;
use crate::request::{Request, invalid};
use crate::response::{self, Response};
use crate::router::Router;
use crate::time;
use crate::version::Lowered as _;
use gantry_api::types::{
    DriverData, Empty, HealthConfig, HistoryResponseItem, ImageConfig, ImageDeleteResponseItem,
    ImageInspect, ImageMetadata, ImageSignature, ImagesPruneReport, RootFs,
};
use gantry_base::{Error, Result};
use gantry_engine::image::types::{HistoryEntry, Image, RemoveOptions, Removed, VerifiedSignature};
use gantry_oci::Reference;
use gantry_oci::image::{ContainerDefaults, Healthcheck};
use hyper::StatusCode;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/images/json", list::list);
    route!(router, GET "/images/get", transfer::save);
    route!(router, POST "/images/load", transfer::load);
    route!(router, POST "/images/create", transfer::create);
    route!(router, POST "/images/prune", prune);
    route!(router, GET "/images/search", registry::search);
    route!(router, POST "/auth", registry::login);
    route!(router, GET "/distribution/{}/json", registry::distribution);
    route!(router, GET "/images/{}/json", inspect);
    route!(router, GET "/images/{}/get", transfer::save);
    route!(router, GET "/images/{}/history", history);
    route!(router, POST "/images/{}/tag", tag);
    route!(router, POST "/images/{}/push", registry::push);
    route!(router, DELETE "/images/{}", remove);
}

async fn inspect(state: State, request: Request) -> Result<Response> {
    let has_platform = request.at_least(49) && !request.query.get("platform").is_empty();
    if has_platform && request.at_least(48) && request.query.flag("manifests") {
        let text = "conflicting options: manifests and platform options cannot both be set";
        return Err(Error::invalid(text));
    }
    let platform = if has_platform {
        transfer::json_platform(&request)?
    } else {
        None
    };
    let image = state
        .engine
        .images
        .get_for(&request.name, platform.as_ref())?;
    let mut inspected = wire(&image);
    if request.at_least(48) && request.query.flag("manifests") {
        let found = manifest::manifests(&state, &image)?;
        (inspected.descriptor, inspected.manifests) = found.unzip();
    }
    let signatures = state.engine.images.signatures(&image)?;
    inspected.signatures = signatures.iter().map(signature).collect();
    Ok(response::ok(&inspected.lowered(request.version)))
}

fn signature(signature: &VerifiedSignature) -> ImageSignature {
    ImageSignature {
        key: signature.key.to_string(),
        key_file: signature.key_file.clone(),
        manifest: signature.manifest.to_string(),
    }
}

fn wire(image: &Image) -> ImageInspect {
    let config = &image.config;
    let comment = config
        .history
        .last()
        .map_or("", |line| line.comment.as_str());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        parent: image.parent.as_ref().map(ToString::to_string),
        comment: text(comment),
        created: config
            .created
            .as_ref()
            .map(|_| time::rfc3339(image.created_ns))
            .unwrap_or_default(),
        author: text(&config.author),
        config: Some(image_config(&config.config)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        size: i64::try_from(image.size_bytes).unwrap_or(i64::MAX),
        graph_driver: Some(DriverData {
            data: None,
            name: "overlay2".into(),
        }),
        root_fs: RootFs {
            kind: config.rootfs.kind.clone(),
            layers: config
                .rootfs
                .diff_ids
                .iter()
                .map(|id| id.as_str().to_owned())
                .collect(),
        },
        metadata: ImageMetadata {
            last_tag_time: time::rfc3339_or_never(image.last_tagged_ns),
        },
        ..ImageInspect::default()
    }
}

fn image_config(config: &ContainerDefaults) -> ImageConfig {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let labels = config.labels.as_ref();
    let volumes = config.volumes.as_ref();
    let list = |list: &Option<Vec<String>>| list.clone().map(Some);
    ImageConfig {
        args_escaped: config.args_escaped,
        cmd: list(&config.cmd),
        entrypoint: list(&config.entrypoint),
        env: list(&config.env),
        exposed_ports: config
            .exposed_ports
            .iter()
            .flatten()
            .map(|(p, _)| (p.clone(), Empty {}))
            .collect(),
        healthcheck: config.healthcheck.as_ref().map(health_config),
        labels: labels.map(|map| Some(map.iter().map(|(k, v)| (k.clone(), v.clone())).collect())),
        on_build: list(&config.on_build),
        shell: config.shell.clone(),
        stop_signal: config.stop_signal.clone(),
        user: text(&config.user),
        volumes: volumes.map(|map| {
            Some(
                map.iter()
                    .map(|(path, _)| (path.clone(), Empty {}))
                    .collect(),
            )
        }),
        working_dir: text(&config.working_dir),
        ..ImageConfig::default()
    }
}

fn health_config(check: &Healthcheck) -> HealthConfig {
    HealthConfig {
        test: check.test.clone(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

async fn history(state: State, request: Request) -> Result<Response> {
    let mut name = request.name.clone();
    if request.at_least(48) && !request.query.get("platform").is_empty() {
        let platform = transfer::json_platform(&request)?;
        name = state
            .engine
            .images
            .get_for(&request.name, platform.as_ref())?
            .id
            .to_string();
    }
    let lines = state.engine.images.history(&name)?;
    Ok(response::ok(
        &lines.iter().map(history_item).collect::<Vec<_>>(),
    ))
}

fn history_item(line: &HistoryEntry) -> HistoryResponseItem {
    HistoryResponseItem {
        comment: line.comment.clone(),
        created: line.created_ns / 1_000_000_000,
        created_by: line.created_by.clone(),
        id: line
            .id
            .as_ref()
            .map_or_else(|| "<missing>".to_owned(), ToString::to_string),
        size: i64::try_from(line.size_bytes).unwrap_or(i64::MAX),
        tags: (!line.tags.is_empty()).then(|| line.tags.clone()),
    }
}

/// `repo` and `tag` as a reference; none where `repo` is empty.
pub(super) fn repo_tag(request: &Request) -> Result<Option<Reference>> {
    let (repo, tag) = (request.query.get("repo"), request.query.get("tag"));
    if repo.is_empty() {
        return Ok(None);
    }
    let mut reference = Reference::parse(repo)?;
    if reference.digest.is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    if !tag.is_empty() {
        if !gantry_oci::reference::tag_is_valid(tag) {
            return Err(Error::invalid("invalid tag format"));
        }
        reference.tag = Some(tag.to_owned());
    }
    Ok(Some(reference.with_default_tag()))
}

async fn tag(state: State, request: Request) -> Result<Response> {
    let reference =
        repo_tag(&request)?.ok_or_else(|| Error::invalid("invalid reference format"))?;
    if reference.familiar_name() == "sha256" {
        let text = "refusing to create an ambiguous tag using digest algorithm as name";
        return Err(Error::invalid(text));
    }
    state.engine.images.tag(&request.name, &reference).await?;
    Ok(response::status(StatusCode::CREATED))
}

async fn remove(state: State, request: Request) -> Result<Response> {
    if request.name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let options = RemoveOptions {
        force: request.query.flag("force"),
        no_prune: request.query.flag("noprune"),
    };
    let images = &state.engine.images;
    let removed = match platforms(&request)?.as_slice() {
        [] => images.remove(&request.name, options).await?,
        [platform] => {
            let name = &request.name;
            images.remove_platform(name, platform, options).await?
        }
        _ => return Err(Error::invalid("multiple platforms are not supported")),
    };
    Ok(response::ok(
        &removed.into_iter().map(removed_item).collect::<Vec<_>>(),
    ))
}

/// The `platforms` parameter: OCI platforms as JSON.
fn platforms(request: &Request) -> Result<Vec<gantry_oci::Platform>> {
    if !request.at_least(50) {
        return Ok(Vec::new());
    }
    let given = request.query.all("platforms");
    given
        .filter(|text| !text.is_empty())
        .map(transfer::parse_platform)
        .collect()
}

fn removed_item(step: Removed) -> ImageDeleteResponseItem {
    match step {
        Removed::Untagged(untagged) => ImageDeleteResponseItem {
            untagged,
            ..Default::default()
        },
        Removed::Deleted(deleted) => ImageDeleteResponseItem {
            deleted,
            ..Default::default()
        },
    }
}

async fn prune(state: State, request: Request) -> Result<Response> {
    let filters = request.filters(&["dangling", "label", "label!", "until"])?;
    let dangling_only = filters
        .boolean("dangling")
        .map_err(invalid)?
        .unwrap_or(true);
    let until = time::until_filter(&filters)?;
    let wanted = |image: &Image| {
        let labels = image.config.config.labels.as_ref();
        let label = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        };
        (!dangling_only || image.is_dangling())
            && until.is_none_or(|until| image.created_ns <= until)
            && filters.passes_labels(label)
    };
    let pruned = state.engine.images.prune(wanted).await?;
    let removed: Vec<_> = pruned.removed.into_iter().map(removed_item).collect();
    Ok(response::ok(&ImagesPruneReport {
        images_deleted: (!removed.is_empty()).then_some(removed),
        space_reclaimed: pruned.space_reclaimed_bytes,
    }))
}
