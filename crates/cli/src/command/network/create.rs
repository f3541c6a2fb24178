//! `docker network create`

use crate::command::{Arity, Command};
use crate::container_options::value::{split_csv, to_map};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use gantry_api::client::Request;
use gantry_api::types::{
    ConfigReference, Ipam, IpamConfig, NetworkCreateRequest, NetworkCreateResponse,
};
use ipnet::IpNet;
use std::net::IpAddr;

pub(crate) static COMMAND: Command = Command {
    group: "network",
    names: &["create"],
    top_level: None,
    arguments: "[OPTIONS] NETWORK",
    about: "Create a network",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("attachable", "Let containers be attached by hand (swarm)"),
        Flag::list(
            "aux-address",
            "Addresses that containers do not get, as NAME=IP",
        )
        .type_name("map"),
        Flag::text("config-from", "The network to take the configuration from"),
        Flag::boolean(
            "config-only",
            "Only lend the configuration to other networks",
        ),
        Flag::text("driver", "What makes the network")
            .short('d')
            .default("\"bridge\""),
        Flag::list("gateway", "The host's IPv4 or IPv6 address on the network")
            .type_name("strings"),
        Flag::boolean("ingress", "Make the swarm's routing network"),
        Flag::boolean("internal", "Let nothing leave the network"),
        Flag::list(
            "ip-range",
            "The part of the subnet that containers' addresses come from",
        )
        .type_name("strings"),
        Flag::text("ipam-driver", "What hands addresses out").default("\"default\""),
        Flag::list("ipam-opt", "Options of the driver of addresses").type_name("map"),
        Flag::boolean("ipv4", "Hand out IPv4 addresses").default("true"),
        Flag::boolean("ipv6", "Hand out IPv6 addresses"),
        Flag::list("label", "Label of the network"),
        Flag::list("opt", "Options of the driver")
            .short('o')
            .type_name("map"),
        Flag::text("scope", "Where the network exists"),
        Flag::list("subnet", "The network's addresses, as 10.0.0.0/24").type_name("strings"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let body = request(given).map_err(Failure::new)?;
    let client = session.client()?;
    session.block_on(async {
        let request = Request::post("/networks/create").json(&body)?;
        let answer: NetworkCreateResponse = client.send(request).await?.json().await?;
        if !answer.warning.is_empty() {
            output::print_error_line(&format!("WARNING: {}", answer.warning));
        }
        output::print_line(&answer.id);
        Ok(())
    })
}

fn request(given: &Given) -> Result<NetworkCreateRequest, String> {
    let or = |name: &str, default: &str| match given.text(name) {
        "" => default.to_owned(),
        text => text.to_owned(),
    };
    let asked = |name: &str| given.is_given(name).then(|| given.bool(name));
    let config_from = given.text("config-from");
    Ok(NetworkCreateRequest {
        name: given.arguments[0].clone(),
        driver: or("driver", "bridge"),
        scope: given.text("scope").to_owned(),
        enable_ipv4: asked("ipv4"),
        enable_ipv6: asked("ipv6"),
        ipam: Some(Ipam {
            driver: or("ipam-driver", "default"),
            options: Some(to_map(given.list("ipam-opt"))),
            config: Some(subnets(given)?),
        }),
        internal: given.bool("internal"),
        attachable: given.bool("attachable"),
        ingress: given.bool("ingress"),
        config_only: given.bool("config-only"),
        config_from: (!config_from.is_empty()).then(|| ConfigReference {
            network: config_from.to_owned(),
        }),
        options: Some(to_map(given.list("opt"))),
        labels: Some(to_map(given.list("label"))),
    })
}

/// Ranges, gateways and auxiliary addresses belong to the subnet that they are in.
fn subnets(given: &Given) -> Result<Vec<IpamConfig>, String> {
    let texts = |name: &str| -> Result<Vec<String>, String> {
        let mut texts = Vec::new();
        for text in given.list(name) {
            texts.extend(split_csv(text)?);
        }
        Ok(texts)
    };
    let (subnets, ranges, gateways) = (texts("subnet")?, texts("ip-range")?, texts("gateway")?);
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    if let [subnet] = subnets.as_slice()
        && ranges.is_empty()
        && gateways.is_empty()
        && given.list("aux-address").is_empty()
    {
        // Nothing to sort, so the daemon says what is wrong with it.
        return Ok(vec![IpamConfig {
            subnet: subnet.clone(),
            ..IpamConfig::default()
        }]);
    }
    let mut configs: Vec<(IpNet, IpamConfig)> = Vec::new();
    for subnet in subnets {
        let net = network(&subnet)?;
        let overlaps =
            |(other, _): &(IpNet, IpamConfig)| other.contains(&net) || net.contains(other);
        if configs.iter().any(overlaps) {
            return Err("multiple overlapping subnet configuration is not supported".into());
        }
        configs.push((
            net,
            IpamConfig {
                subnet,
                ..IpamConfig::default()
            },
        ));
    }
    for range in ranges {
        let address = network(&range)?.addr();
        let config = find(&mut configs, address)
            .ok_or_else(|| format!("no matching subnet for range {range}"))?;
        if !config.ip_range.is_empty() {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                config.ip_range, config.subnet
            ));
        }
        config.ip_range = range;
    }
    for gateway in gateways {
        let config = parse(&gateway)
            .and_then(|address| find(&mut configs, address))
            .ok_or_else(|| format!("no matching subnet for gateway {gateway}"))?;
        if !config.gateway.is_empty() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                config.gateway, config.subnet
            ));
        }
        config.gateway = gateway;
    }
    for (name, address) in to_map(given.list("aux-address")) {
        let config = parse(&address)
            .and_then(|ip| find(&mut configs, ip))
            .ok_or_else(|| format!("no matching subnet for aux-address {address}"))?;
        config.auxiliary_addresses.insert(name, address);
    }
    Ok(configs.into_iter().map(|(_, config)| config).collect())
}

