//! The keys that leave a container running, `ctrl-p,ctrl-q` unless the user chose others.

const DEFAULT_KEYS: &[u8] = &[16, 17];

/// Watches what is typed. Keys that begin a sequence are held back until it is clear that they are not one.
pub(crate) struct DetachFilter {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachFilter {
    /// A filter for keys as in `--detach-keys`; empty or invalid ones give the default.
    pub(crate) fn new(keys: &str) -> Self {
        let keys = parse_keys(keys).unwrap_or_else(|| DEFAULT_KEYS.to_vec());
        Self { keys, matched: 0 }
    }
    /// Appends to `out` what is to be passed on. True when the sequence is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if byte == self.keys[0] && self.keys.len() > 1 {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        false
    }
}

/// `a`, `ctrl-x`, joined by commas.
fn parse_keys(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    text.split(',').map(parse_key).collect()
}

fn parse_key(text: &str) -> Option<u8> {
    let mut bytes = text.bytes();
    if let (Some(only), None) = (bytes.next(), bytes.next()) {
        return Some(only);
    }
    match text.strip_prefix("ctrl-")? {
        "@" => Some(0),
        "[" => Some(27),
        "\\" => Some(28),
        "]" => Some(29),
        "^" => Some(30),
        "_" => Some(31),
        letter => match letter.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sequence_across_reads() {
        let mut filter = DetachFilter::new("");
        let mut out = Vec::new();
        assert!(!filter.feed(b"a\x10", &mut out));
        assert_eq!(out, b"a");
        assert!(filter.feed(b"\x11", &mut out));
    }

    #[test]
    fn what_is_no_sequence_is_passed_on() {
        let mut filter = DetachFilter::new("ctrl-a,b");
        let mut out = Vec::new();
        assert!(!filter.feed(b"\x01c\x01\x01x", &mut out));
        assert_eq!(out, b"\x01c\x01\x01x");
        assert!(filter.feed(b"\x01b", &mut out));
    }

    #[test]
    fn keys_have_names() {
        assert_eq!(parse_keys("ctrl-p,q,ctrl-["), Some(vec![16, b'q', 27]));
        assert_eq!(parse_keys("ctrl-é"), None);
        assert_eq!(parse_keys("ab"), None);
    }
}
