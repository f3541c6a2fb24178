//! `inspect`: what the daemon says of each name, as JSON or by a template.

use crate::failure::{Failure, Outcome};
use crate::json_text;
use crate::output;
use crate::shape;
use crate::template::{Rules, Template, Value};

/// The end of an inspection whose template cannot be read.
const WRONG_TEMPLATE_STATUS: i32 = 64;

/// Collects answers and prints them at the end.
pub(crate) struct Inspection {
    template: Option<Template>,
    is_compact: bool,
    answers: Vec<String>,
    rendered: String,
    errors: Vec<String>,
}

impl Inspection {
    /// `format` is empty, `json` or a template.
    ///
    /// # Errors
    /// A template that cannot be read.
    pub(crate) fn new(format: &str) -> Outcome<Self> {
        let template = match format {
            "" | "json" => None,
            source => Some(Template::parse(source).map_err(|error| Failure {
                status: WRONG_TEMPLATE_STATUS,
                message: format!("template parsing error: {error}"),
            })?),
        };
        Ok(Self {
            template,
            is_compact: format == "json",
            answers: Vec::new(),
            rendered: String::new(),
            errors: Vec::new(),
        })
    }
    /// Adds what the daemon answered for one name, or why it did not.
    pub(crate) fn add(&mut self, answer: Outcome<Vec<u8>>) {
        let answer = match answer {
            Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
            Err(failure) => return self.errors.push(failure.message),
        };
        let Some(template) = &self.template else {
            return self.answers.push(answer);
        };
        let rules = Rules {
            missing_key_is_error: true,
            optional: Some(shape::optional),
            is_header: false,
        };
        let value = match Value::from_json(answer.as_bytes()) {
            Ok(value) => shape::of(value, ""),
            Err(error) => return self.errors.push(error.message().to_owned()),
        };
        match template.execute(&value, rules) {
            Ok(text) => {
                self.rendered.push_str(&text);
                self.rendered.push('\n');
            }
            Err(error) => self.errors.push(format!("template parsing error: {error}")),
        }
    }
    /// Prints everything.
    ///
    /// # Errors
    /// All errors that were added, a line each.
    pub(crate) fn finish(self) -> Outcome {
        if self.template.is_some() {
            output::print(if self.rendered.is_empty() {
                "\n"
            } else {
                &self.rendered
            });
        } else {
            let all = format!("[{}]", self.answers.join(","));
            output::print_line(&if self.is_compact {
                json_text::compact(&all)
            } else {
                json_text::indent(&all)
            });
        }
        Failure::joined(self.errors)
    }
}
