//! The definition of one flag of one command, and the flags that a command line gave.

use std::collections::HashMap;

/// Checks one value; the error says what is wrong with it.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// A flag: how it is written, what it takes, how help shows it.
#[derive(Clone)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) aliases: &'static [&'static str],
    /// The word in help after the name; empty for booleans.
    pub(crate) type_name: &'static str,
    /// Shown in help as `(default …)`.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
    pub(crate) is_hidden: bool,
    pub(crate) check: Option<Check>,
}

impl Flag {
    const fn with(long: &'static str, type_name: &'static str, about: &'static str) -> Self {
        Self {
            long,
            short: None,
            aliases: &[],
            type_name,
            default: "",
            about,
            is_hidden: false,
            check: None,
        }
    }
    /// `--long`, `--long=false`
    pub(crate) const fn boolean(long: &'static str, about: &'static str) -> Self {
        Self {
            check: Some(check_boolean),
            ..Self::with(long, "", about)
        }
    }
    /// `--long TEXT`; the last one counts.
    pub(crate) const fn text(long: &'static str, about: &'static str) -> Self {
        Self::with(long, "string", about)
    }
    /// `--long NUMBER`
    pub(crate) const fn integer(long: &'static str, about: &'static str) -> Self {
        Self {
            check: Some(check_integer),
            ..Self::with(long, "int", about)
        }
    }
    /// `--long VALUE`, as often as wanted.
    pub(crate) const fn list(long: &'static str, about: &'static str) -> Self {
        Self {
            ..Self::with(long, "list", about)
        }
    }
    /// `--filter KEY=VALUE`, as often as wanted.
    pub(crate) const fn filter(about: &'static str) -> Self {
        Self {
            check: Some(crate::filter::check),
            ..Self::with("filter", "filter", about)
        }
    }
    /// `--format TEMPLATE` for lists, which can be tables.
    pub(crate) const fn format() -> Self {
        Self::text("format", FORMAT_ABOUT)
    }
    /// `--format TEMPLATE` for what has no table.
    pub(crate) const fn format_without_table() -> Self {
        Self::text("format", INSPECT_FORMAT_ABOUT)
    }
    /// With a one-letter form.
    pub(crate) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }
    /// Also known by these names, which help does not show.
    pub(crate) const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }
    /// With another word after the name in help.
    pub(crate) const fn type_name(mut self, type_name: &'static str) -> Self {
        self.type_name = type_name;
        self
    }
    /// With a default that help shows.
    pub(crate) const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
    /// With a check of each value.
    pub(crate) const fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }
    /// Accepted, but not shown in help.
    pub(crate) const fn hidden(mut self) -> Self {
        self.is_hidden = true;
        self
    }
    pub(crate) fn is_boolean(&self) -> bool {
        self.type_name.is_empty()
    }
    /// `-m, --memory`, as errors name it.
    pub(crate) fn display_name(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

const FORMAT_ABOUT: &str = "Format output using a custom template:
'table':            Print a table with column headers (default)
'table TEMPLATE':   Print a table using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.";

const INSPECT_FORMAT_ABOUT: &str = "Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.";

/// What a command line said: values by flag, in order, and the arguments.
#[derive(Debug, Default)]
pub(crate) struct Given {
    values: HashMap<&'static str, Vec<String>>,
    /// What is not a flag.
    pub(crate) arguments: Vec<String>,
    /// `docker run` or `docker container run`.
    pub(crate) invoked: String,
}

impl Given {
    pub(crate) fn insert(&mut self, name: &'static str, values: Vec<String>) {
        self.values.insert(name, values);
    }
    /// Whether the flag was given at all.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
    /// A boolean flag.
    pub(crate) fn bool(&self, name: &str) -> bool {
        self.bool_or(name, false)
    }
    /// A boolean flag with a default.
    pub(crate) fn bool_or(&self, name: &str, default: bool) -> bool {
        self.values
            .get(name)
            .and_then(|values| values.last())
            .map_or(default, |text| parse_boolean(text) == Some(true))
    }
    /// A text flag, empty if not given.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.values
            .get(name)
            .and_then(|values| values.last())
            .map_or("", String::as_str)
    }
    /// A number; its flag's check made sure that it is one.
    pub(crate) fn integer(&self, name: &str) -> i64 {
        parse_integer(self.text(name)).unwrap_or(0)
    }
    /// A number with a default.
    pub(crate) fn integer_or(&self, name: &str, default: i64) -> i64 {
        if self.is_given(name) {
            self.integer(name)
        } else {
            default
        }
    }
    /// All values of a repeated flag.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The words that Go takes for booleans.
pub(crate) fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn check_boolean(text: &str) -> Result<(), String> {
    parse_boolean(text)
        .map(|_| ())
        .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

/// A number as Go reads it with base 0: decimal, `0x…`, `0o…`, `0…`, `0b…`, with underscores.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower[2..].replace('_', "")),
        [b'0', b'o', ..] => (8, lower[2..].replace('_', "")),
        [b'0', b'b', ..] => (2, lower[2..].replace('_', "")),
        [b'0', _, ..] => (8, lower[1..].replace('_', "")),
        _ => (10, lower),
    };
    let signed = if is_negative {
        format!("-{digits}")
    } else {
        digits
    };
    i64::from_str_radix(&signed, radix).ok()
}

pub(crate) fn check_integer(text: &str) -> Result<(), String> {
    parse_integer(text).map(|_| ()).ok_or_else(|| {
        let is_number = !text.is_empty()
            && text
                .trim_start_matches('-')
                .bytes()
                .all(|byte| byte.is_ascii_digit());
        let reason = if is_number {
            "value out of range"
        } else {
            "invalid syntax"
        };
        format!("strconv.ParseInt: parsing {text:?}: {reason}")
    })
}

pub(crate) fn check_unsigned(text: &str) -> Result<(), String> {
    text.parse::<u64>()
        .map(|_| ())
        .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))
}

pub(crate) fn check_unsigned_16(text: &str) -> Result<(), String> {
    text.parse::<u16>().map(|_| ()).map_err(|_| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let reason = if is_number {
            "value out of range"
        } else {
            "invalid syntax"
        };
        format!("strconv.ParseUint: parsing {text:?}: {reason}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_does() {
        let cases = [
            ("10", Some(10)),
            ("-1", Some(-1)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("1e3", None),
            ("", None),
            ("--1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_integer(text), expected, "{text}");
        }
    }
}
