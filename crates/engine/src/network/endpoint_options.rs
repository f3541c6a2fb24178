//! What an endpoint asks of its interface: a name, settings of the kernel, link-local addresses; in dockerd's words where it cannot be.

use super::Network;
use super::endpoint::EndpointClaim;
use crate::container::config::Attachment;
use gantry_base::{Error, ErrorKind, Result};
use gantry_network::link;
use ipnet::IpNet;
use std::net::IpAddr;

const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// The name that the driver's option asks for, else the first free number after the network's prefix.
pub(super) fn free_interface(
    network: &Network,
    asked: &Attachment,
    others: &[EndpointClaim],
) -> Result<String> {
    let is_taken = |name: &str| others.iter().any(|other| other.interface == name);
    if let Some(name) = option(asked, INTERFACE_NAME).filter(|name| !name.is_empty()) {
        if is_taken(name) {
            return Err(Error::conflict(format!(
                "interface name {name} is already in use"
            )));
        }
        return Ok(name.to_owned());
    }
    let prefix = network
        .bridge
        .as_ref()
        .map_or("eth", |options| options.interface_prefix.as_str());
    (0..=others.len())
        .map(|number| format!("{prefix}{number}"))
        .find(|name| !is_taken(name))
        .ok_or_else(|| Error::internal("no interface name is free"))
}

impl EndpointClaim {
    /// Says what the kernel would say, before anything has been made.
    pub(super) fn check_options(&self) -> Result<()> {
        if let Some(address) = self.asked_link_local().find(|ip| !is_link_local(*ip)) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("invalid link local IP address: {address}"),
            ));
        }
        let (host, name) = (self.host_name(), &self.interface);
        let not_added = |why: String| {
            Error::internal(format!("failed to add interface {host} to sandbox: {why}"))
        };
        let problem = match name.as_str() {
            _ if name.len() > link::NAME_BYTES_MAX => Some("numerical result out of range"),
            "lo" => Some("file exists"),
            _ if link::check_name(name).is_err() => Some("invalid argument"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(not_added(format!(
                "error renaming interface {host:?} to {name:?}: {problem}"
            )));
        }
        for setting in self.asked_sysctls() {
            setting_of(&setting, name).map_err(not_added)?;
        }
        Ok(())
    }

    /// Settings below `/proc/sys/net`, with their values.
    pub(super) fn sysctls(&self) -> Vec<(String, String)> {
        self.asked_sysctls()
            .filter_map(|setting| setting_of(&setting, &self.interface).ok())
            .collect()
    }

    /// With the lengths of their prefixes, which are fixed.
    pub(super) fn link_local(&self) -> Vec<IpNet> {
        self.asked_link_local()
            .filter_map(|ip| IpNet::new(ip, if ip.is_ipv4() { 16 } else { 64 }).ok())
            .collect()
    }

    /// dockerd takes them in any case, and so do we.
    fn asked_sysctls(&self) -> impl Iterator<Item = String> {
        let text = option(&self.asked, SYSCTLS).unwrap_or_default();
        text.split(',')
            .filter(|setting| !setting.is_empty())
            .map(str::to_ascii_lowercase)
    }

    fn asked_link_local(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.asked.addresses.iter();
        addresses.flat_map(|asked| asked.link_local.iter().copied())
    }
}

fn option<'a>(asked: &'a Attachment, key: &str) -> Option<&'a str> {
    let options = asked.driver_options.as_ref()?;
    options.get(key).map(String::as_str)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// `net.ipv4.conf.ifname.log_martians=1` as a path below `/proc/sys/net` and a value.
fn setting_of(setting: &str, interface: &str) -> std::result::Result<(String, String), String> {
    let Some((name, value)) = setting.split_once('=') else {
        return Err(format!(
            "expected sysctl '{setting}' to have format name=value"
        ));
    };
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["net", family, group, "ifname", last]
            if [family, group, last].into_iter().all(|part| is_plain(part)) =>
        {
            Ok((
                format!("{family}/{group}/{interface}/{last}"),
                value.to_owned(),
            ))
        }
        _ => Err(format!(
            "expected sysctl '{setting}' to have format net.X.Y.IFNAME.Z"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_one_file_of_the_interface() {
        let setting = |text| setting_of(text, "eth0");
        assert_eq!(
            setting("net.ipv4.conf.ifname.log_martians=1"),
            Ok(("ipv4/conf/eth0/log_martians".into(), "1".into()))
        );
        assert_eq!(
            setting("net.ipv4.conf.ifname.log_martians"),
            Err(
                "expected sysctl 'net.ipv4.conf.ifname.log_martians' to have format name=value"
                    .into()
            )
        );
        for bad in [
            "net.ipv4.conf.ifname.x.y=1",
            "net.ipv4.conf.ifname.=1",
            "net.ipv4.conf.ifname.a/b=1",
            "net.ipv4.conf/../x.ifname.a=1",
            "net.ipv4.conf.eth1.a=1",
        ] {
            assert_eq!(
                setting(bad),
                Err(format!(
                    "expected sysctl '{bad}' to have format net.X.Y.IFNAME.Z"
                ))
            );
        }
    }
}