fn find(configs: &mut [(IpNet, IpamConfig)], address: IpAddr) -> Option<&mut IpamConfig> {
    configs
        .iter_mut()
        .find(|(net, _)| net.contains(&address))
        .map(|(_, config)| config)
}

fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .map_err(|_| format!("invalid CIDR address: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[(&'static str, &[&str])]) -> Result<Vec<IpamConfig>, String> {
        let mut given = Given::default();
        for (name, values) in flags {
            given.insert(name, values.iter().map(|&value| value.to_owned()).collect());
        }
        subnets(&given)
    }

    #[test]
    fn each_address_goes_to_its_subnet() {
        let configs = read(&[
            ("subnet", &["10.0.0.0/24", "fd00::/64"]),
            ("gateway", &["fd00::9,10.0.0.9"]),
            ("ip-range", &["10.0.0.128/25"]),
            ("aux-address", &["a=10.0.0.7"]),
        ])
        .expect("is valid");
        assert_eq!(configs[0].gateway, "10.0.0.9");
        assert_eq!(configs[0].ip_range, "10.0.0.128/25");
        assert_eq!(configs[0].auxiliary_addresses["a"], "10.0.0.7");
        assert_eq!(configs[1].gateway, "fd00::9");
        let text = |flags: &[(&'static str, &[&str])]| read(flags).expect_err("is refused");
        assert_eq!(
            text(&[("gateway", &["10.0.0.1"])]),
            "every ip-range or gateway must have a corresponding subnet"
        );
        assert_eq!(
            text(&[("subnet", &["10.0.0.0/24"]), ("gateway", &["10.1.0.1"])]),
            "no matching subnet for gateway 10.1.0.1"
        );
        assert_eq!(
            text(&[("subnet", &["10.0.0.0/24", "10.0.0.0/25"])]),
            "multiple overlapping subnet configuration is not supported"
        );
    }
}
