//! Reads Docker's json-file format: pure over bytes. One JSON object a line, `log` and `stream` first and `time` last.
//!
//! A line that is torn or damaged is skipped; reading goes on at the next line break.

use std::borrow::Cow;

/// One entry.
#[derive(Debug, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) message: Cow<'a, [u8]>,
    pub(super) is_stderr: bool,
    /// RFC 3339 as written.
    pub(super) time: &'a str,
    /// `attrs` as written.
    pub(super) attributes: Option<&'a [u8]>,
}

/// Reads one line without its line break.
pub(super) fn parse_line(line: &[u8]) -> Option<Entry<'_>> {
    let rest = line.strip_prefix(b"{\"log\":\"")?;
    let (message, rest) = unescape(rest)?;
    let rest = rest.strip_prefix(b",\"stream\":\"")?;
    let end = memchr::memchr(b'"', rest)?;
    let is_stderr = &rest[..end] == b"stderr";
    let mut rest = &rest[end + 1..];
    let mut attributes = None;
    if let Some(after) = rest.strip_prefix(b",\"attrs\":") {
        let end = memchr::memmem::find(after, b"},\"time\":")? + 1;
        attributes = Some(&after[..end]);
        rest = &after[end..];
    }
    let rest = rest.strip_prefix(b",\"time\":\"")?;
    let end = memchr::memchr(b'"', rest)?;
    let time = std::str::from_utf8(&rest[..end]).ok()?;
    (rest.get(end + 1..)? == b"}").then_some(Entry {
        message,
        is_stderr,
        time,
        attributes,
    })
}

/// The text up to the closing quote, and what follows the quote.
fn unescape(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let first = memchr::memchr2(b'"', b'\\', text)?;
    if text[first] == b'"' {
        return Some((Cow::Borrowed(&text[..first]), &text[first + 1..]));
    }
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    loop {
        if rest.first()? == &b'"' {
            return Some((Cow::Owned(out), &rest[1..]));
        }
        rest = unescape_one(&rest[1..], &mut out)?;
        let next = memchr::memchr2(b'"', b'\\', rest)?;
        out.extend_from_slice(&rest[..next]);
        rest = &rest[next..];
    }
}

/// One escape without its backslash.
fn unescape_one<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let plain = match text.first()? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'"' => b'"',
        b'\\' => b'\\',
        b'/' => b'/',
        b'u' => {
            let (mut code, mut rest) = (hex4(text.get(1..5)?)?, &text[5..]);
            if (0xd800..0xdc00).contains(&code)
                && let Some(low) = rest
                    .strip_prefix(b"\\u")
                    .and_then(|more| hex4(more.get(..4)?))
                && (0xdc00..0xe000).contains(&low)
            {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                rest = &rest[6..];
            }
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    out.push(plain);
    Some(&text[1..])
}

fn hex4(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Nanoseconds since the epoch of an RFC 3339 time.
pub(super) fn time_ns(text: &str) -> Option<i64> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// How an entry is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) timestamps: bool,
    pub(super) details: bool,
    pub(super) framed: bool,
    pub(super) since_ns: Option<i64>,
    pub(super) until_ns: Option<i64>,
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    Skipped,
    /// It is younger than `until`: nothing that follows is wanted.
    End,
}

impl Form {
    /// Appends the entry of a line to `out`.
    pub(super) fn append(&self, line: &[u8], out: &mut Vec<u8>) -> Sent {
        let Some(entry) = parse_line(line) else {
            return Sent::Skipped;
        };
        if self.since_ns.is_some() || self.until_ns.is_some() {
            let Some(time) = time_ns(entry.time) else {
                return Sent::Skipped;
            };
            if self.until_ns.is_some_and(|until| time > until) {
                return Sent::End;
            }
            if self.since_ns.is_some_and(|since| time < since) {
                return Sent::Skipped;
            }
        }
        let wanted = if entry.is_stderr {
            self.stderr
        } else {
            self.stdout
        };
        if !wanted {
            return Sent::Skipped;
        }
        let start = out.len();
        if self.framed {
            out.extend_from_slice(&[if entry.is_stderr { 2 } else { 1 }, 0, 0, 0, 0, 0, 0, 0]);
        }
        if self.timestamps {
            append_fixed_time(entry.time, out);
            out.push(b' ');
        }
        if self.details {
            append_details(entry.attributes, out);
            out.push(b' ');
        }
        out.extend_from_slice(&entry.message);
        if self.framed {
            let length = u32::try_from(out.len() - start - 8).unwrap_or(u32::MAX);
            out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
        }
        Sent::Yes
    }
}

