//! Points in time and lengths of it, as Docker's users write and read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::{SystemTime, UNIX_EPOCH};

const SECOND_NS: i64 = 1_000_000_000;

/// Go's `time.ParseDuration`: `1h30m`, `1.5s`, `-2ms`, `0`. Empty text is no duration.
pub(crate) fn parse_duration_ns(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        total += number * scale;
    }
    if total > 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the bound was checked")]
    Ok((sign * total).round() as i64)
}

/// What `--since` and `--until` take, as the API wants it: `seconds.nanoseconds`. Durations count back from now.
pub(crate) fn to_query(text: &str, now_ns: i128) -> Result<String, String> {
    // 0 is the beginning of time and not a duration.
    if text != "0"
        && let Ok(duration) = parse_duration_ns(text)
    {
        return Ok(seconds(now_ns - i128::from(duration)));
    }
    let is_number = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    if is_number && text.matches('-').count() == 0 {
        return Ok(text.to_owned());
    }
    parse_date(text)
        .map(|time| seconds(time.as_nanosecond()))
        .ok_or_else(|| format!("failed to parse value as time or duration: {text:?}"))
}

/// RFC 3339, or any leading part of it in local time: `2013-01-02`, `2013-01-02T13:23`.
fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let (date, zone) = match text.strip_suffix('Z') {
        Some(date) => (date, TimeZone::UTC),
        None => (text, local_zone()),
    };
    let (date, zone) = match date
        .rfind(['+', '-'])
        .filter(|at| *at > 10 && date[*at..].contains(':'))
    {
        Some(at) => (&date[..at], fixed_zone(&date[at..])?),
        None => (date, zone),
    };
    let full = match date.len() {
        10 => format!("{date}T00:00:00"),
        13 => format!("{date}:00:00"),
        16 => format!("{date}:00"),
        _ => date.to_owned(),
    };
    let civil: jiff::civil::DateTime = full.parse().ok()?;
    Some(civil.to_zoned(zone).ok()?.timestamp())
}

fn fixed_zone(text: &str) -> Option<TimeZone> {
    let (hours, minutes) = text[1..].split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Some(TimeZone::fixed(
        jiff::tz::Offset::from_seconds(sign * seconds).ok()?,
    ))
}

/// The zone of the user: `TZ`, or `/etc/localtime`.
pub(crate) fn local_zone() -> TimeZone {
    let posix = std::env::var("TZ").ok().and_then(|zone| {
        let file = format!("/usr/share/zoneinfo/{}", zone.trim_start_matches(':'));
        if matches!(zone.as_str(), "" | "UTC" | "UTC0") {
            return Some(TimeZone::UTC);
        }
        let data = std::fs::read(file).ok();
        data.and_then(|data| TimeZone::tzif(&zone, &data).ok())
            .or_else(|| TimeZone::posix(&zone).ok())
    });
    posix.unwrap_or_else(|| {
        std::fs::read("/etc/localtime")
            .ok()
            .and_then(|data| TimeZone::tzif("Local", &data).ok())
            .unwrap_or(TimeZone::UTC)
    })
}

fn seconds(nanoseconds: i128) -> String {
    let second = i128::from(SECOND_NS);
    format!(
        "{}.{:09}",
        nanoseconds.div_euclid(second),
        nanoseconds.rem_euclid(second)
    )
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now_ns() -> i128 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i128::try_from(now.as_nanos()).unwrap_or(0)
}

/// Now, in seconds since the epoch.
pub(crate) fn now_s() -> i64 {
    i64::try_from(now_ns() / i128::from(SECOND_NS)).unwrap_or(0)
}

/// `2026-11-21 09:58:06 +0000 UTC`, as Go prints a time in the local zone.
pub(crate) fn go_local(seconds: i64) -> String {
    let Ok(time) = Timestamp::from_second(seconds) else {
        return String::new();
    };
    time.to_zoned(local_zone())
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

/// RFC 3339 in the local zone, in seconds.
pub(crate) fn rfc3339_local(seconds: i64) -> String {
    let nanoseconds = i128::from(seconds) * i128::from(SECOND_NS);
    let text = rfc3339_nano_local(nanoseconds);
    text.replacen(".000000000", "", 1)
}

/// RFC 3339 in the local zone, with nanoseconds: what `docker events` begins its lines with.
pub(crate) fn rfc3339_nano_local(nanoseconds: i128) -> String {
    let Ok(time) = Timestamp::from_nanosecond(nanoseconds) else {
        return String::new();
    };
    let zoned = time.to_zoned(local_zone());
    let zone = zoned.strftime("%:z").to_string();
    let zone = if zone == "+00:00" { "Z" } else { &zone };
    format!("{}{zone}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

/// `units.HumanDuration`: the largest unit alone.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, all else is cut.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        let cases = [
            ("1h30m", 5400 * SECOND_NS),
            ("1.5s", 1_500_000_000),
            ("-2ms", -2_000_000),
            ("0", 0),
            ("3µs", 3000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration_ns(text), Ok(expected), "{text}");
        }
        assert_eq!(
            parse_duration_ns("x"),
            Err("time: invalid duration \"x\"".into())
        );
        assert_eq!(
            parse_duration_ns("1"),
            Err("time: missing unit in duration \"1\"".into())
        );
        assert_eq!(
            parse_duration_ns("1x"),
            Err("time: unknown unit \"x\" in duration \"1x\"".into())
        );
    }

    #[test]
    fn since_takes_dates_and_durations() {
        let now = 1_000_000_000 * i128::from(SECOND_NS);
        assert_eq!(to_query("10m", now).as_deref(), Ok("999999400.000000000"));
        assert_eq!(to_query("1136073845", now).as_deref(), Ok("1136073845"));
        assert_eq!(
            to_query("2013-01-02T13:23:37Z", now).as_deref(),
            Ok("1357133017.000000000")
        );
        assert_eq!(
            to_query("2013-01-02T13:23:37.5+01:00", now).as_deref(),
            Ok("1357129417.500000000")
        );
        assert_eq!(
            to_query("2013-01-02Z", now).as_deref(),
            Ok("1357084800.000000000")
        );
        assert!(to_query("yesterday", now).is_err());
    }

    #[test]
    fn lengths_for_people() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (61 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
