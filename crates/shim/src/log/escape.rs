//! Bytes as the inside of a JSON string, escaped as dockerd's json-file driver does.
//!
//! That is: `"` and `\` by a backslash; `\n` and `\r` short; other control characters and `<`, `>`, `&`, U+2028, U+2029
//! as `\u....`; each byte that is not UTF-8 as `\ufffd`. Attributes follow Go's encoder, which knows more short forms.

/// Appends `bytes`, escaped. This is the inner loop of all logging: it looks at 32 or 8 bytes at a time, and copies a
/// fixed number of bytes where fewer are wanted, since that needs no call; the surplus is cut off again.
pub(crate) fn escape(out: &mut Vec<u8>, mut bytes: &[u8]) {
    out.reserve(bytes.len());
    loop {
        while let Some((block, rest)) = bytes.split_first_chunk::<32>() {
            let (words, _) = block.as_chunks::<8>();
            if words
                .iter()
                .fold(0, |found, word| found | special(u64::from_le_bytes(*word)))
                != 0
            {
                break;
            }
            out.extend_from_slice(block);
            bytes = rest;
        }
        let clean = if let Some((word, rest)) = bytes.split_first_chunk::<8>() {
            let found = special(u64::from_le_bytes(*word));
            out.extend_from_slice(word);
            if found == 0 {
                bytes = rest;
                continue;
            }
            let clean = (found.trailing_zeros() / 8) as usize;
            out.truncate(out.len() - (8 - clean));
            clean
        } else {
            let clean = bytes
                .iter()
                .position(|&byte| is_special(byte))
                .unwrap_or(bytes.len());
            out.extend_from_slice(&bytes[..clean]);
            clean
        };
        bytes = &bytes[clean..];
        // Whatever is special is dealt with until something is not; special bytes often come together.
        while let Some(&first) = bytes.first() {
            if first >= 0x80 {
                bytes = &bytes[non_ascii(out, bytes)..];
            } else if is_special(first) {
                let (text, length) = &ESCAPES[usize::from(first)];
                out.extend_from_slice(text);
                out.truncate(out.len() - (text.len() - length));
                bytes = &bytes[1..];
            } else {
                break;
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
}

/// The members of `attrs` as dockerd writes them: sorted by key, of equal keys the last; empty for none.
pub(crate) fn attributes(attributes: &[(String, String)]) -> Vec<u8> {
    let sorted: std::collections::BTreeMap<_, _> =
        attributes.iter().map(|(key, value)| (key, value)).collect();
    let mut out = Vec::new();
    for (key, value) in sorted {
        out.extend_from_slice(if out.is_empty() { b"{" } else { b"," });
        go_string(&mut out, key);
        out.push(b':');
        go_string(&mut out, value);
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Bit 7 of each byte of `word` that needs a closer look. Bytes above the lowest such byte may be marked wrongly, as the
/// subtractions carry; the lowest mark is exact.
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const fn equal(word: u64, byte: u64) -> u64 {
        let difference = word ^ (ONES * byte);
        difference.wrapping_sub(ONES) & !difference
    }
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    // `<` and `>` differ in one bit, as do `"` and `&`.
    let angle = equal(word | (ONES * 0x02), b'>' as u64);
    let quote = equal(word | (ONES * 0x04), b'&' as u64);
    let backslash = equal(word, b'\\' as u64);
    (word | control | angle | quote | backslash) & (ONES * 0x80)
}

const fn is_special(byte: u8) -> bool {
    matches!(byte, 0..0x20 | 0x80.. | b'"' | b'&' | b'<' | b'>' | b'\\')
}

/// The escape of each special ASCII byte, and its length.
static ESCAPES: [([u8; 6], usize); 128] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut escapes = [([0; 6], 0); 128];
    let mut byte = 0_u8;
    while byte < 128 {
        escapes[byte as usize] = match byte {
            b'"' | b'\\' => ([b'\\', byte, 0, 0, 0, 0], 2),
            b'\n' => (*b"\\n\0\0\0\0", 2),
            b'\r' => (*b"\\r\0\0\0\0", 2),
            _ => (
                [
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[(byte >> 4) as usize],
                    HEX[(byte & 15) as usize],
                ],
                6,
            ),
        };
        byte += 1;
    }
    escapes
};

/// Appends the character that `bytes` starts with, which is not ASCII; gives its length.
fn non_ascii(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    match bytes {
        [0xe2, 0x80, 0xa8, ..] => out.extend_from_slice(b"\\u2028"),
        [0xe2, 0x80, 0xa9, ..] => out.extend_from_slice(b"\\u2029"),
        [0xc2..=0xdf, 0x80..=0xbf, ..] => {
            out.extend_from_slice(&bytes[..2]);
            return 2;
        }
        [0xe0, 0xa0..=0xbf, 0x80..=0xbf, ..]
        | [0xe1..=0xec | 0xee | 0xef, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xed, 0x80..=0x9f, 0x80..=0xbf, ..] => out.extend_from_slice(&bytes[..3]),
        [0xf0, 0x90..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xf1..=0xf3, 0x80..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xf4, 0x80..=0x8f, 0x80..=0xbf, 0x80..=0xbf, ..] => {
            out.extend_from_slice(&bytes[..4]);
            return 4;
        }
        _ => {
            out.extend_from_slice(b"\\ufffd");
            return 1;
        }
    }
    3
}

/// A quoted string as Go's `encoding/json` writes it.
fn go_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ => escape(out, character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, bytes);
        String::from_utf8(out).expect("is always UTF-8")
    }

    /// One character at a time, straight from the rules.
    fn reference(mut bytes: &[u8]) -> String {
        let mut out = String::new();
        while let Some(&first) = bytes.first() {
            let length =
                (1..=bytes.len().min(4)).find(|&n| std::str::from_utf8(&bytes[..n]).is_ok());
            match (first, length) {
                (b'"' | b'\\', _) => out.extend(['\\', char::from(first)]),
                (b'\n', _) => out.push_str("\\n"),
                (b'\r', _) => out.push_str("\\r"),
                (0..0x20 | b'<' | b'>' | b'&', _) => out.extend(format!("\\u{first:04x}").chars()),
                (_, None) => out.push_str("\\ufffd"),
                (_, Some(n)) => match std::str::from_utf8(&bytes[..n]).expect("was checked") {
                    "\u{2028}" => out.push_str("\\u2028"),
                    "\u{2029}" => out.push_str("\\u2029"),
                    text => out.push_str(text),
                },
            }
            bytes = &bytes[length.unwrap_or(1)..];
        }
        out
    }

    /// The text was logged by dockerd 28.5 for these bytes.
    #[test]
    fn escapes_what_dockerd_escapes() {
        let all: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
        let expected = concat!(
            r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u0009\u000b\u000c\r\u000e\u000f\u0010\u0011\u0012",
            r"\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f !\",
            "\"#$%\\u0026'()*+,-./0123456789:;\\u003c=\\u003e?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f",
        );
        assert_eq!(escaped(&all), expected.to_owned() + &r"\ufffd".repeat(128));
        assert_eq!(
            escaped(b"bad \xff \xc3( \xe2\x82 \xf0\x9f\x98 \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 end \xe2"),
            r"bad \ufffd \ufffd( \ufffd\ufffd \ufffd\ufffd\ufffd \ufffd\ufffd\ufffd \ufffd\ufffd \ufffd\ufffd\ufffd\ufffd end \ufffd"
        );
        assert_eq!(
            escaped("\u{2028} \u{2029} é 😀 \u{fffd} “x”".as_bytes()),
            "\\u2028 \\u2029 é 😀 \u{fffd} “x”"
        );
    }

    #[test]
    fn every_special_byte_is_found_at_every_offset() {
        for byte in 0..=255 {
            for offset in 0..80 {
                let mut text = vec![b'x'; 90];
                text[offset] = byte;
                text[85] = b'<';
                assert_eq!(escaped(&text), reference(&text), "byte {byte} at {offset}");
            }
        }
    }

    #[test]
    fn random_bytes_are_escaped_as_by_the_rules() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..3000 {
            let bytes: Vec<u8> = (0..round % 97)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let choices = [
                        0xe2,
                        0x80,
                        0xa8,
                        0xa9,
                        b'a',
                        b'"',
                        0xf0,
                        0x9f,
                        0x98,
                        0x80,
                        state.to_le_bytes()[1],
                    ];
                    choices[(state % 11) as usize]
                })
                .collect();
            assert_eq!(escaped(&bytes), reference(&bytes), "{bytes:?}");
        }
    }

    /// Logged by dockerd 28.5 for `--log-opt labels=a,b --log-opt env=E1`.
    #[test]
    fn attributes_are_sorted_and_follow_go() {
        let given = [
            ("b", "x<y>&\"z"),
            ("a", "old"),
            ("E1", "v\u{8}\u{c}\u{1}"),
            ("a", "t\ttab é \u{2028}"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected =
            r#"{"E1":"v\b\f\u0001","a":"t\ttab é \u2028","b":"x\u003cy\u003e\u0026\"z"}"#;
        assert_eq!(
            String::from_utf8(attributes(&given)).expect("is UTF-8"),
            expected
        );
        assert!(attributes(&[]).is_empty());
    }
}
