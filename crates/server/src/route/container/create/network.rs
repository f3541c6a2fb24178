//! The network of a request: mode, conflicts of options, name resolution, endpoint settings, in dockerd's words.

use super::ports;
use gantry_api::types::{
    ContainerConfig, EndpointIpamConfig, EndpointSettings, HostConfig, NetworkingConfig,
};
use gantry_base::{Error, Result};
use gantry_engine::container::config::{AskedAddresses, Attachment, NetworkConfig};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IFNAME: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Conflicts between options, which dockerd looks for before anything else.
pub(super) fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if host.network_mode == "container" || host.network_mode.starts_with("container:") {
        if host
            .network_mode
            .strip_prefix("container:")
            .is_none_or(str::is_empty)
        {
            let text = "invalid network mode: invalid container format container:<name|id>";
            return Err(Error::invalid(text));
        }
        let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let published = host.publish_all_ports
            || host
                .port_bindings
                .as_ref()
                .is_some_and(|ports| !ports.is_empty());
        let conflicts = [
            (!config.hostname.is_empty(), "hostname and the network mode"),
            (
                given(&host.links),
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            (given(&host.dns), "dns and the network mode"),
            (
                given(&host.extra_hosts),
                "custom host-to-IP mapping and the network mode",
            ),
            (
                published,
                "port publishing and the container type network mode",
            ),
            (
                !config.exposed_ports.is_empty(),
                "port exposing and the container type network mode",
            ),
        ];
        if let Some((_, what)) = conflicts.iter().find(|(is, _)| *is) {
            return Err(Error::invalid(format!("conflicting options: {what}")));
        }
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(Error::invalid(
            "conflicting options: hostname and the UTS mode",
        ));
    }
    Ok(())
}

