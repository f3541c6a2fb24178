//! JSON as Go's decoder reads it, which clients of Docker's API rely on: member names match whatever their case, `null` leaves a
//! member at its default, unknown members are ignored, and of equal names the last one counts.
//!
//! Clients in Python send `null` for every option that was not given; hand-written requests often miss the case of names.

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor, value};
use serde_json::{Error, Map, Value};

/// Reads one document; anything after it is an error.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    from_value(serde_json::from_slice(text)?)
}

/// Reads a parsed document.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Lenient(value))
}

/// A value whose structs are read as Go reads them.
struct Lenient(Value);

impl IntoDeserializer<'_, Error> for Lenient {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => Lenient(Value::Array(items)).deserialize_seq(visitor),
            Value::Object(members) => Lenient(Value::Object(members)).deserialize_map(visitor),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                let mut items = value::SeqDeserializer::new(items.into_iter().map(Lenient));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            other => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members {
                rest: members.into_iter(),
                value: None,
                fields: &[],
            }),
            other => other.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            // serde would take the members in order.
            Value::Array(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &visitor)),
            Value::Object(mut members) => {
                fold_case(&mut members, fields);
                visitor.visit_map(Members {
                    rest: members.into_iter(),
                    value: None,
                    fields,
                })
            }
            other => other.deserialize_struct(name, fields, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple_struct
        identifier ignored_any
    }
}

/// Gives members their declared names, where only the case differs, and drops those that are null or unknown.
fn fold_case(members: &mut Map<String, Value>, fields: &'static [&'static str]) {
    if members
        .iter()
        .all(|(name, value)| !value.is_null() && fields.contains(&name.as_str()))
    {
        return;
    }
    let mut folded = Map::new();
    for (name, value) in std::mem::take(members) {
        if value.is_null() {
            continue;
        }
        let exact = fields.iter().find(|field| **field == name);
        if let Some(field) = exact.or_else(|| {
            fields
                .iter()
                .find(|field| field.eq_ignore_ascii_case(&name))
        }) {
            folded.insert((*field).to_owned(), value);
        }
    }
    *members = folded;
}

struct Members {
    rest: serde_json::map::IntoIter,
    value: Option<Value>,
    fields: &'static [&'static str],
}

impl<'de> de::MapAccess<'de> for Members {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        match self.fields.iter().find(|field| **field == name) {
            Some(field) => seed
                .deserialize(value::StrDeserializer::new(field))
                .map(Some),
            None => seed
                .deserialize(value::StringDeserializer::new(name))
                .map(Some),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Lenient(
            self.value
                .take()
                .expect("serde asks for a value after its key"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Outer {
        name: String,
        list: Vec<Inner>,
        map: BTreeMap<String, Inner>,
        maybe: Option<Inner>,
        size: [u16; 2],
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Inner {
        count: i64,
    }

    #[test]
    fn case_null_and_unknown_members_are_read_as_go_reads_them() {
        let text = br#"{"NAME":"a","list":[{"count":1},{"Count":null,"X":2}],"Map":{"Key":{"COUNT":3}},"Maybe":null,"size":[1,2]}"#;
        let expected = Outer {
            name: "a".into(),
            list: vec![Inner { count: 1 }, Inner { count: 0 }],
            map: [("Key".to_owned(), Inner { count: 3 })].into(),
            maybe: None,
            size: [1, 2],
        };
        assert_eq!(from_slice::<Outer>(text).expect("is valid"), expected);
        assert_eq!(
            from_slice::<Outer>(br#"{"List":null,"Map":null,"Name":null,"Size":null}"#)
                .expect("is valid"),
            Outer::default()
        );
    }

    #[test]
    fn wrong_types_and_trailing_text_are_refused() {
        for bad in [
            r#"{"Name":1}"#,
            r#"{"List":{}}"#,
            r#"{"List":[{"Count":"1"}]}"#,
            "{} {}",
            r#"{"Size":[1,2,3]}"#,
            "[",
            "[]",
        ] {
            assert!(from_slice::<Outer>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