/// With nine digits after the point, as Docker sends times, so that lines align.
fn append_fixed_time(time: &str, out: &mut Vec<u8>) {
    let Some(bare) = time.strip_suffix('Z') else {
        return out.extend_from_slice(time.as_bytes());
    };
    let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    out.extend_from_slice(seconds.as_bytes());
    out.push(b'.');
    out.extend_from_slice(fraction.as_bytes());
    out.resize(out.len() + 9_usize.saturating_sub(fraction.len()), b'0');
    out.push(b'Z');
}

/// `key=value,key=value`, sorted, URL-escaped as Docker does.
fn append_details(attributes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(attributes) = attributes else { return };
    let parsed: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(attributes).unwrap_or_default();
    let text: Vec<String> = parsed
        .iter()
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect();
    out.extend_from_slice(text.join(",").as_bytes());
}

fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => {
                let _ = write!(escaped, "%{other:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        stdout: true,
        stderr: true,
        timestamps: false,
        details: false,
        framed: true,
        since_ns: None,
        until_ns: None,
    };
    const LINE: &[u8] =
        br#"{"log":"a\u003cb\t\"q\"\\ \ud83d\ude00\n","stream":"stderr","time":"2026-11-21T10:00:00.5Z"}"#;

    #[test]
    fn escapes_and_frames() {
        let mut out = Vec::new();
        assert_eq!(FORM.append(LINE, &mut out), Sent::Yes);
        let text = "a<b\t\"q\"\\ 😀\n";
        assert_eq!(
            out[..8],
            [
                2,
                0,
                0,
                0,
                0,
                0,
                0,
                u8::try_from(text.len()).expect("short")
            ]
        );
        assert_eq!(&out[8..], text.as_bytes());
    }

    #[test]
    fn damaged_lines_are_skipped_wherever_they_are_cut() {
        for length in 0..LINE.len() {
            assert_eq!(
                FORM.append(&LINE[..length], &mut Vec::new()),
                Sent::Skipped,
                "cut at {length}"
            );
        }
        assert_eq!(FORM.append(b"\0\0\0\0", &mut Vec::new()), Sent::Skipped);
    }

    #[test]
    fn times_bound_and_prefix() {
        let at = time_ns("2026-11-21T10:00:00.5Z").expect("valid");
        let bounded = |since_ns, until_ns| {
            Form {
                since_ns,
                until_ns,
                ..FORM
            }
            .append(LINE, &mut Vec::new())
        };
        assert_eq!(bounded(Some(at), Some(at)), Sent::Yes);
        assert_eq!(bounded(Some(at + 1), None), Sent::Skipped);
        assert_eq!(bounded(None, Some(at - 1)), Sent::End);
        let mut out = Vec::new();
        Form {
            timestamps: true,
            framed: false,
            ..FORM
        }
        .append(LINE, &mut out);
        assert!(out.starts_with(b"2026-11-21T10:00:00.500000000Z a<b"));
    }

    #[test]
    fn attributes_are_details() {
        let line = br#"{"log":"x\n","stream":"stdout","attrs":{"b":"2 3","a":"1"},"time":"2026-11-21T10:00:00Z"}"#;
        let mut out = Vec::new();
        Form {
            details: true,
            framed: false,
            ..FORM
        }
        .append(line, &mut out);
        assert_eq!(out, b"a=1,b=2+3 x\n");
    }
}
