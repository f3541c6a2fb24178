//! `/networks/…`

use super::{State, route};
use crate::app::Serve;
use crate::request::{Request, quoted};
use crate::response::{self, Response};
use crate::router::Router;
use crate::time;
use crate::version::Lowered as _;
use gantry_api::filters::Filters;
use gantry_api::types::{
    EndpointResource, Ipam, IpamConfig, IpamStatus, Network, NetworkStatus, NetworksPruneReport,
    SubnetStatus,
};
use gantry_base::{Error, ErrorKind, Result};
use gantry_engine::network::NetworkView;

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/networks", list);
    route!(router, GET "/networks/", list);
    route!(router, POST "/networks/prune", prune);
    route!(router, POST "/networks/create", create);
    route!(router, POST "/networks/{}/connect", change);
    route!(router, POST "/networks/{}/disconnect", change);
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
    let views = state.engine.networks.list();
    let networks = views
        .iter()
        .filter(|view| matches(&filters, view))
        .map(|view| {
            let mut network = wire(view).lowered(request.version);
            if !request.at_least(28) {
                fill_containers(&state, view, &mut network);
            }
            network
        });
    Ok(response::ok(&networks.collect::<Vec<_>>()))
}

/// The networks that there are have no labels, and none of them is dangling or custom.
fn matches(filters: &Filters, view: &NetworkView) -> bool {
    let part = |name: &str, value: &str| {
        let wanted = filters.get(name);
        wanted.is_empty() || wanted.iter().any(|wanted| value.contains(wanted.as_str()))
    };
    let custom_only = filters.has("type") && !filters.matches_exactly("type", "builtin");
    let dangling = filters
        .get("dangling")
        .iter()
        .any(|value| matches!(value.as_str(), "1" | "true"));
    part("name", &view.name)
        && part("id", &view.id)
        && filters.matches_exactly("driver", view.driver)
        && filters.matches_exactly("scope", "local")
        && !custom_only
        && !dangling
        && !filters.has("label")
}

async fn inspect(state: State, request: Request) -> Result<Response> {
    let scope = request.query.get("scope");
    let view = state.engine.networks.find(&request.name)?;
    if !matches!(scope, "" | "local") {
        return Err(Error::not_found(format!(
            "network {} not found",
            request.name
        )));
    }
    let mut network = wire(&view);
    network.containers = Some(std::collections::BTreeMap::new());
    fill_containers(&state, &view, &mut network);
    network.status = Some(status(&view, &network));
    Ok(response::ok(&network.lowered(request.version)))
}

fn wire(view: &NetworkView) -> Network {
    let config = view.subnet.map(|(subnet, gateway)| {
        vec![IpamConfig {
            subnet: subnet.to_string(),
            gateway: gateway.to_string(),
            ..Default::default()
        }]
    });
    Network {
        name: view.name.clone(),
        id: view.id.clone(),
        created: time::rfc3339(view.created_ns),
        scope: "local".into(),
        driver: view.driver.to_owned(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".into(),
            options: None,
            config,
        },
        options: view
            .options
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        ..Network::default()
    }
}

fn fill_containers(state: &State, view: &NetworkView, network: &mut Network) {
    let views = state.engine.containers.list();
    let members = state.engine.networks.members(&view.name, &views);
    let resources = members.into_iter().filter_map(|container| {
        let end = container
            .networks
            .iter()
            .find(|end| end.network == view.name)?;
        let address = end
            .address
            .map(|address| format!("{address}/{}", end.prefix_length));
        let (ipv6_address, ipv4_address) = match end.address {
            Some(own) if own.is_ipv6() => (address.unwrap_or_default(), String::new()),
            _ => (String::new(), address.unwrap_or_default()),
        };
        let resource = EndpointResource {
            name: container.name.as_str().to_owned(),
            endpoint_id: end.endpoint_id.clone(),
            mac_address: end.mac_address.clone(),
            ipv4_address,
            ipv6_address,
        };
        Some((container.id.to_string(), resource))
    });
    network.containers = Some(resources.collect());
}

/// How many addresses are taken: those of containers, the gateway's, and the two that no host may have.
fn status(view: &NetworkView, network: &Network) -> NetworkStatus {
    let subnets = view.subnet.iter().map(|(subnet, _)| {
        let containers = network.containers.iter().flatten().count() as u64;
        let size = 1_u64 << (32 - u32::from(subnet.prefix_len()));
        let ips_in_use = (containers + 3).min(size);
        let status = SubnetStatus {
            ips_in_use,
            dynamic_ips_available: size - ips_in_use,
        };
        (subnet.to_string(), status)
    });
    NetworkStatus {
        ipam: IpamStatus {
            subnets: subnets.collect(),
        },
    }
}

async fn create(_: State, mut request: Request) -> Result<Response> {
    let body: serde_json::Value = request.json().await?;
    let name = body
        .get("Name")
        .and_then(|name| name.as_str())
        .unwrap_or_default();
    match name.trim() {
        "" => Err(Error::invalid("invalid name: name is empty")),
        "bridge" | "host" | "none" | "default" => Err(Error::new(
            ErrorKind::Forbidden,
            format!("operation is not permitted on predefined {name} network "),
        )),
        _ => Err(Error::not_implemented(
            "creating networks is not supported yet",
        )),
    }
}

async fn change(state: State, request: Request) -> Result<Response> {
    let name = request.name.clone();
    state.engine.networks.find(&name)?;
    let name = quoted(&name);
    Err(Error::not_implemented(format!(
        "connecting containers to network {name} is not supported yet"
    )))
}

async fn remove(state: State, request: Request) -> Result<Response> {
    let view = state.engine.networks.find(&request.name)?;
    let text = format!(
        "{} is a pre-defined network and cannot be removed",
        view.name
    );
    Err(Error::new(ErrorKind::Forbidden, text))
}

/// The networks that there are cannot be removed.
async fn prune(_: State, request: Request) -> Result<Response> {
    request.filters(&["label", "label!", "until"])?;
    Ok(response::ok(&NetworksPruneReport::default()))
}
