//! Key sequences that detach: `ctrl-p,ctrl-q` as bytes.

/// The bytes of a sequence; none where it names unknown keys.
pub(super) fn parse(text: &str) -> Option<Vec<u8>> {
    text.split(',').map(key).collect()
}

fn key(text: &str) -> Option<u8> {
    if let [byte] = text.as_bytes() {
        return Some(*byte);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [b'['] => Some(27),
        [b'\\'] => Some(28),
        [b']'] => Some(29),
        [b'^'] => Some(30),
        [b'_'] => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bytes() {
        assert_eq!(parse("ctrl-p,ctrl-q"), Some(vec![16, 17]));
        assert_eq!(parse("a,ctrl-@,ctrl-_"), Some(vec![b'a', 0, 31]));
        for bad in ["foo", "ctrl-", "ctrl-A", "", "a,,b"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