/// Whether the first network of a request is one that a user made.
pub(super) fn has_names(host: &HostConfig) -> bool {
    let mode = host.network_mode.as_str();
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// The network of a request.
pub(super) fn convert(
    config: &ContainerConfig,
    host: &HostConfig,
    networking: &NetworkingConfig,
    warnings: &mut Vec<String>,
) -> Result<NetworkConfig> {
    let mode = match host.network_mode.as_str() {
        "" | "default" => "bridge",
        other => other,
    };
    let mut network = NetworkConfig {
        mode: mode.to_owned(),
        mode_as_given: mode.to_owned(),
        publish_all: host.publish_all_ports,
        dns_search: host.dns_search.clone().unwrap_or_default(),
        dns_options: host.dns_options.clone().unwrap_or_default(),
        extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
        ..NetworkConfig::default()
    };
    if !mode.starts_with("container:") {
        network.attachments.push(Attachment {
            network: mode.to_owned(),
            ..Attachment::default()
        });
    }
    for line in &network.extra_hosts {
        check_extra_host(line)?;
    }
    if let Some(bindings) = &host.port_bindings {
        network.port_bindings = ports::bindings(bindings)?;
    }
    for address in host.dns.iter().flatten() {
        let parsed = address.parse::<IpAddr>();
        let parsed =
            parsed.map_err(|_| Error::invalid(format!("invalid DNS address: {address}")))?;
        network.dns.push(parsed);
    }
    container_wide_mac(config, &mut network, networking, warnings)?;
    let endpoints = networking.endpoints_config.iter().flatten();
    for (name, settings) in endpoints {
        let name = if name == "default" {
            mode
        } else {
            name.as_str()
        };
        let prefix = format!("invalid config for network {name}");
        let Some(settings) = settings else {
            return Err(Error::invalid(format!("{prefix}: EndpointsConfig is nil")));
        };
        let attachment = attachment(name, settings).map_err(|error| match error.kind() {
            gantry_base::ErrorKind::InvalidParameter => error.prefixed(&prefix),
            _ => error,
        })?;
        if name == mode {
            // The network of the mode is the first.
            let main = main_attachment(&mut network);
            let mac_address = attachment.mac_address.clone().or(main.mac_address.take());
            *main = Attachment {
                mac_address,
                ..attachment
            };
        } else {
            network.attachments.push(attachment);
        }
    }
    Ok(network)
}

/// `Config.MacAddress`, which from version 1.44 belongs into the endpoint's settings.
fn container_wide_mac(
    config: &ContainerConfig,
    network: &mut NetworkConfig,
    networking: &NetworkingConfig,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if config.mac_address.is_empty() {
        return Ok(());
    }
    let endpoints = networking.endpoints_config.iter().flatten();
    let other = endpoints
        .filter_map(|(_, settings)| settings.as_ref())
        .find(|s| !s.mac_address.is_empty() && s.mac_address != config.mac_address);
    if other.is_some() {
        return Err(Error::invalid(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
        ));
    }
    if !matches!(network.mode.as_str(), "host" | "none") && !network.mode.starts_with("container:")
    {
        let prefix = format!("invalid config for network {}", network.mode);
        check_mac(&config.mac_address).map_err(|error| error.prefixed(prefix))?;
        main_attachment(network).mac_address = Some(config.mac_address.clone());
    }
    warnings.push("The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.".into());
    Ok(())
}

fn main_attachment(network: &mut NetworkConfig) -> &mut Attachment {
    if network.attachments.is_empty() {
        network.attachments.push(Attachment::default());
    }
    &mut network.attachments[0]
}

/// What a request says of one network, in dockerd's words where it is wrong.
pub(in crate::route) fn attachment(name: &str, settings: &EndpointSettings) -> Result<Attachment> {
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let is_user_defined = !matches!(name, "bridge" | "host" | "none" | "default");
    let mut problems = Vec::new();
    let has_address = !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty();
    if !is_user_defined && has_address {
        problems.push(
            "user specified IP address is supported on user defined networks only".to_owned(),
        );
    }
    if !is_user_defined && settings.aliases.iter().flatten().count() > 0 {
        problems.push(
            "network-scoped alias is supported only for containers in user defined networks"
                .to_owned(),
        );
    }
    if !ipam.ipv4_address.is_empty() && ipam.ipv4_address.parse::<Ipv4Addr>().is_err() {
        problems.push(format!("invalid IPv4 address: {}", ipam.ipv4_address));
    }
    if !ipam.ipv6_address.is_empty() && ipam.ipv6_address.parse::<Ipv6Addr>().is_err() {
        problems.push(format!("invalid IPv6 address: {}", ipam.ipv6_address));
    }
    let (link_local, damaged) = link_local(&ipam);
    problems.extend(damaged);
    problems.extend(unknown_sysctls(settings));
    if !settings.mac_address.is_empty() {
        check_mac(&settings.mac_address)?;
    }
    match problems.as_slice() {
        [] => {}
        [one] => return Err(Error::invalid(format!("invalid endpoint settings:\n{one}"))),
        many => {
            let lines: Vec<String> = many.iter().map(|text| format!("* {text}")).collect();
            return Err(Error::invalid(format!(
                "invalid endpoint settings:\n{}",
                lines.join("\n")
            )));
        }
    }
    refuse_endpoint_options(settings)?;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(Attachment {
        network: name.to_owned(),
        addresses: settings.ipam_config.as_ref().map(|_| AskedAddresses {
            ipv4: ipam.ipv4_address.parse().ok(),
            ipv6: ipam.ipv6_address.parse().ok(),
            link_local,
        }),
        aliases: settings.aliases.clone(),
        links: settings.links.clone(),
        mac_address: text(&settings.mac_address),
        driver_options: settings
            .driver_opts
            .as_ref()
            .map(|options| options.clone().into_iter().collect()),
        gateway_priority: settings.gw_priority,
    })
}

/// The link-local addresses of a request, and what is wrong with the others.
fn link_local(ipam: &EndpointIpamConfig) -> (Vec<IpAddr>, Vec<String>) {
    let (mut addresses, mut problems) = (Vec::new(), Vec::new());
    for text in ipam.link_local_ips.iter().flatten() {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => problems.push(format!("invalid link-local IP address: {text}")),
        }
    }
    (addresses, problems)
}

/// Settings that are not of the endpoint's interface.
fn unknown_sysctls(settings: &EndpointSettings) -> Vec<String> {
    let Some(text) = settings
        .driver_opts
        .as_ref()
        .and_then(|options| options.get(SYSCTLS))
    else {
        return Vec::new();
    };
    let is_known = |setting: &str| {
        let mut parts = setting.splitn(5, '.');
        let mut next = || parts.next().unwrap_or_default();
        let (net, family, group, interface, rest) = (next(), next(), next(), next(), next());
        net == "net"
            && matches!(family, "ipv4" | "ipv6" | "mpls")
            && !group.is_empty()
            && interface == "ifname"
            && !rest.is_empty()
    };
    text.to_ascii_lowercase()
        .split(',')
        .filter(|setting| !is_known(setting))
        .map(|setting| format!("unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"))
        .collect()
}

