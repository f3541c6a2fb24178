//! Walks a template's tree and writes its text.

use super::Rules;
use super::function;
use super::parse::{Command, Node, Operand, OperandKind, Pipeline};
use super::value::Value;

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Evaluator<'a> {
    source: &'a str,
    rules: Rules,
    out: String,
    variables: Vec<(String, Value)>,
}

pub(super) fn execute(
    nodes: &[Node],
    source: &str,
    data: &Value,
    rules: Rules,
) -> Result<String, String> {
    let variables = vec![("$".to_owned(), data.clone())];
    let mut evaluator = Evaluator {
        source,
        rules,
        out: String::new(),
        variables,
    };
    evaluator.nodes(nodes, data)?;
    Ok(evaluator.out)
}

impl Evaluator<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.to_string());
                }
            }
            Node::If(pipeline, body, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = self.nodes(if value.is_true() { body } else { otherwise }, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::With(pipeline, body, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = if value.is_true() {
                    self.nodes(body, &value)?
                } else {
                    self.nodes(otherwise, dot)?
                };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range(pipeline, body, otherwise) => {
                return self.range(pipeline, (body, otherwise), dot);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        (body, otherwise): (&[Node], &[Node]),
        dot: &Value,
    ) -> Result<Flow, String> {
        let scope = self.variables.len();
        let value = self.commands(pipeline, dot)?;
        let entries: Vec<(Value, Value)> = match &value {
            Value::Nil | Value::Empty(_) => Vec::new(),
            Value::List(list) => list
                .iter()
                .enumerate()
                .map(|(index, value)| (integer(index), value.clone()))
                .collect(),
            Value::Map(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| key.as_str());
                entries
                    .into_iter()
                    .map(|(key, value)| (Value::text(key), value.clone()))
                    .collect()
            }
            Value::Integer(number) => (0..*number)
                .map(|number| (Value::Integer(number), Value::Integer(number)))
                .collect(),
            other => {
                let text = format!("range can't iterate over {other}");
                return Err(self.error_at(pipeline.offset, &self.source_of(pipeline), &text));
            }
        };
        let is_empty = entries.is_empty();
        for (key, value) in entries {
            self.bind_range(pipeline, key, &value);
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        if is_empty {
            return self.nodes(otherwise, dot);
        }
        Ok(Flow::Next)
    }

    fn bind_range(&mut self, pipeline: &Pipeline, key: Value, value: &Value) {
        match pipeline.variables.as_slice() {
            [element] => self.bind(element, value.clone(), pipeline.is_assignment),
            [index, element] => {
                self.bind(index, key, pipeline.is_assignment);
                self.bind(element, value.clone(), pipeline.is_assignment);
            }
            _ => {}
        }
    }

    fn bind(&mut self, name: &str, value: Value, is_assignment: bool) {
        if is_assignment
            && let Some((_, slot)) = self
                .variables
                .iter_mut()
                .rev()
                .find(|(known, _)| known == name)
        {
            *slot = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.bind(name, value.clone(), pipeline.is_assignment);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.operands.split_first() else {
            return Ok(Value::Nil);
        };
        if let OperandKind::Function(name) = &first.kind
            && first.fields.is_empty()
        {
            if name == "and" || name == "or" {
                return self.short_circuit(name == "and", rest, dot, piped);
            }
            let mut arguments = self.arguments(rest, dot)?;
            arguments.extend(piped);
            return function::call(name, &arguments, self.rules.is_header).map_err(|text| {
                // What is wrong with the call itself is not an error of the function.
                let is_of_call = text.starts_with("wrong ") || text.starts_with("invalid value;");
                let text = if is_of_call {
                    text
                } else {
                    format!("error calling {name}: {text}")
                };
                self.error_at(first.offset, &command_text(command), &text)
            });
        }
        let value = self.operand(first, dot)?;
        if let Value::Method(method) = &value {
            let mut arguments = self.arguments(rest, dot)?;
            arguments.extend(piped);
            return method(&arguments)
                .map_err(|text| self.error_at(first.offset, &first.text, &text));
        }
        if !rest.is_empty() || piped.is_some() {
            let text = if first.fields.is_empty() {
                format!("can't give argument to non-function {}", first.text)
            } else {
                format!(
                    "{} is not a method but has arguments",
                    first.fields.last().map_or("", String::as_str)
                )
            };
            return Err(self.error_at(first.offset, &first.text, &text));
        }
        Ok(value)
    }

    fn short_circuit(
        &mut self,
        is_and: bool,
        rest: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let mut value = Value::Nil;
        for operand in rest {
            value = self.operand_called(operand, dot)?;
            if value.is_true() != is_and {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn arguments(&mut self, operands: &[Operand], dot: &Value) -> Result<Vec<Value>, String> {
        operands
            .iter()
            .map(|operand| self.operand_called(operand, dot))
            .collect()
    }

    /// An operand that stands as an argument: a method without arguments is called.
    fn operand_called(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match self.operand(operand, dot)? {
            Value::Method(method) => {
                method(&[]).map_err(|text| self.error_at(operand.offset, &operand.text, &text))
            }
            value => Ok(value),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let start = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Nil,
            OperandKind::Literal(value) => value.clone(),
            OperandKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(Value::Nil, |(_, value)| value.clone())
            }
            OperandKind::Function(name) => function::call(name, &[], self.rules.is_header)
                .map_err(|text| {
                    self.error_at(
                        operand.offset,
                        name,
                        &format!("error calling {name}: {text}"),
                    )
                })?,
            OperandKind::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        let mut value = start;
        let mut absent = None;
        for field in &operand.fields {
            if let Some(key) = absent.take() {
                let text = format!("map has no entry for key {key:?}");
                return Err(self.error_at(operand.offset, &operand.text, &text));
            }
            let (next, is_there) = self.field(&value, field, operand)?;
            if !is_there && next.is_nil() {
                absent = Some(field);
            }
            value = next;
        }
        Ok(value)
    }

    /// A field, and whether it is there: optional ones that are not have a value all the same.
    fn field(&self, value: &Value, name: &str, operand: &Operand) -> Result<(Value, bool), String> {
        let text = match value {
            // A name of the user's, which Go looks up without complaint.
            Value::Map(map) if self.rules.optional.is_some() && !map.contains_key(name) => {
                return Ok((Value::Nil, true));
            }
            Value::Map(map) | Value::Struct(map) => match map.get(name) {
                Some(value) => return Ok((value.clone(), true)),
                None => match self.rules.optional.and_then(|optional| optional(name)) {
                    Some(value) => return Ok((value, false)),
                    None if self.rules.missing_key_is_error => {
                        format!("map has no entry for key {name:?}")
                    }
                    None => return Ok((Value::Nil, true)),
                },
            },
            Value::Record(record) => match record.fields.get(name) {
                Some(value) => return Ok((value.clone(), true)),
                None => format!("can't evaluate field {name} in type {}", record.type_name),
            },
            Value::Nil | Value::Empty(_) if self.rules.missing_key_is_error => {
                format!("nil pointer evaluating interface {{}}.{name}")
            }
            Value::Nil | Value::Empty(_) => return Ok((Value::Nil, true)),
            other => format!(
                "can't evaluate field {name} in type {}",
                interface_name(other)
            ),
        };
        Err(self.error_at(operand.offset, &operand.text, &text))
    }

    fn source_of(&self, pipeline: &Pipeline) -> String {
        let rest = &self.source[pipeline.offset..];
        rest[..rest.find("}}").unwrap_or(rest.len())]
            .trim()
            .to_owned()
    }

    fn error_at(&self, offset: usize, what: &str, text: &str) -> String {
        let before = &self.source[..offset];
        let line = before.matches('\n').count() + 1;
        let column = offset - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("template: :{line}:{column}: executing \"\" at <{what}>: {text}")
    }
}

/// Values of maps and lists are known to Go as `interface {}` only.
fn interface_name(_: &Value) -> &'static str {
    "interface {}"
}

fn command_text(command: &Command) -> String {
    let words: Vec<&str> = command
        .operands
        .iter()
        .map(|operand| operand.text.as_str())
        .collect();
    words.join(" ")
}

fn integer(index: usize) -> Value {
    Value::Integer(i64::try_from(index).unwrap_or(i64::MAX))
}
