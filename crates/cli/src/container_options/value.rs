//! Small values of flags: addresses, domains, labels, variables, key-value files.

use crate::timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `key=value` pairs as a map; the last of equal keys counts.
pub(crate) fn to_map<T: AsRef<str>>(pairs: &[T]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|pair| {
            let (key, value) = pair.as_ref().split_once('=').unwrap_or((pair.as_ref(), ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

pub(super) fn check_label(text: &str) -> Result<(), String> {
    let key = text
        .split('=')
        .next()
        .unwrap_or_default()
        .trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

pub(crate) fn check_variable(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

/// A variable without `=` takes its value from our environment, where it has one.
pub(crate) fn expand_variable(text: &str) -> String {
    if text.contains('=') {
        return text.to_owned();
    }
    std::env::var(text).map_or_else(|_| text.to_owned(), |value| format!("{text}={value}"))
}

pub(super) fn check_stream(text: &str) -> Result<(), String> {
    match text.to_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

/// An address in its usual form.
pub(super) fn parse_ip(text: &str) -> Result<String, String> {
    text.trim()
        .parse::<IpAddr>()
        .map(|ip| match ip {
            IpAddr::V6(ip) => ip
                .to_ipv4_mapped()
                .map_or_else(|| ip.to_string(), |ip| ip.to_string()),
            IpAddr::V4(ip) => ip.to_string(),
        })
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

pub(super) fn check_ip(text: &str) -> Result<(), String> {
    parse_ip(text).map(|_| ())
}

/// A search domain without a final dot; `.` alone stays.
pub(super) fn parse_domain(text: &str) -> Result<String, String> {
    let trimmed = text.trim_matches(' ');
    if trimmed == "." {
        return Ok(trimmed.to_owned());
    }
    let invalid = || format!("{trimmed} is not a valid domain");
    let domain = trimmed.trim_end();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let label_is_valid = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let has_letter = domain.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !has_letter || domain.len() >= 255 || !domain.split('.').all(label_is_valid) {
        return Err(invalid());
    }
    Ok(domain.to_owned())
}

pub(super) fn check_domain(text: &str) -> Result<(), String> {
    parse_domain(text).map(|_| ())
}

/// `name:address`, from `name:address` or `name=address`, IPv6 in brackets or not.
pub(super) fn parse_extra_host(text: &str) -> Result<String, String> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if bare != "host-gateway" && bare.trim().parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

pub(super) fn check_extra_host(text: &str) -> Result<(), String> {
    parse_extra_host(text).map(|_| ())
}

pub(super) fn check_link(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty string specified for links".into());
    }
    if text.split(':').count() > 2 {
        return Err(format!("bad format for links: {text}"));
    }
    Ok(())
}

pub(super) fn check_sysctl(text: &str) -> Result<(), String> {
    const NAMES: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match text.split_once('=') {
        Some((name, _))
            if NAMES.contains(&name)
                || name.starts_with("net.")
                || name.starts_with("fs.mqueue.") =>
        {
            Ok(())
        }
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

pub(super) fn check_duration(text: &str) -> Result<(), String> {
    timestamp::parse_duration_ns(text).map(|_| ())
}

pub(super) fn mac_is_valid(text: &str) -> bool {
    let text = text.trim();
    let separator = if text.contains('-') { '-' } else { ':' };
    let groups: Vec<&str> = text.split(separator).collect();
    let is_hex = |group: &&str, length: usize| {
        group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if text.contains('.') {
        let groups: Vec<&str> = text.split('.').collect();
        return matches!(groups.len(), 3 | 4 | 10) && groups.iter().all(|group| is_hex(group, 4));
    }
    matches!(groups.len(), 6 | 8 | 20) && groups.iter().all(|group| is_hex(group, 2))
}

/// Lines `KEY=value` of files, then `given`. A key alone is left out of a file, unless `is_environment` says that it takes
/// its value from our environment, and it has one there.
pub(crate) fn read_pairs(
    files: &[String],
    given: &[String],
    is_environment: bool,
) -> Result<Vec<String>, String> {
    let mut pairs = Vec::new();
    for file in files {
        read_file(file, is_environment, &mut pairs)?;
    }
    pairs.extend(given.iter().cloned());
    Ok(pairs)
}

fn read_file(file: &str, is_environment: bool, pairs: &mut Vec<String>) -> Result<(), String> {
    let text = std::fs::read(file)
        .map_err(|error| format!("open {file}: {}", gantry_base::Error::from(error).message()))?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| {
            format!(
                "invalid env file ({file}): invalid utf8 bytes at line {}: {line:?}",
                index + 1
            )
        })?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, has_value) = match line.split_once('=') {
            Some((key, _)) => (key, true),
            None => (line, false),
        };
        if key.is_empty() {
            return Err(format!(
                "invalid env file ({file}): no variable name on line '{line}'"
            ));
        }
        if key.contains([' ', '\t']) {
            return Err(format!(
                "invalid env file ({file}): variable '{key}' contains whitespaces"
            ));
        }
        if has_value {
            pairs.push(line.to_owned());
        } else if is_environment && let Ok(value) = std::env::var(key.trim()) {
            pairs.push(format!("{}={value}", key.trim()));
        }
    }
    Ok(())
}

/// One line of comma-separated values, where quotes hide commas and are doubled inside.
pub(crate) fn split_csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut after = quoted;
            loop {
                let Some(end) = after.find('"') else {
                    let column = text.len() + 1;
                    return Err(format!(
                        "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                    ));
                };
                field.push_str(&after[..end]);
                after = &after[end + 1..];
                match after.strip_prefix('"') {
                    Some(next) => {
                        field.push('"');
                        after = next;
                    }
                    None => break,
                }
            }
            fields.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => return Ok(fields),
                None => {
                    let column = text.len() - after.len();
                    return Err(format!(
                        "parse error on line 1, column {column}: extraneous or missing \" in quoted-field"
                    ));
                }
            }
            continue;
        }
        let (field, next) = rest
            .split_once(',')
            .map_or((rest, None), |(field, next)| (field, Some(next)));
        if let Some(at) = field.find('"') {
            let column = text.len() - rest.len() + at + 1;
            return Err(format!(
                "parse error on line 1, column {column}: bare \" in non-quoted-field"
            ));
        }
        fields.push(field.to_owned());
        match next {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_as_go_reads_it() {
        assert_eq!(
            split_csv("a,b=\"c\"").expect_err("has a bare quote"),
            "parse error on line 1, column 5: bare \" in non-quoted-field"
        );
        assert_eq!(
            split_csv("a,\"b=c,\"\"d\"\"\",").expect("is valid"),
            ["a", "b=c,\"d\"", ""]
        );
        assert!(split_csv("\"a").is_err());
    }

    #[test]
    fn addresses_and_hosts() {
        assert_eq!(parse_extra_host("a:1.2.3.4").as_deref(), Ok("a:1.2.3.4"));
        assert_eq!(parse_extra_host("a=[::1]").as_deref(), Ok("a:::1"));
        assert_eq!(
            parse_extra_host("a:host-gateway").as_deref(),
            Ok("a:host-gateway")
        );
        assert!(
            parse_extra_host("a").is_err()
                && parse_extra_host(":1.1.1.1").is_err()
                && parse_extra_host("a:x").is_err()
        );
        assert_eq!(parse_domain("example.com.").as_deref(), Ok("example.com"));
        assert!(parse_domain("123").is_err() && parse_domain("a..b").is_err());
        assert!(
            mac_is_valid("92:d0:c6:0a:29:33")
                && mac_is_valid("92-d0-c6-0a-29-33")
                && !mac_is_valid("92:d0")
        );
    }

    #[test]
    fn files_of_pairs() {
        let file = tempfile::NamedTempFile::new().expect("can create");
        std::fs::write(
            file.path(),
            "# comment\n\n A=1\r\nB=x y\nHOME\nNOT_SET_ANYWHERE\n",
        )
        .expect("can write");
        let path = file.path().to_str().expect("is UTF-8").to_owned();
        let home = std::env::var("HOME")
            .map(|home| format!("HOME={home}"))
            .ok();
        let mut expected = vec!["A=1".to_owned(), "B=x y".to_owned()];
        expected.extend(home);
        expected.push("C=2".into());
        assert_eq!(
            read_pairs(std::slice::from_ref(&path), &["C=2".to_owned()], true),
            Ok(expected)
        );
        std::fs::write(file.path(), "=x\n").expect("can write");
        assert!(read_pairs(std::slice::from_ref(&path), &[], true).is_err());
    }
}
