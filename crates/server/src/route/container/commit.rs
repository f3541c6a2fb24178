//! `/containers/{}/changes` and `/commit`: what a container changed in its files, and an image of it.

use super::super::State;
use super::super::image::{change, repo_tag};
use crate::request::Request;
use crate::response::{self, Response};
use gantry_api::types::{ContainerConfig, FilesystemChange, IdResponse};
use gantry_base::{Error, Result};
use gantry_engine::container::commit::{ChangeKind, CommitOptions};
use gantry_oci::image::{ContainerDefaults, Empty, Healthcheck};
use hyper::StatusCode;

/// `GET …/changes`
pub(super) async fn changes(state: State, request: Request) -> Result<Response> {
    let reference = super::reference(&request)?;
    let changes = state.engine.containers.changes(reference).await?;
    let changes: Vec<_> = changes
        .into_iter()
        .map(|change| FilesystemChange {
            path: change.path,
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    // No change is null, as in dockerd.
    Ok(response::ok(&(!changes.is_empty()).then_some(changes)))
}

/// `POST /commit`
pub(super) async fn commit(state: State, mut request: Request) -> Result<Response> {
    let given: Option<ContainerConfig> = request.json().await?;
    let reference = repo_tag(&request)?;
    let name = request.query.get("container").to_owned();
    if name.is_empty() {
        return Err(Error::invalid("invalid name or ID supplied: \"\""));
    }
    let view = state.engine.containers.get(&name)?;
    let own = view.config.defaults();
    let base = given.map_or_else(|| own.clone(), defaults);
    let changed = change::apply_all(base, request.query.all("changes"))?;
    let options = CommitOptions {
        config: merge(changed, own),
        author: request.query.get("author").to_owned(),
        comment: request.query.get("comment").to_owned(),
        reference,
        pauses: request.query.get("pause").is_empty() || request.query.flag("pause"),
    };
    let id = state
        .engine
        .containers
        .commit(view.id.as_str(), options)
        .await?;
    Ok(response::json(StatusCode::CREATED, &IdResponse { id }))
}

/// What a request says of the new image.
fn defaults(config: ContainerConfig) -> ContainerDefaults {
    let empty = |name: String| (name, Empty {});
    let ports = config.exposed_ports;
    ContainerDefaults {
        user: config.user,
        exposed_ports: (!ports.is_empty()).then(|| ports.into_keys().map(empty).collect()),
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config
            .volumes
            .map(|volumes| volumes.into_keys().map(empty).collect()),
        working_dir: config.working_dir,
        labels: config.labels.map(|labels| labels.into_iter().collect()),
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.map(|check| Healthcheck {
            test: check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: config.on_build.flatten(),
        shell: config.shell,
        stop_timeout: config.stop_timeout,
    }
}

/// What was asked for, and of the container what was not.
fn merge(mut asked: ContainerDefaults, own: ContainerDefaults) -> ContainerDefaults {
    let text = |asked: &mut String, own: String| {
        if asked.is_empty() {
            *asked = own;
        }
    };
    text(&mut asked.user, own.user);
    text(&mut asked.working_dir, own.working_dir);
    text(&mut asked.stop_signal, own.stop_signal);
    if asked.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if asked.cmd.as_ref().is_none_or(Vec::is_empty) {
            asked.cmd = own.cmd;
        }
        asked.entrypoint = asked.entrypoint.or(own.entrypoint);
    }
    if let Some(own) = own.env {
        let env = asked.env.get_or_insert_default();
        for item in own {
            let name = item.split('=').next();
            if env.iter().all(|known| known.split('=').next() != name) {
                env.push(item);
            }
        }
    }
    for (key, value) in own.labels.into_iter().flatten() {
        let labels = asked.labels.get_or_insert_default();
        labels.entry(key).or_insert(value);
    }
    for (port, empty) in own.exposed_ports.into_iter().flatten() {
        let ports = asked.exposed_ports.get_or_insert_default();
        ports.entry(port).or_insert(empty);
    }
    for (path, empty) in own.volumes.into_iter().flatten() {
        let volumes = asked.volumes.get_or_insert_default();
        volumes.entry(path).or_insert(empty);
    }
    asked.healthcheck = asked.healthcheck.or(own.healthcheck);
    asked.on_build = asked.on_build.or(own.on_build);
    asked.shell = asked.shell.or(own.shell);
    asked.stop_timeout = asked.stop_timeout.or(own.stop_timeout);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_the_containers() {
        let own = ContainerDefaults {
            cmd: Some(vec!["own".into()]),
            env: Some(vec!["A=1".into(), "B=1".into()]),
            user: "u".into(),
            ..ContainerDefaults::default()
        };
        let asked = ContainerDefaults {
            env: Some(vec!["B=2".into()]),
            ..ContainerDefaults::default()
        };
        let merged = merge(asked, own.clone());
        assert_eq!(merged.env, Some(vec!["B=2".to_owned(), "A=1".to_owned()]));
        assert_eq!((merged.cmd, merged.user), (own.cmd.clone(), "u".to_owned()));
        let asked = ContainerDefaults {
            entrypoint: Some(vec!["e".into()]),
            ..ContainerDefaults::default()
        };
        // An entrypoint of its own does without the container's command.
        assert_eq!(merge(asked, own).cmd, None);
    }
}
