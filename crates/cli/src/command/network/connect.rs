//! `docker network connect`

use crate::command::{Arity, Command};
use crate::container_options::value::{split_csv, to_map};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_api::types::{EndpointIpamConfig, EndpointSettings, NetworkConnectRequest};

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["connect"],
    top_level: None,
    arguments: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    arity: Arity::Exactly(2),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::list("alias", "Further name of the container on the network").type_name("strings"),
        Flag::list("driver-opt", "Options of the network's driver").type_name("strings"),
        Flag::integer(
            "gw-priority",
            "The network with the highest has the default route",
        ),
        Flag::text("ip", "IPv4 address (e.g., \"172.30.100.104\")"),
        Flag::text("ip6", "IPv6 address (e.g., \"2001:db8::33\")"),
        Flag::list("link", "Another name for another container"),
        Flag::list("link-local-ip", "Link-local address for the container").type_name("strings"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let [network, container] = [&given.arguments[0], &given.arguments[1]];
    let strings = |name: &str| -> Result<Vec<String>, Failure> {
        let mut texts = Vec::new();
        for text in given.list(name) {
            texts.extend(split_csv(text).map_err(Failure::new)?);
        }
        Ok(texts)
    };
    let options = strings("driver-opt")?;
    if options.iter().any(|option| !option.contains('=')) {
        return Err(Failure::new(
            "invalid key/value pair format in driver options",
        ));
    }
    let (links, link_local) = (given.list("link").to_vec(), strings("link-local-ip")?);
    let body = NetworkConnectRequest {
        container: container.clone(),
        endpoint_config: Some(EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: given.text("ip").to_owned(),
                ipv6_address: given.text("ip6").to_owned(),
                link_local_ips: (!link_local.is_empty()).then_some(link_local),
            }),
            links: (!links.is_empty()).then_some(links),
            aliases: Some(strings("alias")?),
            driver_opts: Some(to_map(&options)),
            gw_priority: given.integer("gw-priority"),
            ..EndpointSettings::default()
        }),
    };
    let client = session.client()?;
    session.block_on(async {
        let request = Request::post(path("networks", network, "connect")).json(&body)?;
        client.send(request).await?.bytes().await?;
        Ok(())
    })
}
