//! Options as they were said → the engine's settings, parsed and checked.

use super::Options;
use gantry_base::{Error, Result};
use gantry_engine::container::config::Ulimit;
use gantry_engine::settings::{AddressPool, Proxies, Settings, parse_address_pool, parse_size};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;

/// Layers that move at one time, at most.
const TRANSFERS_MAX: usize = 64;

/// Checks every value.
///
/// # Errors
/// A value that cannot be read, with the key's name.
pub(crate) fn to_settings(options: &Options, shim: &Path) -> Result<Settings> {
    let (data_root, run_root) = options.roots();
    let mut settings = Settings::new(absolute(data_root)?, absolute(run_root)?, shim);
    network(options, &mut settings)?;
    containers(options, &mut settings)?;
    check_features(options)?;
    settings.labels = options.list("labels");
    if let Some(bad) = settings.labels.iter().find(|label| !label.contains('=')) {
        return Err(Error::invalid(format!("bad attribute format: {bad}")));
    }
    settings.debug = options.flag("debug").unwrap_or(false);
    settings.experimental = options.flag("experimental").unwrap_or(false);
    registries(options, &mut settings)?;
    Ok(settings)
}

fn registries(options: &Options, settings: &mut Settings) -> Result<()> {
    settings.registry_mirrors = options.list("registry-mirrors");
    settings.signature_policy = options
        .text("signature-policy")
        .filter(|path| !path.is_empty())
        .map(|path| absolute(Path::new(path)))
        .transpose()?;
    settings.insecure_registries = options.list("insecure-registries");
    let count = |key: &str, what: &str, default: usize| match options.number(key) {
        None => Ok(default),
        // No bound of the user's.
        Some(0) => Ok(TRANSFERS_MAX),
        Some(number) => usize::try_from(number)
            .map(|number| number.min(TRANSFERS_MAX))
            .map_err(|_| Error::invalid(format!("invalid {what}: {number}"))),
    };
    settings.max_concurrent_downloads = count(
        "max-concurrent-downloads",
        "max concurrent downloads",
        settings.max_concurrent_downloads,
    )?;
    settings.max_concurrent_uploads = count(
        "max-concurrent-uploads",
        "max concurrent uploads",
        settings.max_concurrent_uploads,
    )?;
    let attempts = match options.number("max-download-attempts") {
        None => settings.max_download_attempts,
        Some(number) => u32::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| Error::invalid(format!("invalid max download attempts: {number}")))?,
    };
    settings.max_download_attempts = attempts;
    let in_file = options.map("proxies");
    let proxy = |key: &str| {
        let of_file = in_file.iter().find(|(name, _)| name == key);
        let of_file = of_file.and_then(|(_, value)| value.as_str());
        of_file
            .or_else(|| options.text(key))
            .unwrap_or_default()
            .to_owned()
    };
    let proxies = Proxies {
        http: proxy("http-proxy"),
        https: proxy("https-proxy"),
        no: proxy("no-proxy"),
    };
    settings.proxies = proxies.or_environment(|name| std::env::var(name).ok());
    Ok(())
}

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::from(error).prefixed(format!("cannot use {}", path.display())))
}

fn network(options: &Options, settings: &mut Settings) -> Result<()> {
    if let Some(bridge) = options.text("bridge").filter(|name| !name.is_empty()) {
        bridge.clone_into(&mut settings.bridge);
        settings.bridge_is_foreign =
            bridge != "none" && Path::new("/sys/class/net").join(bridge).exists();
    }
    let bip = options.text("bip").filter(|text| !text.is_empty());
    if bip.is_some() && settings.bridge_is_foreign {
        return Err(Error::invalid(
            "you specified -b & --bip, mutually exclusive options. Please specify only one",
        ));
    }
    settings.bridge_ip = bip.map(|text| parse("bip", text)).transpose()?;
    settings.fixed_cidr = options
        .text("fixed-cidr")
        .filter(|text| !text.is_empty())
        .map(|text| parse("fixed-cidr", text))
        .transpose()?;
    settings.mtu = match options.number("mtu") {
        None | Some(0) => None,
        Some(mtu) => Some(
            u32::try_from(mtu)
                .ok()
                .filter(|mtu| *mtu >= 68)
                .ok_or_else(|| bad("mtu", &mtu.to_string()))?,
        ),
    };
    if let Some(ip) = options.text("ip") {
        settings.default_host_ip = parse("ip", ip)?;
    }
    let switch = |name: &str, default: bool| options.flag(name).unwrap_or(default);
    settings.inter_container_communication = switch("icc", true);
    settings.ip_forward = switch("ip-forward", true);
    settings.masquerade = switch("ip-masq", true);
    settings.firewall = switch("iptables", true);
    settings.address_pools = options
        .items("default-address-pools")
        .iter()
        .map(address_pool)
        .collect::<Result<_>>()?;
    settings.dns = options
        .list("dns")
        .iter()
        .map(|text| parse::<IpAddr>("dns", text))
        .collect::<Result<_>>()?;
    settings.dns_search = options.list("dns-search");
    settings.dns_options = options.list("dns-opts");
    Ok(())
}

