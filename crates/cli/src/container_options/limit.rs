//! Quantities: bytes with units, CPUs as decimals, ulimits.

use gantry_api::types::Ulimit;
use std::collections::BTreeMap;

/// `64m`, `1.5GiB`, `100`: bytes in powers of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let separator = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(invalid)?;
    let suffix = text[separator + 1..].to_lowercase();
    let number = if text.as_bytes()[separator] == b' ' {
        &text[..separator]
    } else {
        &text[..=separator]
    };
    let is_number = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-_".contains(&byte));
    let size: f64 = number
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {number:?}: invalid syntax"))?;
    if size < 0.0 {
        return Err(invalid());
    }
    let bad_suffix = || format!("invalid suffix: '{suffix}'");
    let exponent = match suffix.as_str() {
        "" | "b" => 0,
        _ => {
            let (unit, rest) = suffix.split_at_checked(1).ok_or_else(bad_suffix)?;
            if !matches!(rest, "" | "b" | "ib") {
                return Err(bad_suffix());
            }
            "kmgtp".find(unit).ok_or_else(bad_suffix)? + 1
        }
    };
    let bytes = (0..exponent).fold(size, |bytes, _| bytes * 1024.0);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what does not fit saturates, as beyond any memory"
    )]
    Ok(bytes as i64)
}

pub(crate) fn check_bytes(text: &str) -> Result<(), String> {
    parse_bytes(text).map(|_| ())
}

/// Bytes, or -1 for unlimited.
pub(crate) fn parse_swap_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        Ok(-1)
    } else {
        parse_bytes(text)
    }
}

pub(crate) fn check_swap_bytes(text: &str) -> Result<(), String> {
    parse_swap_bytes(text).map(|_| ())
}

/// `0.5`, `1e-1`, `1/2`: CPUs, as billionths.
pub(crate) fn parse_nano_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = match text.split_once('/') {
        Some((numerator, denominator)) => {
            let denominator: i128 = denominator.parse().map_err(|_| invalid())?;
            let numerator: i128 = numerator.parse().map_err(|_| invalid())?;
            (numerator, denominator)
        }
        None => parse_decimal(text).ok_or_else(invalid)?,
    };
    if denominator <= 0 {
        return Err(invalid());
    }
    let nano = numerator.checked_mul(1_000_000_000).ok_or_else(invalid)?;
    if nano % denominator != 0 {
        return Err("value is too precise".into());
    }
    i64::try_from(nano / denominator).map_err(|_| invalid())
}

fn parse_decimal(text: &str) -> Option<(i128, i128)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if !fraction.bytes().all(|byte| byte.is_ascii_digit())
        || fraction.len() > 18
        || exponent.abs() > 18
    {
        return None;
    }
    let number: i128 = digits.parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()? - exponent;
    let power = 10_i128.checked_pow(scale.unsigned_abs())?;
    if scale >= 0 {
        Some((number, power))
    } else {
        Some((number.checked_mul(power)?, 1))
    }
}

pub(crate) fn check_cpus(text: &str) -> Result<(), String> {
    parse_nano_cpus(text).map(|_| ())
}

/// `name=soft[:hard]`; -1 is unlimited.
fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |part: &str| {
        part.parse::<i64>()
            .map_err(|_| format!("strconv.ParseInt: parsing {part:?}: invalid syntax"))
    };
    let parts: Vec<&str> = limits.split(':').collect();
    let soft = number(parts[0])?;
    let hard = match parts.as_slice() {
        [_] => soft,
        [_, hard] => {
            let hard = number(hard)?;
            if hard != -1 && (soft == -1 || soft > hard) {
                return Err(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
                ));
            }
            hard
        }
        _ => {
            return Err(format!(
                "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    Ok(Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

pub(super) fn check_ulimit(text: &str) -> Result<(), String> {
    parse_ulimit(text).map(|_| ())
}

/// All ulimits, sorted by name; the last of equal names counts.
pub(super) fn parse_ulimits(texts: &[String]) -> Result<Vec<Ulimit>, String> {
    let mut by_name = BTreeMap::new();
    for text in texts {
        let ulimit = parse_ulimit(text)?;
        by_name.insert(ulimit.name.clone(), ulimit);
    }
    Ok(by_name.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let cases = [
            ("64m", 67_108_864),
            ("1.5 GiB", 1_610_612_736),
            ("100", 100),
            ("1kb", 1024),
            ("2B", 2),
            ("32 ", 32),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bytes(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_bytes("abc"), Err("invalid size: 'abc'".into()));
        assert_eq!(parse_bytes("1x"), Err("invalid suffix: 'x'".into()));
        assert_eq!(parse_bytes("-1"), Err("invalid size: '-1'".into()));
        assert!(parse_bytes("1é").is_err() && parse_bytes("").is_err());
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(parse_nano_cpus("0.5"), Ok(500_000_000));
        assert_eq!(parse_nano_cpus("1.25e1"), Ok(12_500_000_000));
        assert_eq!(parse_nano_cpus("1/2"), Ok(500_000_000));
        assert_eq!(
            parse_nano_cpus("0.0000000001"),
            Err("value is too precise".into())
        );
        assert_eq!(
            parse_nano_cpus("x"),
            Err("failed to parse x as a rational number".into())
        );
    }

    #[test]
    fn ulimits_have_a_soft_and_a_hard_side() {
        let texts = ["nofile=1:2".to_owned(), "core=-1".to_owned()];
        let ulimits = parse_ulimits(&texts).expect("is valid");
        assert_eq!(
            ulimits[0],
            Ulimit {
                name: "core".into(),
                hard: -1,
                soft: -1
            }
        );
        assert_eq!(
            ulimits[1],
            Ulimit {
                name: "nofile".into(),
                hard: 2,
                soft: 1
            }
        );
        for bad in ["nofile", "x=1", "nofile=2:1", "nofile=1:2:3", "nofile=a"] {
            assert!(parse_ulimit(bad).is_err(), "{bad}");
        }
    }
}
