//! Times as the API writes and reads them: RFC 3339, Unix times with nanoseconds, and durations for people.

use gantry_api::filters::Filters;
use gantry_base::{Error, Result};
use jiff::Timestamp;

/// Go's zero time, which stands for "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

const SECOND_NS: i64 = 1_000_000_000;

/// RFC 3339 with as many digits as needed, in UTC.
pub(crate) fn rfc3339(time_ns: i64) -> String {
    Timestamp::from_nanosecond(time_ns.into())
        .map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

/// The same, or [`NEVER`].
pub(crate) fn rfc3339_or_never(time_ns: Option<i64>) -> String {
    time_ns.map_or_else(|| NEVER.to_owned(), rfc3339)
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// `1700000000.123456789`; none for the empty text.
///
/// # Errors
/// Go's words; `status` is the kind that the route answers with.
pub(crate) fn unix(text: &str, error: fn(String) -> Error) -> Result<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let invalid = |part: &str| {
        let part = crate::request::quoted(part);
        error(format!("strconv.ParseInt: parsing {part}: invalid syntax"))
    };
    let whole: i64 = seconds.parse().map_err(|_| invalid(seconds))?;
    let mut nanoseconds = 0;
    if !fraction.is_empty() {
        let digits: String = fraction
            .chars()
            .chain("000000000".chars())
            .take(9)
            .collect();
        if !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid(fraction));
        }
        nanoseconds = digits.parse().map_err(|_| invalid(fraction))?;
    }
    Ok(Some(
        whole.saturating_mul(SECOND_NS).saturating_add(nanoseconds),
    ))
}

/// The `until` filter of a prune, which may be given once.
pub(crate) fn until_filter(filters: &Filters) -> Result<Option<i64>> {
    match filters.get("until") {
        [] => Ok(None),
        [one] => until(one, now_ns()).map(Some),
        _ => Err(Error::invalid("more than one until filter specified")),
    }
}

/// A time of a prune filter: a duration ago (`10m`, `1h30m`), RFC 3339, a date, or a Unix time.
pub(crate) fn until(text: &str, now_ns: i64) -> Result<i64> {
    if let Some(duration) = duration_ns(text) {
        return Ok(now_ns.saturating_sub(duration));
    }
    if let Ok(Some(time)) = unix(text, Error::invalid) {
        return Ok(time);
    }
    let zoned = text.parse::<Timestamp>().ok();
    let civil = text.parse::<jiff::civil::DateTime>().ok();
    let civil = civil.or_else(|| {
        text.parse::<jiff::civil::Date>()
            .ok()
            .map(|date| date.at(0, 0, 0, 0))
    });
    let civil = civil.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let time = zoned.or_else(|| civil.map(|time| time.timestamp()));
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .ok_or_else(|| {
            let text = crate::request::quoted(text);
            Error::invalid(format!("failed to parse value as time or duration: {text}"))
        })
}

/// Go's `time.ParseDuration`: `300ms`, `-1.5h`, `2h45m`.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += value * factor;
        rest = &rest[unit..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from float saturates"
    )]
    Some((sign * total) as i64)
}

/// A duration in Docker's words: `Less than a second`, `About a minute`, `3 weeks`.
pub(crate) fn human(duration_ns: i64) -> String {
    let seconds = duration_ns.max(0) / SECOND_NS;
    let minutes = seconds / 60;
    // Rounded to the nearest hour, as in Go's units library.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        assert_eq!(
            rfc3339(1_795_255_508_802_537_563),
            "2026-11-21T10:05:08.802537563Z"
        );
        assert_eq!(rfc3339(1_795_255_508_000_000_000), "2026-11-21T10:05:08Z");
        assert_eq!(rfc3339(1_795_255_508_100_000_000), "2026-11-21T10:05:08.1Z");
        assert_eq!(rfc3339_or_never(None), NEVER);
    }

    #[test]
    fn unix_times_have_nanoseconds() {
        assert_eq!(
            unix("5", Error::internal).expect("is valid"),
            Some(5 * SECOND_NS)
        );
        assert_eq!(
            unix("5.1", Error::internal).expect("is valid"),
            Some(5_100_000_000)
        );
        assert_eq!(
            unix("5.000000001", Error::internal).expect("is valid"),
            Some(5_000_000_001)
        );
        assert_eq!(unix("", Error::internal).expect("is valid"), None);
        let error = unix("x", Error::internal).expect_err("is no number");
        assert_eq!(
            error.message(),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
    }

    #[test]
    fn prune_filters_take_durations_and_times() {
        let now = 1_000 * 3600 * SECOND_NS;
        assert_eq!(
            until("1h30m", now).expect("is valid"),
            now - 5400 * SECOND_NS
        );
        assert_eq!(
            until("1970-01-02", now).expect("is valid"),
            24 * 3600 * SECOND_NS
        );
        assert_eq!(
            until("1970-01-01T00:00:01Z", now).expect("is valid"),
            SECOND_NS
        );
        assert_eq!(until("7", now).expect("is valid"), 7 * SECOND_NS);
        let error = until("y", now).expect_err("is neither");
        assert_eq!(
            error.message(),
            "failed to parse value as time or duration: \"y\""
        );
    }

    #[test]
    fn durations_are_in_dockers_words() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 24 * 3600, "2 weeks"),
            (60 * 24 * 3600, "2 months"),
            (730 * 24 * 3600, "2 years"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds * SECOND_NS), text, "{seconds}");
        }
    }
}
