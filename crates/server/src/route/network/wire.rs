//! Networks as the API shows them, and requests for them as options.

use super::super::State;
use crate::time;
use gantry_api::types::{
    ConfigReference, EndpointResource, Ipam, IpamConfig, IpamStatus, Network as Wire,
    NetworkCreateRequest, NetworkStatus, SubnetStatus,
};
use gantry_engine::network::{self, CreateNetwork, Network, SubnetConfig};

pub(super) fn network(network: &Network) -> Wire {
    let subnets = network.ipam.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.subnet.clone(),
        ip_range: subnet.ip_range.clone(),
        gateway: subnet.gateway.clone(),
        auxiliary_addresses: subnet.auxiliary_addresses.clone().into_iter().collect(),
    });
    let subnets: Vec<IpamConfig> = subnets.collect();
    Wire {
        name: network.name.clone(),
        id: network.id.clone(),
        created: time::rfc3339(network.created_ns),
        scope: "local".into(),
        driver: network.driver.as_str().to_owned(),
        enable_ipv4: network.has_ipv4,
        enable_ipv6: network.has_ipv6,
        ipam: Ipam {
            driver: network.ipam.driver.clone(),
            options: network
                .ipam
                .options
                .as_ref()
                .map(|options| options.clone().into_iter().collect()),
            config: (!subnets.is_empty()).then_some(subnets),
        },
        internal: network.is_internal,
        attachable: network.is_attachable,
        config_from: ConfigReference {
            network: network.config_from.clone(),
        },
        config_only: network.is_config_only,
        options: network.options.clone().into_iter().collect(),
        labels: network.labels.clone().into_iter().collect(),
        ..Wire::default()
    }
}

pub(super) fn fill_containers(state: &State, network: &Network, wire: &mut Wire) {
    let views = state.engine.containers.list();
    let members = state.engine.networks.members(&network.name, &views);
    let resources = members.into_iter().filter_map(|container| {
        let end = container
            .networks
            .iter()
            .find(|end| end.network == network.name)?;
        let text = |net: Option<String>| net.unwrap_or_default();
        let resource = EndpointResource {
            name: container.name.as_str().to_owned(),
            endpoint_id: end.endpoint_id.clone(),
            mac_address: end.mac_address.clone(),
            ipv4_address: text(end.ipv4.map(|net| net.to_string())),
            ipv6_address: text(end.ipv6.map(|net| net.to_string())),
        };
        Some((container.id.to_string(), resource))
    });
    wire.containers = Some(resources.collect());
}

/// How many addresses are taken: those of containers, of the gateway and others, and the two that no host may have.
pub(super) fn status(network: &Network, wire: &Wire) -> NetworkStatus {
    let subnets = network.subnets_in_use().into_iter().map(|(subnet, taken)| {
        let containers = wire.containers.iter().flatten().count() as u64;
        let length = u32::from(subnet.max_prefix_len() - subnet.prefix_len());
        let size = 1_u64.checked_shl(length).unwrap_or(u64::MAX);
        let ips_in_use = (containers + taken + 2).min(size);
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

pub(super) fn create_options(body: NetworkCreateRequest) -> CreateNetwork {
    let ipam = body.ipam.unwrap_or_default();
    let subnets = ipam
        .config
        .into_iter()
        .flatten()
        .map(|config| SubnetConfig {
            subnet: config.subnet,
            ip_range: config.ip_range,
            gateway: config.gateway,
            auxiliary_addresses: config.auxiliary_addresses.into_iter().collect(),
        });
    CreateNetwork {
        name: body.name,
        driver: body.driver,
        is_internal: body.internal,
        is_attachable: body.attachable,
        is_ingress: body.ingress,
        is_config_only: body.config_only,
        config_from: body.config_from.unwrap_or_default().network,
        scope: body.scope,
        has_ipv4: body.enable_ipv4,
        has_ipv6: body.enable_ipv6,
        ipam: network::IpamConfig {
            driver: ipam.driver,
            options: ipam.options.map(|options| options.into_iter().collect()),
            subnets: subnets.collect(),
        },
        options: body.options.into_iter().flatten().collect(),
        labels: body.labels.into_iter().flatten().collect(),
    }
}
