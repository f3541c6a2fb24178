//! Fields of a header block: NUL-terminated text, octal and base-256 numbers.

use super::invalid;
use gantry_base::Result;

/// The bytes before the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..memchr::memchr(0, field).unwrap_or(field.len())]
}

/// A number that must not be negative.
pub(super) fn unsigned(field: &[u8]) -> Result<u64> {
    u64::try_from(signed(field)?).map_err(|_| invalid("negative number"))
}

/// An octal number, or a base-256 one (first bit set), which may be negative.
pub(super) fn signed(field: &[u8]) -> Result<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i64> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field
        .iter()
        .position(|byte| !is_padding(byte))
        .unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_padding) {
        return Err(invalid("text after a number"));
    }
    digits[..end]
        .iter()
        .try_fold(0i64, |value, byte| match byte {
            b'0'..=b'7' => value
                .checked_mul(8)
                .and_then(|value| value.checked_add(i64::from(byte - b'0')))
                .ok_or_else(|| invalid("number out of range")),
            _ => Err(invalid("not an octal number")),
        })
}

fn base_256(field: &[u8]) -> Result<i64> {
    // Two's complement, big endian; the topmost bit only marks the form, the next one is the sign.
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
            return Err(invalid("number out of range"));
        }
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| invalid("number out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_forms() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"        ", 0),
            (b"\0\0\0\0", 0),
            (b"77777777777", 0o77_777_777_777),
            (b"\x80\0\0\0\0\0\0\x01\0\0\0\0", 1 << 32),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -1),
        ] {
            assert_eq!(signed(field).expect("is a number"), value, "{field:?}");
        }
        for bad in [
            &b"0000648\0"[..],
            b"12x",
            b"-1",
            b"1 2",
            b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert!(signed(bad).is_err(), "{bad:?}");
        }
        assert!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
