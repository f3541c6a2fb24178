//! `--network`, in its short form and as comma-separated pairs, with the older flags that describe the first network.

use super::value::{mac_is_valid, split_csv};
use crate::flag::Given;
use gantry_api::types::{EndpointIpamConfig, EndpointSettings};
use std::collections::BTreeMap;

/// One network to attach to.
#[derive(Debug, Clone, Default, PartialEq)]
struct Attachment {
    target: String,
    aliases: Vec<String>,
    driver_opts: BTreeMap<String, String>,
    links: Vec<String>,
    ipv4: String,
    ipv6: String,
    link_local_ips: Vec<String>,
    mac: String,
    gateway_priority: i64,
}

/// The mode of the first network, and the ends of all that need more than their name.
pub(super) struct Networks {
    pub(super) mode: String,
    pub(super) endpoints: BTreeMap<String, Option<EndpointSettings>>,
}

pub(super) fn check(text: &str) -> Result<(), String> {
    parse_attachment(text).map(|_| ())
}

/// Reads all `--network` and the flags that belong to the first.
pub(super) fn parse(given: &Given) -> Result<Networks, String> {
    let texts = given.list("network");
    let mut attachments = texts
        .iter()
        .map(|text| parse_attachment(text))
        .collect::<Result<Vec<_>, _>>()?;
    let is_default = attachments.is_empty();
    if is_default {
        attachments.push(Attachment {
            target: "default".into(),
            ..Attachment::default()
        });
    }
    let mode = attachments[0].target.clone();
    let mut endpoints = BTreeMap::new();
    let is_only = attachments.len() == 1;
    let user_defined: Vec<bool> = attachments
        .iter()
        .map(|one| is_user_defined(&one.target))
        .collect();
    for (index, mut attachment) in attachments.into_iter().enumerate() {
        if index == 0 {
            apply_flags(&mut attachment, given)?;
        }
        let target = attachment.target.clone();
        let settings = settings(attachment)?;
        if endpoints.contains_key(&target) {
            return Err(format!("network {target:?} is specified multiple times"));
        }
        if is_only && !is_default && settings == EndpointSettings::default() {
            continue;
        }
        endpoints.insert(target, Some(settings));
    }
    if !is_default && user_defined.contains(&true) && user_defined.contains(&false) {
        return Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".into());
    }
    Ok(Networks { mode, endpoints })
}

fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none" | "nat")
        && !name.starts_with("container:")
        && name != "container"
}

fn parse_attachment(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !is_long(text) {
        text.clone_into(&mut attachment.target);
        return Ok(attachment);
    }
    for field in split_csv(text)? {
        let lower = field.to_lowercase();
        let (key, value) = lower
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim().to_owned();
        match key.trim() {
            "name" => attachment.target = value,
            "alias" => attachment.aliases.push(value),
            "ip" => attachment.ipv4 = value,
            "ip6" => attachment.ipv6 = value,
            "mac-address" => attachment.mac = value,
            "link-local-ip" => attachment.link_local_ips.push(value),
            "driver-opt" => {
                let (key, value) = value
                    .split_once('=')
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or("invalid key value pair format in driver options")?;
                attachment
                    .driver_opts
                    .insert(key.trim().to_owned(), value.trim().to_owned());
            }
            "gw-priority" => {
                attachment.gateway_priority = value
                    .parse()
                    .map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if attachment.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(attachment)
}

/// Whether something like `key=value` is in the text: word characters on both sides of an equal sign.
fn is_long(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices('=')
        .any(|(at, _)| text[..at].ends_with(is_word) && text[at + 1..].starts_with(is_word))
}

fn apply_flags(attachment: &mut Attachment, given: &Given) -> Result<(), String> {
    let conflict = |flag: &str, what: &str| {
        Err(format!(
            "conflicting options: cannot specify both {flag} and per-network {what}"
        ))
    };
    let (aliases, links) = (given.list("network-alias"), given.list("link"));
    let (ipv4, ipv6, mac) = (
        given.text("ip"),
        given.text("ip6"),
        given.text("mac-address"),
    );
    let link_local = given.list("link-local-ip");
    if !attachment.aliases.is_empty() && !aliases.is_empty() {
        return conflict("--network-alias", "alias");
    }
    if !attachment.ipv4.is_empty() && !ipv4.is_empty() {
        return conflict("--ip", "IPv4 address");
    }
    if !attachment.ipv6.is_empty() && !ipv6.is_empty() {
        return conflict("--ip6", "IPv6 address");
    }
    if !attachment.mac.is_empty() && !mac.is_empty() {
        return conflict("--mac-address", "MAC address");
    }
    if !attachment.link_local_ips.is_empty() && !link_local.is_empty() {
        return conflict("--link-local-ip", "link-local IP addresses");
    }
    if !aliases.is_empty() {
        attachment.aliases = aliases.to_vec();
    }
    // On the default bridge a link is an option of the container, not of the network.
    if is_user_defined(&attachment.target) && !links.is_empty() {
        attachment.links = links.to_vec();
    }
    for (flag, field) in [
        (ipv4, &mut attachment.ipv4),
        (ipv6, &mut attachment.ipv6),
        (mac, &mut attachment.mac),
    ] {
        if !flag.is_empty() {
            flag.clone_into(field);
        }
    }
    if !link_local.is_empty() {
        attachment.link_local_ips = link_local
            .iter()
            .map(|text| super::value::parse_ip(text))
            .collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn settings(attachment: Attachment) -> Result<EndpointSettings, String> {
    if attachment.target.trim().is_empty() {
        return Err("no name set for network".into());
    }
    if !is_user_defined(&attachment.target) {
        if !attachment.aliases.is_empty() {
            return Err(
                "network-scoped aliases are only supported for user-defined networks".into(),
            );
        }
        if !attachment.links.is_empty() {
            return Err("links are only supported for user-defined networks".into());
        }
    }
    if !attachment.mac.is_empty() && !mac_is_valid(&attachment.mac) {
        return Err(format!("{} is not a valid mac address", attachment.mac));
    }
    let some_list = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let has_addresses = !attachment.ipv4.is_empty()
        || !attachment.ipv6.is_empty()
        || !attachment.link_local_ips.is_empty();
    Ok(EndpointSettings {
        ipam_config: has_addresses.then(|| EndpointIpamConfig {
            ipv4_address: attachment.ipv4,
            ipv6_address: attachment.ipv6,
            link_local_ips: some_list(attachment.link_local_ips),
        }),
        links: some_list(attachment.links),
        aliases: some_list(attachment.aliases),
        mac_address: attachment.mac,
        driver_opts: (!attachment.driver_opts.is_empty()).then_some(attachment.driver_opts),
        gw_priority: attachment.gateway_priority,
        ..EndpointSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_notation() {
        assert_eq!(parse_attachment("host").expect("is valid").target, "host");
        let one =
            parse_attachment("name=n,alias=a,alias=b,ip=10.0.0.2,driver-opt=k=v,gw-priority=3")
                .expect("is valid");
        assert_eq!(
            (one.target.as_str(), one.aliases.len(), one.gateway_priority),
            ("n", 2, 3)
        );
        assert_eq!(one.driver_opts["k"], "v");
        assert!(parse_attachment("alias=a").is_err());
        assert!(parse_attachment("name=n,foo=bar").is_err());
    }
}
