//! Templates for `--format`: the part of Go's `text/template` that formats use, with Docker's functions and error texts.
//!
//! Not a general engine: no `define`, no `block`, no methods beyond those of [`value::Record`].
//! Start reading at [`Template`]; `parse` makes the tree, `evaluate` walks it, `function` holds what can be called.

mod evaluate;
mod function;
mod lex;
mod parse;
pub(crate) mod value;

pub(crate) use value::{Empty, Record, Value};

/// A template that was read and can be executed.
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
    source: String,
}

/// How strict a template is with what it reads.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rules {
    /// A missing key of a map is an error, unless [`Rules::optional`] knows it.
    pub(crate) missing_key_is_error: bool,
    /// What a key that the daemon may leave out stands for.
    pub(crate) optional: Option<fn(&str) -> Option<Value>>,
    /// Functions return their argument, as in the header of a table.
    pub(crate) is_header: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let nodes = parse::parse(source, &function::exists)?;
        Ok(Self {
            nodes,
            source: source.to_owned(),
        })
    }
    /// Writes the template for `data`.
    ///
    /// # Errors
    /// What could not be evaluated, in Go's words.
    pub(crate) fn execute(&self, data: &Value, rules: Rules) -> Result<String, String> {
        evaluate::execute(&self.nodes, &self.source, data, rules)
    }
}

#[cfg(test)]
mod tests;
