//! Moments as Go's `RFC3339Nano` writes them: UTC, nanoseconds without trailing zeros.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) i64);

impl Timestamp {
    /// The present moment.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Appends `2026-11-21T10:06:49.6905806Z`.
    pub(crate) fn write_to(self, out: &mut Vec<u8>) {
        let seconds = self.0.div_euclid(1_000_000_000);
        let nanoseconds = self.0.rem_euclid(1_000_000_000);
        let (year, month, day) = civil(seconds.div_euclid(86400));
        let second = seconds.rem_euclid(86400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )
        .expect("a vector takes all");
        if nanoseconds > 0 {
            write!(out, ".{nanoseconds:09}").expect("a vector takes all");
            let end = out
                .iter()
                .rposition(|&byte| byte != b'0')
                .map_or(0, |last| last + 1);
            out.truncate(end);
        }
        out.push(b'Z');
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that the leap day is the last; a cycle of 400 years has 146,097 days.
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (
        cycle * 400 + year_of_cycle + i64::from(month <= 2),
        month,
        day,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nanoseconds: i64) -> String {
        let mut out = Vec::new();
        Timestamp(nanoseconds).write_to(&mut out);
        String::from_utf8(out).expect("is ASCII")
    }

    #[test]
    fn times_are_written_as_go_does() {
        const S: i64 = 1_000_000_000;
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(
            text(1_795_256_809 * S + 690_580_600),
            "2026-11-21T10:26:49.6905806Z"
        );
        assert_eq!(text(951_782_400 * S + 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(
            text(4_107_542_399 * S + 999_999_999),
            "2100-02-28T23:59:59.999999999Z"
        );
        assert_eq!(
            text(4_107_542_400 * S + 500_000_000),
            "2100-03-01T00:00:00.5Z"
        );
        assert_eq!(
            text(1_735_689_600 * S + 10),
            "2025-01-01T00:00:00.00000001Z"
        );
    }

    #[test]
    fn days_follow_each_other() {
        let mut previous = civil(-1);
        assert_eq!(previous, (1969, 12, 31));
        for day in 0..60_000 {
            let next = civil(day);
            let follows = next == (previous.0, previous.1, previous.2 + 1)
                || next == (previous.0, previous.1 + 1, 1) && previous.2 >= 28
                || next == (previous.0 + 1, 1, 1) && previous.1 == 12 && previous.2 == 31;
            assert!(follows, "{previous:?} {next:?}");
            previous = next;
        }
        assert_eq!(previous, (2134, 4, 10));
    }
}
