//! What templates can call: Go's builtins and Docker's additions.

use super::value::{Empty, Value, go_float};
use indexmap::IndexMap;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// No width or precision beyond this is honoured.
const LONGEST: usize = 1 << 12;

/// Functions that only pass their argument on when they stand in a table's header.
const PASSED_IN_HEADERS: &[&str] = &[
    "json", "title", "lower", "upper", "truncate", "join", "split", "pad",
];

const NAMES: &[&str] = &[
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "urlquery",
    "eq", "ne", "lt", "le", "gt", "ge", "json", "split", "join", "title", "lower", "upper", "pad",
    "truncate",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

pub(super) fn call(name: &str, arguments: &[Value], is_header: bool) -> Result<Value, String> {
    if is_header && PASSED_IN_HEADERS.contains(&name) {
        return Ok(arguments.first().cloned().unwrap_or_default());
    }
    match name {
        "not" => Ok(Value::Bool(!one(name, arguments)?.is_true())),
        "len" => length(one(name, arguments)?),
        "index" => index(arguments),
        "slice" => slice(arguments),
        "print" => Ok(Value::from(print(arguments))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(in_interface).collect();
            Ok(Value::from(words.join(" ") + "\n"))
        }
        "printf" => {
            let (format, rest) = arguments
                .split_first()
                .ok_or_else(|| wrong_count(name, 1, 0))?;
            Ok(Value::from(printf(format.str(), rest)))
        }
        "html" => Ok(Value::from(html(&print(arguments)))),
        "urlquery" => Ok(Value::from(url_query(&print(arguments)))),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments),
        "json" => Ok(Value::from(one(name, arguments)?.to_template_json())),
        "split" => {
            let [text, separator] = two(name, arguments)?;
            Ok(Value::List(
                text.str().split(separator.str()).map(Value::text).collect(),
            ))
        }
        "join" => {
            let [list, separator] = two(name, arguments)?;
            let words: Vec<String> = list.list().iter().map(ToString::to_string).collect();
            Ok(Value::from(words.join(separator.str())))
        }
        "title" => Ok(Value::from(title(text(one(name, arguments)?)?))),
        "lower" => Ok(Value::from(text(one(name, arguments)?)?.to_lowercase())),
        "upper" => Ok(Value::from(text(one(name, arguments)?)?.to_uppercase())),
        "pad" => pad(arguments),
        "truncate" => {
            let [text, count] = two(name, arguments)?;
            let count = usize::try_from(count.integer()).unwrap_or(0);
            Ok(Value::from(
                text.str().chars().take(count).collect::<String>(),
            ))
        }
        _ => Err(format!("function {name:?} not defined")),
    }
}

fn wrong_count(name: &str, wanted: usize, got: usize) -> String {
    format!("wrong number of args for {name}: want {wanted} got {got}")
}

fn one<'a>(name: &str, arguments: &'a [Value]) -> Result<&'a Value, String> {
    match arguments {
        [only] => Ok(only),
        _ => Err(wrong_count(name, 1, arguments.len())),
    }
}

fn two<'a>(name: &str, arguments: &'a [Value]) -> Result<[&'a Value; 2], String> {
    match arguments {
        [first, second] => Ok([first, second]),
        _ => Err(wrong_count(name, 2, arguments.len())),
    }
}

