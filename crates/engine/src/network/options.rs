//! The options of a bridge network, in Docker's names and words.

use super::BridgeFacts;
use crate::settings::Settings;
use gantry_base::{Error, Result};
use gantry_network::firewall::GatewayMode;
use indexmap::IndexMap;
use std::net::IpAddr;

/// What makes one bridge differ from another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BridgeOptions {
    /// Name of the interface.
    pub(crate) interface: String,
    pub(crate) allows_inter_container: bool,
    pub(crate) masquerades: bool,
    /// Address that published ports bind to where none is named.
    pub(crate) host_ip: Option<IpAddr>,
    /// None: that of the default route.
    pub(crate) mtu: Option<u32>,
    /// The bridge has no IPv4 address of its own.
    pub(crate) inhibits_ipv4: bool,
    pub(crate) mode_v4: GatewayMode,
    pub(crate) mode_v6: GatewayMode,
    /// Of the containers' interfaces.
    pub(crate) interface_prefix: String,
    /// Interfaces of the host from which published ports are reachable at the containers' own addresses.
    pub(crate) trusted_interfaces: Vec<String>,
}

impl BridgeOptions {
    /// Those of the default bridge, which follow from the daemon's settings.
    pub(super) fn of_default(settings: &Settings, facts: &BridgeFacts) -> Self {
        Self {
            interface: facts.name.clone(),
            allows_inter_container: settings.inter_container_communication,
            masquerades: settings.masquerade,
            host_ip: None,
            mtu: Some(facts.mtu),
            inhibits_ipv4: false,
            mode_v4: GatewayMode::Nat,
            mode_v6: GatewayMode::Nat,
            interface_prefix: "eth".to_owned(),
            trusted_interfaces: Vec::new(),
        }
    }

    /// Reads the options of a network to be made; what nobody knows is kept for inspect, as in Docker.
    pub(super) fn parse(
        options: &IndexMap<String, String>,
        id: &str,
        is_internal: bool,
    ) -> Result<Self> {
        let mut parsed = Self {
            interface: format!("br-{}", &id[..12]),
            allows_inter_container: true,
            masquerades: true,
            host_ip: None,
            mtu: None,
            inhibits_ipv4: false,
            mode_v4: GatewayMode::Nat,
            mode_v6: GatewayMode::Nat,
            interface_prefix: "eth".to_owned(),
            trusted_interfaces: Vec::new(),
        };
        for (key, value) in options {
            parsed.set(key, value)?;
        }
        let is_isolated = |mode| mode == GatewayMode::Isolated;
        if !is_internal && (is_isolated(parsed.mode_v4) || is_isolated(parsed.mode_v6)) {
            return Err(Error::internal(
                "gateway mode 'isolated' can only be used for an internal network",
            ));
        }
        Ok(parsed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some(name) = key.strip_prefix("com.docker.network.") else {
            return Ok(());
        };
        match name {
            "bridge.name" => {
                gantry_network::link::check_name(value)?;
                value.clone_into(&mut self.interface);
            }
            "bridge.enable_icc" => self.allows_inter_container = boolean(key, value)?,
            "bridge.enable_ip_masquerade" => self.masquerades = boolean(key, value)?,
            "bridge.inhibit_ipv4" => self.inhibits_ipv4 = boolean(key, value)?,
            "bridge.host_binding_ipv4" => {
                let address = value.parse().ok();
                self.host_ip = Some(address.ok_or_else(|| unreadable(key, value, "nil ip"))?);
            }
            "bridge.gateway_mode_ipv4" => self.mode_v4 = gateway_mode(key, value)?,
            "bridge.gateway_mode_ipv6" => self.mode_v6 = gateway_mode(key, value)?,
            "driver.mtu" => self.mtu = mtu(key, value)?,
            "container_iface_prefix" => value.clone_into(&mut self.interface_prefix),
            // Between colons; a name that no interface can have, or has, never matches.
            "bridge.trusted_host_interfaces" => {
                self.trusted_interfaces = value
                    .split(':')
                    .filter(|name| gantry_network::link::check_name(name).is_ok())
                    .map(str::to_owned)
                    .collect();
            }
            "bridge.default_bridge" if boolean(key, value)? => {
                return Err(Error::not_implemented(format!(
                    "network option {key}=true is not supported"
                )));
            }
            _ => {}
        }
        Ok(())
    }
}

fn gateway_mode(key: &str, value: &str) -> Result<GatewayMode> {
    match value {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(unreadable(
            key,
            value,
            &format!("unknown gateway mode {value}"),
        )),
    }
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(unreadable(key, value, &go_syntax("ParseBool", value))),
    }
}

/// Zero is the default.
fn mtu(key: &str, value: &str) -> Result<Option<u32>> {
    let number: i64 = value
        .parse()
        .map_err(|_| unreadable(key, value, &go_syntax("Atoi", value)))?;
    match u32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(mtu) => Ok(Some(mtu)),
        Err(_) => Err(Error::invalid(format!("invalid MTU number: {value}"))),
    }
}

fn go_syntax(function: &str, value: &str) -> String {
    format!("strconv.{function}: parsing {value:?}: invalid syntax")
}

fn unreadable(key: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("failed to parse {key} value: {value} ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<BridgeOptions> {
        let options = IndexMap::from([(format!("com.docker.network.{key}"), value.to_owned())]);
        BridgeOptions::parse(&options, &"0123456789ab".repeat(6), false)
    }

    #[test]
    fn options_are_read_or_refused_in_dockers_words() {
        let plain = parse("unknown", "x").expect("is kept for inspect");
        assert_eq!(plain.interface, "br-0123456789ab");
        assert!(
            !parse("bridge.enable_icc", "false")
                .expect("is valid")
                .allows_inter_container
        );
        assert_eq!(
            parse("driver.mtu", "1400").expect("is valid").mtu,
            Some(1400)
        );
        for (key, value, text) in [
            (
                "bridge.enable_icc",
                "x",
                "failed to parse com.docker.network.bridge.enable_icc value: x (strconv.ParseBool: parsing \"x\": invalid syntax)",
            ),
            (
                "driver.mtu",
                "x",
                "failed to parse com.docker.network.driver.mtu value: x (strconv.Atoi: parsing \"x\": invalid syntax)",
            ),
            ("driver.mtu", "-1", "invalid MTU number: -1"),
            (
                "bridge.gateway_mode_ipv4",
                "x",
                "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: x (unknown gateway mode x)",
            ),
            (
                "bridge.gateway_mode_ipv4",
                "isolated",
                "gateway mode 'isolated' can only be used for an internal network",
            ),
            (
                "bridge.host_binding_ipv4",
                "x",
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: x (nil ip)",
            ),
        ] {
            assert_eq!(parse(key, value).expect_err("is refused").to_string(), text);
        }
    }
}
