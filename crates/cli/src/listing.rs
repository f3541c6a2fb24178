//! Lists of things: rows by a template, in a table or not.

use crate::failure::{Failure, Outcome};
use crate::format::tabulate;
use crate::template::{Record, Rules, Template, Value};
use indexmap::IndexMap;
use std::rc::Rc;

/// How a list is shown.
pub(crate) struct Listing<'a> {
    /// `table …`, `json` or a template.
    pub(crate) format: String,
    /// Field → the word above its column.
    pub(crate) header: &'a [(&'static str, &'static str)],
    /// The Go type of a row, which errors name.
    pub(crate) type_name: &'static str,
}

impl Listing<'_> {
    /// The text of all rows.
    ///
    /// # Errors
    /// A template that cannot be read or evaluated.
    pub(crate) fn render(&self, rows: impl IntoIterator<Item = Fields>) -> Outcome<String> {
        let is_table = self.format.starts_with("table");
        let source = match self.format.as_str() {
            "json" => "{{json .}}".to_owned(),
            format => {
                let format = format
                    .strip_prefix("table")
                    .unwrap_or(format)
                    .trim_matches(' ');
                format.replace("\\t", "\t").replace("\\n", "\n")
            }
        };
        let failure = |error: String| Failure::new(format!("template parsing error: {error}"));
        let template = Template::parse(&source).map_err(failure)?;
        let mut text = String::new();
        if is_table {
            text.push_str(
                &template
                    .execute(
                        &self.header_row(),
                        Rules {
                            is_header: true,
                            ..Rules::default()
                        },
                    )
                    .unwrap_or_default(),
            );
            text.push('\n');
        }
        for fields in rows {
            let row = record(self.type_name, fields);
            text.push_str(&template.execute(&row, Rules::default()).map_err(failure)?);
            text.push('\n');
        }
        Ok(if is_table { tabulate(&text) } else { text })
    }

    /// Whether the template can be read, and evaluated for a row.
    ///
    /// # Errors
    /// Docker's texts for both.
    pub(crate) fn check(&self, row: Fields) -> Outcome {
        let template = Template::parse(&self.format)
            .map_err(|error| Failure::new(format!("failed to parse template: {error}")))?;
        let failure = |error| Failure::new(format!("failed to execute template: {error}"));
        template
            .execute(&record(self.type_name, row), Rules::default())
            .map_err(failure)?;
        Ok(())
    }

    fn header_row(&self) -> Value {
        let mut words: IndexMap<String, Value> = self
            .header
            .iter()
            .map(|(field, word)| ((*field).to_owned(), Value::text(word)))
            .collect();
        words.insert(
            "Label".to_owned(),
            Value::Method(Rc::new(|arguments| {
                Ok(Value::from(label_header(arguments)))
            })),
        );
        Value::Map(Rc::new(words))
    }
}

/// The last word of a label's name stands above its column.
fn label_header(arguments: &[Value]) -> String {
    let name = arguments
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    last.replace(['-', '_'], " ")
}

/// The fields of one row.
pub(crate) type Fields = Vec<(&'static str, Value)>;

/// A row as a template sees it.
pub(crate) fn record(type_name: &'static str, fields: Fields) -> Value {
    Value::Record(Rc::new(Record {
        type_name,
        fields: fields.into_iter().collect(),
    }))
}

/// `key=value`, sorted and joined by commas.
pub(crate) fn join_labels(labels: &Value) -> String {
    let mut pairs: Vec<String> = labels
        .entries()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.sort_unstable();
    pairs.join(",")
}

/// The method `.Label "name"` of a row.
pub(crate) fn label_method(labels: &Value) -> Value {
    let labels = labels.clone();
    Value::Method(Rc::new(move |arguments| {
        let name = arguments
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        Ok(Value::text(labels.get(&name).str()))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(format: &str) -> Outcome<String> {
        let listing = Listing {
            format: format.into(),
            header: &[("ID", "THING ID"), ("Name", "NAME")],
            type_name: "*formatter.x",
        };
        listing.render([vec![("ID", Value::text("1")), ("Name", Value::text("a b"))]])
    }

    #[test]
    fn tables_have_headers_and_lines_have_none() {
        assert_eq!(
            render("table {{.ID}}\\t{{.Name}}").as_deref(),
            Ok("THING ID   NAME\n1          a b\n")
        );
        assert_eq!(
            render("table {{upper .Name}}").as_deref(),
            Ok("NAME\nA B\n")
        );
        assert_eq!(render("{{.Name}}").as_deref(), Ok("a b\n"));
        assert_eq!(
            render("json").as_deref(),
            Ok("{\"ID\":\"1\",\"Name\":\"a b\"}\n")
        );
    }

    #[test]
    fn unknown_fields_are_errors_that_name_the_type() {
        let message = render("{{.Foo}}").expect_err("is wrong").message;
        assert_eq!(
            message,
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.x"
        );
    }
}
