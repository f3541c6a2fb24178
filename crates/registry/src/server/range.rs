//! Byte ranges: which part of a blob a download wants, and where a chunk of an upload belongs.
//!
//! Source: RFC 9110, 14; OCI distribution-spec 1.1, "Pushing a blob in chunks".

/// What a `Range` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// There is no such header, or one that need not be followed.
    Everything,
    /// From the first to before the last.
    Part(u64, u64),
    /// Nothing that there is.
    Unsatisfiable,
}

impl Wanted {
    /// Reads the header's value. Several ranges at once are answered with everything, which is allowed.
    pub(crate) fn parse(header: &str, size_bytes: u64) -> Self {
        let Some(range) = header.trim().strip_prefix("bytes=") else {
            return Self::Everything;
        };
        let Some((first, last)) = range.trim().split_once('-') else {
            return Self::Everything;
        };
        let (first, last) = (number(first), number(last));
        let (start, end) = match (first, last) {
            (Number::Is(first), Number::Is(last)) if first <= last => {
                (first, last.saturating_add(1).min(size_bytes))
            }
            // Invalid, which may be ignored or refused; to serve everything would surprise.
            (Number::Is(_), Number::Is(_)) => return Self::Unsatisfiable,
            (Number::Is(first), Number::Absent) => (first, size_bytes),
            (Number::Absent, Number::Is(last)) => (size_bytes.saturating_sub(last), size_bytes),
            _ => return Self::Everything,
        };
        if start >= end {
            return Self::Unsatisfiable;
        }
        Self::Part(start, end)
    }
}

enum Number {
    Is(u64),
    Absent,
    Bad,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::Absent;
    }
    digits(text).map_or(Number::Bad, Number::Is)
}

fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The `Content-Range` of a chunk: its first byte and its length. Some clients write `bytes ` before and `/*` behind.
pub(crate) fn parse_chunk(header: &str) -> Option<(u64, u64)> {
    let range = header.trim();
    let range = range.strip_prefix("bytes ").unwrap_or(range);
    let range = range.split('/').next().unwrap_or_default();
    let (first, last) = range.split_once('-')?;
    let (first, last) = (digits(first)?, digits(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    Some((first, length))
}

/// The `Range` of an upload of this size, as the specification words it: `0-` and the last byte's position.
pub(crate) fn arrived(size_bytes: u64) -> String {
    format!("0-{}", size_bytes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_downloads() {
        let cases = [
            ("bytes=0-0", Wanted::Part(0, 1)),
            ("bytes=2-", Wanted::Part(2, 10)),
            ("bytes=2-99", Wanted::Part(2, 10)),
            ("bytes=-3", Wanted::Part(7, 10)),
            ("bytes=-99", Wanted::Part(0, 10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-1,3-4", Wanted::Everything),
            ("bytes=5-2", Wanted::Unsatisfiable),
            ("bytes=a-b", Wanted::Everything),
            ("bytes=-", Wanted::Everything),
            ("bytes=+1-2", Wanted::Everything),
            ("lines=0-1", Wanted::Everything),
            ("bytes=0-18446744073709551615", Wanted::Part(0, 10)),
            ("bytes=0-99999999999999999999", Wanted::Everything),
        ];
        for (header, wanted) in cases {
            assert_eq!(Wanted::parse(header, 10), wanted, "{header}");
        }
        assert_eq!(Wanted::parse("bytes=0-0", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn ranges_of_chunks() {
        assert_eq!(parse_chunk("0-4"), Some((0, 5)));
        assert_eq!(parse_chunk("bytes 5-5/*"), Some((5, 1)));
        for bad in ["", "-", "5-4", "0-18446744073709551615", "a-b", "1", "-1-2"] {
            assert_eq!(parse_chunk(bad), None, "{bad}");
        }
        assert_eq!((arrived(0).as_str(), arrived(5).as_str()), ("0-0", "0-4"));
    }
}
