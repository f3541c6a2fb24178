//! The `filters` parameter: `{"label":["a","b"]}`, or of old `{"label":{"a":true}}`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Filters by name; the values of one name are alternatives, in order and each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

/// Why a `filters` parameter was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FiltersError {
    /// Not a JSON object of lists or sets.
    Malformed,
    /// A filter that the endpoint does not have.
    Unknown(String),
    /// A filter that is neither true nor false: name and values.
    NotBoolean(String, Vec<String>),
}

impl fmt::Display for FiltersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("invalid filter"),
            Self::Unknown(name) => write!(f, "invalid filter '{name}'"),
            Self::NotBoolean(name, values) => {
                write!(f, "invalid filter '{name}=[{}]'", values.join(" "))
            }
        }
    }
}

impl std::error::Error for FiltersError {}

impl Filters {
    /// Parses the parameter; the empty text is no filter.
    pub fn parse(text: &str) -> Result<Self, FiltersError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let document: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|_| FiltersError::Malformed)?;
        let mut filters = Self::default();
        for (name, values) in document {
            filters.0.entry(name.clone()).or_default();
            match values {
                Value::Array(values) => {
                    for value in values {
                        let Value::String(value) = value else {
                            return Err(FiltersError::Malformed);
                        };
                        filters.add(&name, value);
                    }
                }
                Value::Object(values) => {
                    for (value, is_set) in values {
                        match is_set {
                            Value::Bool(true) => filters.add(&name, value),
                            Value::Bool(false) => {}
                            _ => return Err(FiltersError::Malformed),
                        }
                    }
                }
                Value::Null => {}
                _ => return Err(FiltersError::Malformed),
            }
        }
        Ok(filters)
    }
    /// Adds an alternative.
    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        let (values, value) = (self.0.entry(name.to_owned()).or_default(), value.into());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    /// Refuses filters that are not among `known`.
    pub fn check(&self, known: &[&str]) -> Result<(), FiltersError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(FiltersError::Unknown(name.clone())),
            None => Ok(()),
        }
    }
    /// The alternatives of `name`; empty where it is not given.
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
    /// Whether `name` is given with a value.
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }
    /// Whether no filter is given.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
    /// Whether `value` is one of the alternatives, or there are none.
    pub fn matches_exactly(&self, name: &str, value: &str) -> bool {
        let values = self.get(name);
        values.is_empty() || values.iter().any(|v| v == value)
    }
    /// Whether every alternative of `name` (`key` or `key=value`) is among the labels. For labels, values are conjunctive.
    pub fn matches_labels<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.get(name)
            .iter()
            .all(|wanted| match wanted.split_once('=') {
                Some((key, value)) => label(key) == Some(value),
                None => label(wanted).is_some(),
            })
    }
    /// Whether labels have all that `label` asks for, and not all that `label!` names.
    pub fn passes_labels<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matches_labels("label", &label)
            && !(self.has("label!") && self.matches_labels("label!", &label))
    }
    /// A filter that is true or false; none where it is not given.
    ///
    /// # Errors
    /// When it has several values, or one that is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, FiltersError> {
        match self.get(name) {
            [] => Ok(None),
            [one] if matches!(one.as_str(), "1" | "true") => Ok(Some(true)),
            [one] if matches!(one.as_str(), "0" | "false") => Ok(Some(false)),
            other => Err(FiltersError::NotBoolean(name.to_owned(), other.to_vec())),
        }
    }
    /// As a client sends it; none where empty.
    pub fn to_json(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        Some(serde_json::to_string(&self.0).expect("has only string keys"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let new = Filters::parse(r#"{"label":["a","b=c"],"status":["x"]}"#).expect("is valid");
        let old =
            Filters::parse(r#"{"label":{"a":true,"b=c":true,"no":false},"status":{"x":true}}"#)
                .expect("is valid");
        assert_eq!(new, old);
        assert_eq!(new.get("label"), ["a", "b=c"]);
        assert_eq!(
            new.to_json().as_deref(),
            Some(r#"{"label":["a","b=c"],"status":["x"]}"#)
        );
        for bad in [
            "x",
            "[]",
            r#"{"a":"b"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"b":1}}"#,
        ] {
            assert_eq!(Filters::parse(bad), Err(FiltersError::Malformed), "{bad}");
        }
    }

    #[test]
    fn labels_must_all_match() {
        let filters = Filters::parse(r#"{"label":["a","b=c"]}"#).expect("is valid");
        let labels = |b: &'static str| {
            move |key: &str| match key {
                "a" => Some(""),
                "b" => Some(b),
                _ => None,
            }
        };
        assert!(filters.matches_labels("label", labels("c")));
        assert!(!filters.matches_labels("label", labels("d")));
        assert_eq!(
            filters.check(&["status"]),
            Err(FiltersError::Unknown("label".into()))
        );
    }
}
