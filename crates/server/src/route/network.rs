//! `/networks/…`

mod wire;

use super::{State, route};
use crate::app::Serve;
use crate::request::Request;
use crate::response::{self, Response};
use crate::router::Router;
use crate::time;
use crate::version::Lowered as _;
use gantry_api::filters::Filters;
use gantry_api::types::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
    NetworksPruneReport,
};
use gantry_base::{Error, Result};
use gantry_engine::container::config::Attachment;
use gantry_engine::network::Network;
use hyper::StatusCode;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/networks", list);
    route!(router, GET "/networks/", list);
    route!(router, POST "/networks/prune", prune);
    route!(router, POST "/networks/create", create);
    route!(router, POST "/networks/{}/connect", connect);
    route!(router, POST "/networks/{}/disconnect", disconnect);
    route!(router, GET "/networks/{}", inspect);
    route!(router, DELETE "/networks/{}", remove);
}

async fn list(state: State, request: Request) -> Result<Response> {
    let known = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = request.filters(&known)?;
    if let Some(kind) = filters
        .get("type")
        .iter()
        .find(|kind| !matches!(kind.as_str(), "builtin" | "custom"))
    {
        return Err(Error::internal(format!("invalid filter: 'type'='{kind}'")));
    }
    let used = used(&state);
    let networks = state.engine.networks.list();
    let networks = networks
        .iter()
        .filter(|network| matches(&filters, network, &used))
        .map(|network| {
            let mut wired = wire::network(network).lowered(request.version);
            if !request.at_least(28) {
                wire::fill_containers(&state, network, &mut wired);
            }
            wired
        });
    Ok(response::ok(&networks.collect::<Vec<_>>()))
}

/// The names of the networks that containers are in, running or not.
fn used(state: &State) -> Vec<String> {
    let containers = state.engine.containers.list();
    let ends = containers.iter().flat_map(|view| view.networks.iter());
    ends.map(|end| end.network.clone()).collect()
}

fn matches(filters: &Filters, network: &Network, used: &[String]) -> bool {
    let part = |name: &str, value: &str| {
        let wanted = filters.get(name);
        wanted.is_empty() || wanted.iter().any(|wanted| value.contains(wanted.as_str()))
    };
    let kind = if network.is_predefined {
        "builtin"
    } else {
        "custom"
    };
    let is_dangling = !network.is_predefined && !used.contains(&network.name);
    let dangling = filters.get("dangling").iter().all(|value| {
        let wanted = matches!(value.as_str(), "1" | "true");
        wanted == is_dangling
    });
    part("name", &network.name)
        && part("id", &network.id)
        && filters.matches_exactly("driver", network.driver.as_str())
        && filters.matches_exactly("scope", "local")
        && filters.matches_exactly("type", kind)
        && dangling
        && filters.passes_labels(|key| label(network, key))
}

fn label<'a>(network: &'a Network, key: &str) -> Option<&'a str> {
    network.labels.get(key).map(String::as_str)
}

async fn inspect(state: State, request: Request) -> Result<Response> {
    let scope = request.query.get("scope");
    let network = state.engine.networks.find(&request.name)?;
    if !matches!(scope, "" | "local") {
        return Err(Error::not_found(format!(
            "network {} not found",
            request.name
        )));
    }
    let mut wired = wire::network(&network);
    wire::fill_containers(&state, &network, &mut wired);
    wired.status = Some(wire::status(&network, &wired));
    Ok(response::ok(&wired.lowered(request.version)))
}

async fn create(state: State, mut request: Request) -> Result<Response> {
    let body: NetworkCreateRequest = request.json().await?;
    let network = state
        .engine
        .networks
        .create(wire::create_options(body))
        .await?;
    let answer = NetworkCreateResponse {
        id: network.id.clone(),
        warning: String::new(),
    };
    Ok(response::json(StatusCode::CREATED, &answer))
}

async fn connect(state: State, mut request: Request) -> Result<Response> {
    let reference = request.name.clone();
    let body: NetworkConnectRequest = request.json().await?;
    let network = state.engine.networks.find(&reference)?;
    let asked =
        match &body.endpoint_config {
            Some(settings) => super::container::attachment(&network.name, settings).map_err(
                |error| match error.kind() {
                    gantry_base::ErrorKind::InvalidParameter => {
                        error.prefixed(format!("invalid config for network {}", network.name))
                    }
                    _ => error,
                },
            )?,
            None => Attachment {
                network: network.name.clone(),
                ..Attachment::default()
            },
        };
    state
        .engine
        .containers
        .connect(&body.container, network, asked)
        .await?;
    Ok(response::status(StatusCode::OK))
}

async fn disconnect(state: State, mut request: Request) -> Result<Response> {
    let reference = request.name.clone();
    let body: NetworkDisconnectRequest = request.json().await?;
    let containers = &state.engine.containers;
    let name = match state.engine.networks.find(&reference) {
        Ok(network) => network.name.clone(),
        // A network that is gone may still stand in a container that does not run.
        Err(_) if body.force => reference,
        Err(error) => return Err(error),
    };
    containers.disconnect(&body.container, &name).await?;
    Ok(response::status(StatusCode::OK))
}

async fn remove(state: State, request: Request) -> Result<Response> {
    state.engine.networks.remove(&request.name).await?;
    Ok(response::no_content())
}

async fn prune(state: State, request: Request) -> Result<Response> {
    let filters = request.filters(&["label", "label!", "until"])?;
    let until = time::until_filter(&filters)?;
    let deleted = state
        .engine
        .networks
        .prune(&used(&state), |network| {
            until.is_none_or(|until| network.created_ns <= until)
                && filters.passes_labels(|key| label(network, key))
        })
        .await?;
    Ok(response::ok(&NetworksPruneReport {
        networks_deleted: (!deleted.is_empty()).then_some(deleted),
    }))
}