fn integer(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn length(value: &Value) -> Result<Value, String> {
    match value {
        Value::Text(text) => Ok(integer(text.len())),
        Value::List(list) => Ok(integer(list.len())),
        Value::Map(map) | Value::Struct(map) => Ok(integer(map.len())),
        Value::Empty(Empty::List | Empty::Map) => Ok(Value::Integer(0)),
        Value::Nil | Value::Empty(_) => Err("len of nil pointer".into()),
        other => Err(format!("len of type {}", other.type_name())),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (first, keys) = arguments
        .split_first()
        .ok_or_else(|| wrong_count("index", 1, 0))?;
    let mut value = first.clone();
    for key in keys {
        value = match &value {
            Value::Map(map) => match key {
                Value::Text(key) => map.get(&**key).cloned().unwrap_or_else(|| absent_in(map)),
                other => {
                    return Err(format!(
                        "value has type {}; should be string",
                        other.type_name()
                    ));
                }
            },
            Value::List(list) => list[position(key, list.len())?].clone(),
            Value::Text(text) => {
                Value::Integer(i64::from(text.as_bytes()[position(key, text.len())?]))
            }
            Value::Empty(Empty::Map) => Value::text(""),
            Value::Nil | Value::Empty(_) => return Err("index of untyped nil".into()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

/// What Go has for a key that is not in a map: the zero of its values' type.
fn absent_in(map: &IndexMap<String, Value>) -> Value {
    let is_text = map.values().all(|value| matches!(value, Value::Text(_)));
    if is_text { Value::text("") } else { Value::Nil }
}

fn position(key: &Value, length: usize) -> Result<usize, String> {
    let Value::Integer(number) = key else {
        return Err(match key {
            Value::Nil => "cannot index slice/array with nil".into(),
            other => format!("cannot index slice/array with type {}", other.type_name()),
        });
    };
    let position = usize::try_from(*number)
        .ok()
        .filter(|position| *position < length);
    position.ok_or_else(|| {
        if usize::try_from(*number) == Ok(length) {
            // Go checks against the capacity first, and the one after the last is left to another check.
            return "reflect: slice index out of range".to_owned();
        }
        format!("index out of range: {number}")
    })
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let (value, bounds) = arguments
        .split_first()
        .ok_or_else(|| wrong_count("slice", 1, 0))?;
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, otherwise: usize| match bounds.get(at) {
        None => Ok(otherwise),
        Some(key) => position(key, length + 1),
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    match value {
        Value::Text(text) => Ok(Value::from(
            String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned(),
        )),
        other => Ok(Value::List(other.list()[start..end].into())),
    }
}

/// The argument of a function that takes texts alone.
fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Nil | Value::Empty(_) => Err("invalid value; expected string".into()),
        other => Err(format!(
            "wrong type for value; expected string; got {}",
            other.type_name()
        )),
    }
}

/// A nil in an argument list prints as `<nil>`, other than at the end of a pipeline.
fn in_interface(value: &Value) -> String {
    if matches!(value, Value::Nil) {
        "<nil>".into()
    } else {
        value.to_string()
    }
}

fn print(arguments: &[Value]) -> String {
    let mut text = String::new();
    for (index, value) in arguments.iter().enumerate() {
        let neither_is_text = index > 0
            && !matches!(value, Value::Text(_))
            && !matches!(arguments[index - 1], Value::Text(_));
        if neither_is_text {
            text.push(' ');
        }
        text.push_str(&in_interface(value));
    }
    text
}

fn compare(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let (first, rest) = arguments
        .split_first()
        .ok_or_else(|| "missing argument for comparison".to_owned())?;
    if rest.is_empty() {
        return Err("missing argument for comparison".into());
    }
    if name == "eq" {
        for value in rest {
            if equal(first, value)? {
                return Ok(Value::Bool(true));
            }
        }
        return Ok(Value::Bool(false));
    }
    let [first, second] = two(name, arguments)?;
    if name == "ne" {
        return Ok(Value::Bool(!equal(first, second)?));
    }
    let ordering = match (first, second) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Integer(_) | Value::Float(_), Value::Integer(_) | Value::Float(_)) => float(first)
            .partial_cmp(&float(second))
            .unwrap_or(Ordering::Equal),
        (Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Nil, _) => {
            return Err("invalid type for comparison".into());
        }
        _ => return Err("incompatible types for comparison".into()),
    };
    Ok(Value::Bool(match name {
        "lt" => ordering.is_lt(),
        "le" => ordering.is_le(),
        "gt" => ordering.is_gt(),
        _ => ordering.is_ge(),
    }))
}

fn equal(first: &Value, second: &Value) -> Result<bool, String> {
    match (first, second) {
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Integer(a), Value::Integer(b)) => Ok(a == b),
        (Value::Integer(_) | Value::Float(_), Value::Integer(_) | Value::Float(_)) => {
            Ok(float(first).total_cmp(&float(second)).is_eq())
        }
        (Value::Nil | Value::Empty(_), Value::Nil | Value::Empty(_)) => Ok(true),
        (Value::Nil | Value::Empty(_), _) | (_, Value::Nil | Value::Empty(_)) => Ok(false),
        _ => Err("incompatible types for comparison".into()),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "as precise as Go's comparison of mixed numbers needs"
)]
fn float(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        _ => 0.0,
    }
}

fn title(text: &str) -> String {
    let mut is_start = true;
    text.chars()
        .flat_map(|character| {
            let upper: Vec<char> = if is_start {
                character.to_uppercase().collect()
            } else {
                vec![character]
            };
            is_start = !(character.is_alphanumeric() || character == '_' || character == '\'');
            upper
        })
        .collect()
}

fn pad(arguments: &[Value]) -> Result<Value, String> {
    let [text, before, after] = arguments else {
        return Err(wrong_count("pad", 3, arguments.len()));
    };
    if text.str().is_empty() {
        return Ok(Value::from(""));
    }
    let spaces =
        |count: &Value| " ".repeat(usize::try_from(count.integer()).unwrap_or(0).min(1 << 16));
    Ok(Value::from(format!(
        "{}{}{}",
        spaces(before),
        text.str(),
        spaces(after)
    )))
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('\'', "&#39;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
}

fn url_query(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[derive(Default)]
struct Directive {
    is_left: bool,
    is_zero: bool,
    is_plus: bool,
    is_sharp: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `fmt.Sprintf` for the verbs that make sense of our values.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut next = 0;
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let directive = read_directive(&mut characters, arguments, &mut next);
        let Some(verb) = characters.next() else {
            text.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let Some(value) = arguments.get(next) else {
            let _ = write!(text, "%!{verb}(MISSING)");
            continue;
        };
        next += 1;
        text.push_str(&padded(
            &verb_text(verb, value, &directive),
            &directive,
            verb,
        ));
    }
    if next < arguments.len() {
        let extra: Vec<String> = arguments[next..]
            .iter()
            .map(|value| format!("{}={}", value.type_name(), in_interface(value)))
            .collect();
        let _ = write!(text, "%!(EXTRA {})", extra.join(", "));
    }
    text
}

/// What stands between the percent sign and the verb.
fn read_directive(
    characters: &mut Peekable<Chars<'_>>,
    arguments: &[Value],
    next: &mut usize,
) -> Directive {
    let mut directive = Directive::default();
    while let Some(flag) = characters.next_if(|c| "-+# 0".contains(*c)) {
        match flag {
            '-' => directive.is_left = true,
            '0' => directive.is_zero = true,
            '+' => directive.is_plus = true,
            '#' => directive.is_sharp = true,
            _ => {}
        }
    }
    directive.width = if characters.next_if_eq(&'*').is_some() {
        let width = arguments.get(*next).map_or(0, Value::integer);
        *next += 1;
        usize::try_from(width).unwrap_or(0).min(LONGEST)
    } else {
        read_number(characters)
    };
    if characters.next_if_eq(&'.').is_some() {
        directive.precision = Some(read_number(characters));
    }
    directive
}

fn read_number(characters: &mut Peekable<Chars<'_>>) -> usize {
    let mut number = 0;
    while let Some(digit) = characters.peek().and_then(|c| c.to_digit(10)) {
        number = (number * 10 + digit as usize).min(LONGEST);
        characters.next();
    }
    number
}

fn verb_text(verb: char, value: &Value, directive: &Directive) -> String {
    let signed = |text: String| {
        if directive.is_plus && !text.starts_with('-') {
            format!("+{text}")
        } else {
            text
        }
    };
    match (verb, value) {
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('s' | 'v', Value::Text(text)) => match directive.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_string(),
        },
        ('v' | 's', Value::Nil) => if verb == 'v' { "<nil>" } else { "%!s(<nil>)" }.into(),
        ('s', Value::List(_) | Value::Map(_) | Value::Record(_)) | ('v', _) => match value {
            Value::Float(_) | Value::Integer(_) => signed(value.to_string()),
            _ => value.to_string(),
        },
        ('d', Value::Integer(number)) => signed(number.to_string()),
        ('x', Value::Integer(number)) if directive.is_sharp => format!("{number:#x}"),
        ('x', Value::Integer(number)) => format!("{number:x}"),
        ('X', Value::Integer(number)) => format!("{number:X}"),
        ('o', Value::Integer(number)) => format!("{number:o}"),
        ('b', Value::Integer(number)) => format!("{number:b}"),
        ('c', Value::Integer(number)) => u32::try_from(*number)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or(char::REPLACEMENT_CHARACTER)
            .to_string(),
        ('x', Value::Text(text)) => text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        ('t', Value::Bool(value)) => value.to_string(),
        ('f' | 'F', Value::Float(number)) => {
            signed(format!("{number:.*}", directive.precision.unwrap_or(6)))
        }
        ('g', Value::Float(number)) => signed(go_float(*number)),
        _ => format!("%!{verb}({}={})", value.type_name(), in_interface(value)),
    }
}

fn padded(text: &str, directive: &Directive, verb: char) -> String {
    let missing = directive.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text.to_owned();
    }
    if directive.is_left {
        return format!("{text}{}", " ".repeat(missing));
    }
    if directive.is_zero && !matches!(verb, 's' | 'q') {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
