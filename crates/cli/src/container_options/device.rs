//! Devices: mapped ones, GPUs, and limits of block devices.

use super::limit::parse_bytes;
use super::value::{split_csv, to_map};
use gantry_api::types::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};
use std::path::Path;

/// Mapped devices, and names of the container device interface.
pub(super) fn parse_devices(texts: &[String]) -> Result<(Vec<DeviceMapping>, Vec<String>), String> {
    let mut mappings = Vec::new();
    let mut names = Vec::new();
    for text in texts {
        if is_qualified_name(text) {
            names.push(text.clone());
        } else {
            mappings.push(parse_device(text)?);
        }
    }
    Ok((mappings, names))
}

/// `vendor/class=name`
fn is_qualified_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else {
        return false;
    };
    let Some((vendor, class)) = kind.split_once('/') else {
        return false;
    };
    let word = |text: &str, others: &str| {
        text.bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || others.as_bytes().contains(&byte))
    };
    let name_is_valid = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    word(vendor, "_-.") && word(class, "_-") && name_is_valid
}

fn parse_device(text: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, clean(host), "rwm"),
        [host, mode] if mode_is_valid(mode) => (*host, clean(host), *mode),
        [host, container] => (*host, clean(container), "rwm"),
        [host, container, mode] => {
            if !mode_is_valid(mode) {
                return Err(format!("bad mode specified: {mode}"));
            }
            (*host, (*container).to_owned(), *mode)
        }
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if !container.starts_with('/') {
        let shown = if parts.len() == 1 || mode_is_valid(parts[1]) {
            host
        } else {
            parts[1]
        };
        return Err(format!("{shown} is not an absolute path"));
    }
    let host = if parts.len() == 1 || (parts.len() == 2 && mode_is_valid(parts[1])) {
        container.clone()
    } else {
        host.to_owned()
    };
    Ok(DeviceMapping {
        path_on_host: host,
        path_in_container: container,
        cgroup_permissions: mode.to_owned(),
    })
}

fn clean(path: &str) -> String {
    let mut clean = std::path::PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}

fn mode_is_valid(mode: &str) -> bool {
    let repeats = |c: char| mode.matches(c).count() > 1;
    !mode.is_empty() && mode.chars().all(|c| "rwm".contains(c) && !repeats(c))
}

/// `[abc] MAJOR:MINOR [rwm]+`
pub(super) fn check_rule(text: &str) -> Result<(), String> {
    let number = |text: &str| {
        text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let parts: Vec<&str> = text.split(' ').collect();
    let is_valid = match parts.as_slice() {
        [kind, numbers, mode] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers
                    .split_once(':')
                    .is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&mode.len())
                && mode.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    if is_valid {
        Ok(())
    } else {
        Err(format!("invalid device cgroup format '{text}'"))
    }
}

fn split_path(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text
        .split_once(':')
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| format!("bad format: {text}"))?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

pub(super) fn parse_weight(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = split_path(text)?;
    let weight: u16 = weight
        .parse()
        .ok()
        .filter(|weight| *weight == 0 || (10..=1000).contains(weight))
        .ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice {
        path: path.to_owned(),
        weight,
    })
}

pub(super) fn check_weight(text: &str) -> Result<(), String> {
    parse_weight(text).map(|_| ())
}

/// `/dev/x:10mb`
pub(super) fn parse_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = split_path(text)?;
    let rate = parse_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(|| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

pub(super) fn check_rate(text: &str) -> Result<(), String> {
    parse_rate(text).map(|_| ())
}

/// `/dev/x:1000`
pub(super) fn parse_operations(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = split_path(text)?;
    let rate = rate.parse().map_err(|_| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer")
    })?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

pub(super) fn check_operations(text: &str) -> Result<(), String> {
    parse_operations(text).map(|_| ())
}

/// `all`, `2`, `device=0,capabilities=…`
pub(super) fn parse_gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in split_csv(text)? {
        let (key, value) = field
            .split_once('=')
            .map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        if seen.iter().any(|known| known == key) {
            return Err(format!(
                "gpu request key '{key}' can be specified only once"
            ));
        }
        seen.push(key.to_owned());
        match (key, value) {
            (count, None) => {
                seen.push("count".into());
                request.count = parse_count(count)?;
            }
            ("driver", Some(value)) => value.clone_into(&mut request.driver),
            ("count", Some(value)) => request.count = parse_count(value)?,
            ("device", Some(value)) => {
                request.device_ids = Some(value.split(',').map(str::to_owned).collect());
            }
            ("capabilities", Some(value)) => {
                let words = value.split(',').chain(["gpu"]).map(str::to_owned).collect();
                request.capabilities = Some(vec![words]);
            }
            ("options", Some(value)) => {
                let pairs = split_csv(value)
                    .map_err(|error| format!("failed to read gpu options: {error}"))?;
                request.options = Some(to_map(&pairs));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.iter().any(|key| key == "count") && request.device_ids.is_none() {
        request.count = 1;
    }
    request.options.get_or_insert_default();
    request
        .capabilities
        .get_or_insert_with(|| vec![vec!["gpu".to_owned()]]);
    Ok(request)
}

fn parse_count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse().map_err(|_| {
        format!(
            r#"invalid count ({text}): value must be either "all" or an integer: invalid syntax"#
        )
    })
}

pub(super) fn check_gpus(text: &str) -> Result<(), String> {
    parse_gpus(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_up_to_three_parts() {
        let parse = |text: &str| {
            parse_device(text).map(|d| {
                format!(
                    "{} {} {}",
                    d.path_on_host, d.path_in_container, d.cgroup_permissions
                )
            })
        };
        assert_eq!(parse("/dev/a").as_deref(), Ok("/dev/a /dev/a rwm"));
        assert_eq!(parse("/dev/a:rw").as_deref(), Ok("/dev/a /dev/a rw"));
        assert_eq!(parse("/dev/a:/dev/b").as_deref(), Ok("/dev/a /dev/b rwm"));
        assert_eq!(parse("/dev/a:/dev/b:r").as_deref(), Ok("/dev/a /dev/b r"));
        for bad in ["", ":/a", "/a:/b:x", "/a:b", "a", "/a:/b:r:w"] {
            assert!(parse_device(bad).is_err(), "{bad}");
        }
        assert!(is_qualified_name("vendor.com/gpu=0") && !is_qualified_name("/dev/a=b"));
    }

    #[test]
    fn gpus_and_limits() {
        assert_eq!(parse_gpus("all").expect("is valid").count, -1);
        let request = parse_gpus("\"device=0,1\",capabilities=compute").expect("is valid");
        assert_eq!(request.device_ids, Some(vec!["0".into(), "1".into()]));
        assert_eq!(
            request.capabilities,
            Some(vec![vec!["compute".into(), "gpu".into()]])
        );
        assert_eq!(parse_rate("/dev/a:1mb").expect("is valid").rate, 1 << 20);
        assert!(check_weight("/dev/a:5").is_err() && check_weight("/dev/a:10").is_ok());
        assert!(check_rule("c 1:3 mr").is_ok() && check_rule("x 1:3 mr").is_err());
    }
}
