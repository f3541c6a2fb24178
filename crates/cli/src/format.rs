//! Sizes, texts and tables for people.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// `units.HumanSizeWithPrecision(size, 4)`: powers of 1000, four significant digits.
pub(crate) fn human_size(bytes: f64) -> String {
    human_size_with(bytes, 4)
}

/// The same with another number of significant digits.
pub(crate) fn human_size_with(bytes: f64, digits: usize) -> String {
    scaled(
        bytes,
        1000.0,
        &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"],
        digits,
    )
}

/// `units.BytesSize`: powers of 1024.
pub(crate) fn binary_size(bytes: f64) -> String {
    scaled(
        bytes,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"],
        4,
    )
}

fn scaled(bytes: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut size = bytes;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// Go's `%.{digits}g`.
fn significant(number: f64, digits: usize) -> String {
    if number == 0.0 || !number.is_finite() {
        return "0".into();
    }
    let exponent = format!("{number:.*e}", digits.saturating_sub(1))
        .split_once('e')
        .map_or(0, |(_, e)| e.parse::<i32>().unwrap_or(0));
    let precision = i32::try_from(digits).unwrap_or(0);
    if exponent < -4 || exponent >= precision {
        let text = format!("{number:.*e}", digits.saturating_sub(1));
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        let (sign, power) = power
            .strip_prefix('-')
            .map_or(('+', power), |power| ('-', power));
        return format!("{mantissa}e{sign}{power:0>2}");
    }
    let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Bytes of an API answer as a number to show.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are shown with four digits"
)]
pub(crate) fn float(bytes: i64) -> f64 {
    bytes as f64
}

/// At most `width` columns, the last an ellipsis where something was cut; wide characters count twice.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if width == 0 {
        return String::new();
    }
    let count = text.chars().count();
    if count <= width && text.chars().map(char_width).sum::<usize>() <= width {
        return text.to_owned();
    }
    if width == 1 {
        return text.chars().next().map(String::from).unwrap_or_default();
    }
    let mut columns = 0;
    let mut shown = String::new();
    for character in text.chars() {
        columns += char_width(character);
        if columns > width - 1 {
            break;
        }
        shown.push(character);
    }
    shown.push('…');
    shown
}

/// Columns of a character on a terminal: the blocks of East Asian wide characters take two.
fn char_width(character: char) -> usize {
    match u32::from(character) {
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Go's `strconv.Quote`.
pub(crate) fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if u32::from(control) < 0x20 || control == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            other if other.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Drops `sha256:` and cuts to 12 digits.
pub(crate) fn short_id(id: &str) -> String {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.chars().take(12).collect()
}

/// Digits in texts compare as numbers.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let digits = |text: &str| {
                text.find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(text.len())
            };
            let (left, right) = (digits(a), digits(b));
            let (x, y) = (
                a[..left].trim_start_matches('0'),
                b[..right].trim_start_matches('0'),
            );
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[left..], &b[right..]);
            continue;
        }
        if first != second {
            return first.cmp(&second);
        }
        (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
    }
}

/// Aligns cells that are separated by tabs, as Go's tabwriter with a least width of 10 and padding of 3.
pub(crate) fn tabulate(text: &str) -> String {
    tabulate_with(text, 10, 3)
}

/// Aligns cells; a column spans the lines in a row that have it, and a line's last cell belongs to none.
pub(crate) fn tabulate_with(text: &str, least: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text
        .split('\n')
        .map(|line| line.split('\t').collect())
        .collect();
    let mut widths: Vec<Vec<usize>> = lines
        .iter()
        .map(|line| vec![0; line.len().saturating_sub(1)])
        .collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            if widths[start].len() <= column {
                start += 1;
                continue;
            }
            let end = (start..lines.len())
                .find(|line| widths[*line].len() <= column)
                .unwrap_or(lines.len());
            let widest = lines[start..end]
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            for width in &mut widths[start..end] {
                width[column] = (widest + padding).max(least);
            }
            start = end;
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (index, (line, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for (column, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column) {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits() {
        let cases = [
            (0.0, "0B"),
            (999.0, "999B"),
            (1000.0, "1kB"),
            (4_423_000.0, "4.423MB"),
            (187_654_321.0, "187.7MB"),
            (1.0e9, "1GB"),
            (999_999.0, "1000kB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(human_size(bytes), expected, "{bytes}");
        }
        assert_eq!(binary_size(67_108_864.0), "64MiB");
        assert_eq!(human_size_with(4_423_000.0, 3), "4.42MB");
    }

    #[test]
    fn cells_are_aligned_as_by_tabwriter() {
        let text = "ID\tNAME\nabcdefghijkl\tx\n";
        assert_eq!(tabulate(text), "ID             NAME\nabcdefghijkl   x\n");
        assert_eq!(tabulate("A\tB\tC\n"), "A         B         C\n");
    }

    #[test]
    fn long_texts_end_with_an_ellipsis() {
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }

    #[test]
    fn ports_sort_as_numbers() {
        assert_eq!(natural_order("80/tcp", "443/tcp"), Ordering::Less);
        assert_eq!(
            natural_order("80/tcp -> 1:9", "80/tcp -> 1:10"),
            Ordering::Less
        );
        assert_eq!(natural_order("a", "a"), Ordering::Equal);
    }
}
