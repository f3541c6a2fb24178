//! Takes out of a text what must differ between two daemons: ids, times, addresses, generated names.

/// The text with placeholders.
pub(crate) fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for character in text.chars() {
        let belongs = character.is_ascii_alphanumeric() || matches!(character, '.' | ':' | '-' | '_');
        if belongs {
            word.push(character);
            continue;
        }
        out.push_str(&replace(&word));
        word.clear();
        out.push(character);
    }
    out.push_str(&replace(&word));
    squeeze(&out)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn replace(word: &str) -> String {
    let core = word.trim_end_matches([':', '.']);
    let tail = &word[core.len()..];
    let bare = core.strip_prefix("sha256:").unwrap_or(core);
    let has_letter_and_digit = bare.bytes().any(|b| b.is_ascii_digit()) && bare.bytes().any(|b| b.is_ascii_alphabetic());
    if is_hex(bare) && (bare.len() == 64 || (bare.len() == 12 && has_letter_and_digit)) {
        return format!("ID{tail}");
    }
    if is_time(core) {
        return format!("TIME{tail}");
    }
    if is_address(core) {
        return format!("ADDRESS{tail}");
    }
    word.to_owned()
}

/// RFC 3339 with or without fraction.
fn is_time(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 19 && bytes[4] == b'-' && bytes[7] == b'-' && bytes[10] == b'T' && bytes[13] == b':'
}

/// An address of either daemon's bridge.
fn is_address(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok()) && !word.starts_with("127.") && word != "0.0.0.0"
}

/// Runs of spaces, which depend on the width of ids and times, become one.
fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut last = ' ';
        for character in line.chars() {
            if character != ' ' || last != ' ' || out.ends_with('\n') || out.is_empty() {
                out.push(character);
            }
            last = character;
        }
    }
    out
}

#[test]
fn ids_times_and_addresses_are_taken_out() {
    let id = "ab12".repeat(16);
    let text = format!("{id} 2026-11-21T10:00:00.123Z at 172.17.0.2: container abcdef012345 is  not 0.0.0.0:8080");
    assert_eq!(normalize(&text), "ID TIME at ADDRESS: container ID is not 0.0.0.0:8080");
    assert_eq!(normalize("deadbeef and 123456789012"), "deadbeef and 123456789012");
}