fn refuse_endpoint_options(settings: &EndpointSettings) -> Result<()> {
    let mut options = settings.driver_opts.iter().flatten();
    match options.find(|(key, _)| {
        key.starts_with("com.docker.network.endpoint.")
            && ![IFNAME, SYSCTLS].contains(&key.as_str())
    }) {
        Some((key, _)) => Err(Error::not_implemented(format!(
            "endpoint option {key} is not supported yet"
        ))),
        None => Ok(()),
    }
}

fn check_mac(text: &str) -> Result<()> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let hexadecimal = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(hexadecimal) {
        return Ok(());
    }
    Err(Error::invalid(format!("invalid MAC address {text}")))
}

fn check_extra_host(line: &str) -> Result<()> {
    let quoted = crate::request::quoted;
    match line.split_once(':') {
        None | Some(("", _)) => Err(Error::invalid(format!(
            "bad format for add-host: {}",
            quoted(line)
        ))),
        Some((_, "host-gateway")) => Ok(()),
        Some((_, address)) => {
            let bare = address
                .strip_prefix('[')
                .and_then(|a| a.strip_suffix(']'))
                .unwrap_or(address);
            match bare.parse::<IpAddr>() {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::invalid(format!(
                    "invalid IP address in add-host: {}",
                    quoted(address)
                ))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_endpoint(name: &str, settings: Option<EndpointSettings>) -> Result<NetworkConfig> {
        let endpoints_config = Some([(name.to_owned(), settings)].into());
        let networking = NetworkingConfig { endpoints_config };
        convert(
            &ContainerConfig::default(),
            &HostConfig::default(),
            &networking,
            &mut Vec::new(),
        )
    }

    #[test]
    fn endpoint_settings_are_refused_in_dockers_words() {
        let text = |settings| {
            with_endpoint("bridge", settings)
                .expect_err("is invalid")
                .to_string()
        };
        let base = EndpointSettings::default;
        assert_eq!(
            text(None),
            "invalid config for network bridge: EndpointsConfig is nil"
        );
        assert_eq!(
            text(Some(EndpointSettings {
                mac_address: "x".into(),
                ..base()
            })),
            "invalid config for network bridge: invalid MAC address x"
        );
        assert_eq!(
            text(Some(EndpointSettings {
                aliases: Some(vec!["x".into()]),
                ..base()
            })),
            "invalid config for network bridge: invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks"
        );
        let ipam_config = Some(EndpointIpamConfig {
            ipv4_address: "10.0.0.1".into(),
            ..EndpointIpamConfig::default()
        });
        assert_eq!(
            text(Some(EndpointSettings {
                ipam_config,
                ..base()
            })),
            "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only"
        );
    }

    #[test]
    fn the_default_network_has_two_names() {
        let settings = EndpointSettings {
            mac_address: "02:42:ac:11:00:05".into(),
            ..EndpointSettings::default()
        };
        let network = with_endpoint("default", Some(settings)).expect("is valid");
        assert_eq!(
            (
                network.mode.as_str(),
                network.attachments[0].mac_address.as_deref()
            ),
            ("bridge", Some("02:42:ac:11:00:05"))
        );
    }

    #[test]
    fn a_shared_network_excludes_options_of_its_own() {
        let host = |network_mode: &str| HostConfig {
            network_mode: network_mode.into(),
            ..HostConfig::default()
        };
        let config = |hostname: &str| ContainerConfig {
            hostname: hostname.into(),
            ..ContainerConfig::default()
        };
        let text = |config, host| {
            check(&config, &host)
                .expect_err("is a conflict")
                .to_string()
        };
        assert_eq!(
            text(config(""), host("container:")),
            "invalid network mode: invalid container format container:<name|id>"
        );
        assert_eq!(
            text(config("x"), host("container:y")),
            "conflicting options: hostname and the network mode"
        );
        let uts = HostConfig {
            uts_mode: "host".into(),
            ..HostConfig::default()
        };
        assert_eq!(
            text(config("x"), uts),
            "conflicting options: hostname and the UTS mode"
        );
        assert!(check(&config("x"), &host("bridge")).is_ok());
    }

    #[test]
    fn extra_hosts_are_refused_in_dockers_words() {
        let text = |line: &str| check_extra_host(line).expect_err("is invalid").to_string();
        assert_eq!(text("a"), "bad format for add-host: \"a\"");
        assert_eq!(text("a:b"), "invalid IP address in add-host: \"b\"");
        for good in ["a:1.2.3.4", "a:::1", "a:[::1]", "a:host-gateway"] {
            assert!(check_extra_host(good).is_ok(), "{good}");
        }
    }
}
