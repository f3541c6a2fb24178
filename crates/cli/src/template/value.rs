//! The data that templates read: JSON in the daemon's order, and records of our own with methods.
//!
//! Printing follows Go's `%v`, which is what users of `--format` see.

use indexmap::IndexMap;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::rc::Rc;

/// What a method of a [`Record`] does with its arguments.
pub(crate) type Method = Rc<dyn Fn(&[Value]) -> Result<Value, String>>;

/// A value in a template.
#[derive(Clone, Default)]
pub(crate) enum Value {
    /// JSON's null, Go's nil.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Rc<str>),
    /// A list.
    List(Rc<[Value]>),
    /// An object, in the order in which it was sent.
    Map(Rc<IndexMap<String, Value>>),
    /// An object that is a struct in Go, and prints without its names.
    Struct(Rc<IndexMap<String, Value>>),
    /// Null, where Go has a nil of some type.
    Empty(Empty),
    /// A row of a list, whose fields are fixed.
    Record(Rc<Record>),
    /// A method that takes arguments.
    Method(Method),
}

/// What a null is in Go, and how it prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// `[]`
    List,
    /// `map[]`
    Map,
    /// `<nil>`
    Pointer,
}

/// Named fields of one thing; asking for another field is an error that names `type_name`.
pub(crate) struct Record {
    /// The name in errors.
    pub(crate) type_name: &'static str,
    /// Fields and methods, sorted by name when printed as JSON.
    pub(crate) fields: IndexMap<&'static str, Value>,
}

impl Value {
    /// Reads JSON, keeping its order.
    ///
    /// # Errors
    /// Text that is not JSON.
    pub(crate) fn from_json(text: &[u8]) -> gantry_base::Result<Self> {
        serde_json::from_slice(text).map_err(|error| {
            gantry_base::Error::internal(format!("cannot read the daemon's answer: {error}"))
                .with_source(error)
        })
    }
    /// Text.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Rc::from(text.as_ref()))
    }
    /// The field `key` of an object; `Nil` where there is none.
    pub(crate) fn get(&self, key: &str) -> &Value {
        const NIL: &Value = &Value::Nil;
        match self {
            Self::Map(map) | Self::Struct(map) => map.get(key).unwrap_or(NIL),
            Self::Record(record) => record.fields.get(key).unwrap_or(NIL),
            _ => NIL,
        }
    }
    /// The field at the end of `path`.
    pub(crate) fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(self, |value, key| value.get(key))
    }
    /// The text, or nothing where it is not text.
    pub(crate) fn str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }
    /// The number, or zero.
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a number of bytes or seconds, shown to people"
            )]
            Self::Float(number) => *number as i64,
            _ => 0,
        }
    }
    /// Whether this is `true`.
    pub(crate) fn bool(&self) -> bool {
        matches!(self, Self::Bool(true))
    }
    /// The elements of a list; nothing for anything else.
    pub(crate) fn list(&self) -> &[Value] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
    /// The entries of an object; nothing for anything else.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        let map = match self {
            Self::Map(map) | Self::Struct(map) => Some(map),
            _ => None,
        };
        map.into_iter()
            .flat_map(|map| map.iter().map(|(key, value)| (key.as_str(), value)))
    }
    /// Whether this is null or absent.
    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::Empty(_))
    }
    /// Go's notion of truth: not zero, not empty, not nil.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::Empty(_) => false,
            Self::Bool(value) => *value,
            Self::Integer(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Struct(_) | Self::Record(_) | Self::Method(_) => true,
        }
    }
    /// The name of the Go type that this would have, for errors.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil | Self::Empty(_) => "nil",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) | Self::Struct(_) => "map[string]interface {}",
            Self::Record(record) => record.type_name,
            Self::Method(_) => "func",
        }
    }
    /// JSON on one line.
    pub(crate) fn to_json(&self) -> String {
        go_escapes(&serde_json::to_string(self).unwrap_or_default())
    }
    /// As the function `json` of templates writes it: escaped only where the value's own Go type marshals itself.
    pub(crate) fn to_template_json(&self) -> String {
        match self {
            Self::Record(_) => self.to_json(),
            _ => serde_json::to_string(self)
                .unwrap_or_default()
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029"),
        }
    }
    fn write_go(&self, out: &mut String, is_top: bool) {
        match self {
            Self::Nil if is_top => out.push_str("<no value>"),
            Self::Nil | Self::Empty(Empty::Pointer) => out.push_str("<nil>"),
            Self::Empty(Empty::List) => out.push_str("[]"),
            Self::Empty(Empty::Map) => out.push_str("map[]"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(number) => {
                let _ = write!(out, "{number}");
            }
            Self::Float(number) => out.push_str(&go_float(*number)),
            Self::Text(text) => out.push_str(text),
            Self::List(list) => {
                out.push('[');
                for (index, value) in list.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    value.write_go(out, false);
                }
                out.push(']');
            }
            Self::Map(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| key.as_str());
                out.push_str("map[");
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    let _ = write!(out, "{key}:");
                    value.write_go(out, false);
                }
                out.push(']');
            }
            Self::Struct(map) => write_fields(out, map.values()),
            Self::Record(record) => write_fields(out, record.fields.values()),
            Self::Method(_) => out.push_str("func"),
        }
    }
}

fn write_fields<'a>(out: &mut String, values: impl Iterator<Item = &'a Value>) {
    out.push('{');
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        value.write_go(out, false);
    }
    out.push('}');
}

/// `%v` of a float64.
pub(crate) fn go_float(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        if let Some((mantissa, exponent)) = text.split_once('e') {
            let (sign, digits) = exponent
                .strip_prefix('-')
                .map_or(('+', exponent), |digits| ('-', digits));
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    format!("{number}")
}

/// Go's JSON encoder escapes what could end a script in HTML.
fn go_escapes(json: &str) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\u{7f}']) {
        return json.to_owned();
    }
    json.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_go(&mut text, true);
        f.write_str(&text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil | Self::Empty(_) | Self::Method(_) => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list.iter()),
            Self::Map(map) | Self::Struct(map) => serializer.collect_map(map.iter()),
            Self::Record(record) => {
                let mut fields: Vec<_> = record
                    .fields
                    .iter()
                    .filter(|(_, value)| !matches!(value, Self::Method(_)))
                    .collect();
                fields.sort_by_key(|(name, _)| **name);
                serializer.collect_map(fields)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 63 bits JSON numbers are only shown"
    )]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Integer))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = sequence.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list.into()))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = IndexMap::new();
        while let Some((key, value)) = access.next_entry()? {
            map.insert(key, value);
        }
        Ok(Value::Map(Rc::new(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        let value =
            Value::from_json(br#"{"b":[1,"x",null],"a":{"k":true},"f":1.5}"#).expect("is JSON");
        assert_eq!(value.to_string(), "map[a:map[k:true] b:[1 x <nil>] f:1.5]");
        assert_eq!(
            value.to_json(),
            r#"{"b":[1,"x",null],"a":{"k":true},"f":1.5}"#
        );
        assert_eq!(Value::text("<a>").to_json(), "\"\\u003ca\\u003e\"");
        assert_eq!(Value::text("<a>").to_template_json(), "\"<a>\"");
        assert_eq!(go_float(1e21), "1e+21");
        assert_eq!(go_float(1_500_000.0), "1500000");
    }
}
