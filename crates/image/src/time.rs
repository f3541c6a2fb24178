//! The clock, and times as image documents have them.

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, as Go writes it.
pub(crate) fn rfc3339(nanoseconds: i64) -> String {
    jiff::Timestamp::from_nanosecond(nanoseconds.into())
        .map_or_else(|_| "1970-01-01T00:00:00Z".into(), |time| time.to_string())
}