fn containers(options: &Options, settings: &mut Settings) -> Result<()> {
    if let Some(parent) = options
        .text("cgroup-parent")
        .filter(|text| !text.is_empty())
    {
        parent.clone_into(&mut settings.cgroup_parent);
    }
    settings.default_init = options.flag("init").unwrap_or(false);
    settings.no_new_privileges = options.flag("no-new-privileges").unwrap_or(false);
    if let Some(size) = options.text("default-shm-size") {
        settings.default_shm_size_bytes =
            parse_size(size).ok_or_else(|| bad("default-shm-size", size))?;
    }
    settings.default_cgroupns_mode = one_of(
        options,
        "default-cgroupns-mode",
        &["", "host", "private"],
        "",
    )?;
    settings.default_ipc_mode = one_of(
        options,
        "default-ipc-mode",
        &["private", "shareable"],
        "private",
    )?;
    settings.default_ulimits = options
        .map("default-ulimits")
        .iter()
        .map(ulimit)
        .collect::<Result<_>>()?;
    if let Some(seconds) = options.number("default-stop-timeout") {
        settings.default_stop_timeout_s = seconds;
    }
    options
        .text("seccomp-profile")
        .unwrap_or_default()
        .clone_into(&mut settings.seccomp_profile);
    if let Some(driver) = options.text("log-driver") {
        driver.clone_into(&mut settings.log_driver);
    }
    for (name, value) in options.map("log-opts") {
        let text = value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| bad("log-opts", &format!("{name}={value}")))?;
        settings.log_options.insert(name, text);
    }
    Ok(())
}

/// Features that say what is so anyway are taken; others are refused when switched on.
fn check_features(options: &Options) -> Result<()> {
    for (name, value) in options.map("features") {
        let on = match &value {
            Value::Bool(on) => *on,
            Value::String(text) => text == "true",
            _ => return Err(bad("features", &name)),
        };
        let always_on = ["time-namespaces", "containerd-snapshotter"].contains(&name.as_str());
        if on != always_on && (on || always_on) {
            return Err(Error::not_implemented(format!(
                "feature {name}={on} is not supported yet"
            )));
        }
    }
    Ok(())
}

/// `base=10.0.0.0/8,size=24` as a flag, an object with the same members in the file.
fn address_pool(value: &Value) -> Result<AddressPool> {
    let invalid = |why: String| Error::invalid(format!("invalid default-address-pools: {why}"));
    let fields: Vec<(String, String)> = match value {
        Value::String(text) => text
            .split(',')
            .map(|field| {
                let pair = field.split_once('=').ok_or_else(|| {
                    invalid(format!("invalid field '{field}' must be a key=value pair"))
                })?;
                Ok((pair.0.to_lowercase(), pair.1.to_owned()))
            })
            .collect::<Result<_>>()?,
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                (key.to_lowercase(), text)
            })
            .collect(),
        _ => return Err(bad("default-address-pools", &value.to_string())),
    };
    if let Some((key, text)) = fields
        .iter()
        .find(|(key, _)| !["base", "size"].contains(&key.as_str()))
    {
        return Err(invalid(format!("unexpected key '{key}' in '{key}={text}'")));
    }
    let field = |name: &str| fields.iter().find(|(key, _)| key == name);
    match (field("base"), field("size")) {
        (Some((_, base)), Some((_, size))) => {
            parse_address_pool(base, size).map_err(|error| invalid(error.to_string()))
        }
        _ => Err(invalid("base and size are both needed".to_owned())),
    }
}

/// `nofile=1024:2048` as a flag, Docker's object in the file.
fn ulimit((name, value): &(String, Value)) -> Result<Ulimit> {
    let limits = match value {
        Value::String(text) => {
            let (soft, hard) = text.split_once(':').unwrap_or((text, text));
            soft.parse().ok().zip(hard.parse().ok())
        }
        Value::Object(members) => members
            .get("Soft")
            .and_then(Value::as_i64)
            .zip(members.get("Hard").and_then(Value::as_i64)),
        _ => None,
    };
    let (soft, hard) = limits.ok_or_else(|| bad("default-ulimits", name))?;
    Ok(Ulimit {
        name: name.clone(),
        soft,
        hard,
    })
}

fn one_of(options: &Options, name: &str, allowed: &[&str], default: &str) -> Result<String> {
    let value = options.text(name).unwrap_or(default);
    if allowed.contains(&value) {
        Ok(value.to_owned())
    } else {
        Err(bad(name, value))
    }
}

fn parse<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| bad(name, text))
}

fn bad(name: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for {name}: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn address_pools_are_objects_or_pairs() {
        let shown = |value: Value| match address_pool(&value) {
            Ok((base, size)) => format!("{base} {size}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown(json!("base=10.0.0.1/8,size=24")), "10.0.0.0/8 24");
        assert_eq!(
            shown(json!({"base": "fd00::/48", "size": 64})),
            "fd00::/48 64"
        );
        for (value, text) in [
            (
                json!("base"),
                "invalid field 'base' must be a key=value pair",
            ),
            (json!("foo=1"), "unexpected key 'foo' in 'foo=1'"),
            (json!("base=10.0.0.0/8"), "base and size are both needed"),
            (json!("base=x,size=24"), "invalid base prefix \"x\""),
            (
                json!({"base": "10.0.0.0/8", "size": "x"}),
                "invalid size value: \"x\" (must be integer)",
            ),
            (
                json!({"base": "10.0.0.0/8", "size": 4}),
                "subnets of size 4 do not fit into base 10.0.0.0/8",
            ),
        ] {
            let text = format!("invalid default-address-pools: {text}");
            assert_eq!(shown(value), text);
        }
    }
}
