//! From the text of a template to its syntax tree: Go's `text/template`, without `define` and `block`.

use super::lex::{Token, describe, error_at, lex, number};
use super::value::Value;

/// What stands between and in the actions.
#[derive(Debug)]
pub(super) enum Node {
    /// Text outside of actions.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipeline),
    /// `{{if}}`, with its two branches.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{with}}`, with its two branches.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{range}}`, with its body and what stands for an empty list.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// `$a, $b := command | command`
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) is_assignment: bool,
    pub(super) commands: Vec<Command>,
    /// Byte offset of the first operand in the template, for errors.
    pub(super) offset: usize,
}

/// An operand and its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// One word of a command, with where it stands and how it reads, for errors.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) kind: OperandKind,
    /// `.A.B` behind the operand itself.
    pub(super) fields: Vec<String>,
    pub(super) offset: usize,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Literal(Value),
    Variable(String),
    Function(String),
    Group(Pipeline),
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
    end: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    variables: Vec<String>,
}

/// What ended a list of nodes.
enum Ending {
    Source,
    End,
    Else,
    ElseIf(Pipeline),
    ElseWith(Pipeline),
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    variables: Vec<String>,
    range_depth: usize,
}

/// Reads a template. `is_function` says which names are functions.
///
/// # Errors
/// Go's text for what is wrong, with the line.
pub(super) fn parse(source: &str, is_function: &dyn Fn(&str) -> bool) -> Result<Vec<Node>, String> {
    let mut reader = Reader {
        source,
        at: 0,
        is_function,
        variables: vec!["$".into()],
        range_depth: 0,
    };
    let mut nodes = Vec::new();
    match reader.nodes(&mut nodes)? {
        Ending::Source => Ok(nodes),
        Ending::End => Err(reader.error("unexpected {{end}}")),
        _ => Err(reader.error("unexpected {{else}}")),
    }
}

impl Reader<'_> {
    fn error(&self, message: &str) -> String {
        error_at(self.source, self.at, message)
    }

    fn nodes(&mut self, nodes: &mut Vec<Node>) -> Result<Ending, String> {
        loop {
            let rest = &self.source[self.at..];
            let Some(open) = rest.find("{{") else {
                push_text(nodes, rest);
                self.at = self.source.len();
                return Ok(Ending::Source);
            };
            let mut text = &rest[..open];
            let mut inside = self.at + open + 2;
            if let Some(after) = self.source[inside..].strip_prefix('-')
                && after.starts_with([' ', '\t', '\n', '\r'])
            {
                text = text.trim_end_matches([' ', '\t', '\n', '\r']);
                inside += 1;
            }
            push_text(nodes, text);
            self.at = inside;
            if let Some(ending) = self.action(nodes)? {
                return Ok(ending);
            }
        }
    }

    /// Reads to the closing braces and moves behind them.
    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Ending>, String> {
        let start = self.at;
        let trimmed = self.source[start..].trim_start_matches([' ', '\t', '\n', '\r']);
        if trimmed.starts_with("/*") {
            let comment = self.source.len() - trimmed.len();
            let Some(end) = trimmed.find("*/") else {
                return Err(self.error("unclosed comment"));
            };
            let close = comment + end + 2;
            return self.close(close).map(|()| None).ok_or_else(|| {
                error_at(self.source, close, "comment ends before closing delimiter")
            });
        }
        let (tokens, end) = lex(self.source, start)?;
        self.close(end)
            .ok_or_else(|| error_at(self.source, start, "unclosed action"))?;
        let mut parser = Parser {
            source: self.source,
            tokens,
            at: 0,
            end,
            is_function: self.is_function,
            variables: std::mem::take(&mut self.variables),
        };
        let outcome = self.keyword(&mut parser, nodes);
        if self.variables.is_empty() {
            self.variables = std::mem::take(&mut parser.variables);
        }
        outcome
    }

    /// Moves behind the closing delimiter at `at`, and behind the space that `-}}` swallows.
    fn close(&mut self, at: usize) -> Option<()> {
        let rest = &self.source[at..];
        let spaceless = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        if spaceless.len() < rest.len() && spaceless.starts_with("-}}") {
            let after = &spaceless[3..];
            self.at = self.source.len() - after.trim_start_matches([' ', '\t', '\n', '\r']).len();
        } else if spaceless.starts_with("}}") {
            self.at = self.source.len() - spaceless.len() + 2;
        } else {
            return None;
        }
        Some(())
    }

    fn keyword(
        &mut self,
        parser: &mut Parser<'_>,
        nodes: &mut Vec<Node>,
    ) -> Result<Option<Ending>, String> {
        parser.skip_space();
        let word = match parser.peek() {
            Some(Token::Identifier(word)) => word.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "end" => {
                parser.at += 1;
                parser.finish("end")?;
                Ok(Some(Ending::End))
            }
            "else" => Self::else_branch(parser).map(Some),
            "break" | "continue" => {
                parser.at += 1;
                parser.finish(&word)?;
                if self.range_depth == 0 {
                    return Err(self.error(&format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                nodes.push(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                });
                Ok(None)
            }
            "if" | "with" | "range" => {
                parser.at += 1;
                let scope = parser.variables.len();
                let pipeline = parser.pipeline(&word, word == "range")?;
                parser.finish(&word)?;
                self.variables = std::mem::take(&mut parser.variables);
                let node = self.branches(&word, pipeline)?;
                self.variables.truncate(scope);
                nodes.push(node);
                Ok(None)
            }
            "define" | "template" | "block" => {
                Err(self.error(&format!("{{{{{word}}}}} is not supported in formats")))
            }
            _ => {
                let pipeline = parser.pipeline("command", false)?;
                parser.finish("command")?;
                nodes.push(Node::Action(pipeline));
                Ok(None)
            }
        }
    }

    fn else_branch(parser: &mut Parser<'_>) -> Result<Ending, String> {
        parser.at += 1;
        parser.skip_space();
        let word = match parser.peek() {
            Some(Token::Identifier(word)) if word == "if" || word == "with" => word.clone(),
            _ => {
                parser.finish("else")?;
                return Ok(Ending::Else);
            }
        };
        parser.at += 1;
        let pipeline = parser.pipeline(&word, false)?;
        parser.finish(&word)?;
        Ok(if word == "if" {
            Ending::ElseIf(pipeline)
        } else {
            Ending::ElseWith(pipeline)
        })
    }

    fn branches(&mut self, word: &str, pipeline: Pipeline) -> Result<Node, String> {
        let mut body = Vec::new();
        let mut otherwise = Vec::new();
        let is_range = word == "range";
        self.range_depth += usize::from(is_range);
        let ending = self.nodes(&mut body)?;
        self.range_depth -= usize::from(is_range);
        match ending {
            Ending::End => {}
            Ending::Else => match self.nodes(&mut otherwise)? {
                Ending::End => {}
                Ending::Source => return Err(self.error("unexpected EOF")),
                _ => return Err(self.error("expected end; found {{else}}")),
            },
            Ending::ElseIf(next) if word == "if" => otherwise.push(self.branches("if", next)?),
            Ending::ElseWith(next) if word == "with" => {
                otherwise.push(self.branches("with", next)?);
            }
            Ending::ElseIf(_) | Ending::ElseWith(_) => {
                return Err(self.error("unexpected word after else"));
            }
            Ending::Source => return Err(self.error("unexpected EOF")),
        }
        Ok(match word {
            "if" => Node::If(pipeline, body, otherwise),
            "with" => Node::With(pipeline, body, otherwise),
            _ => Node::Range(pipeline, body, otherwise),
        })
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }
    fn offset(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.end, |(_, offset)| *offset)
    }
    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }
    fn error(&self, message: &str) -> String {
        error_at(self.source, self.offset(), message)
    }
    fn finish(&mut self, context: &str) -> Result<(), String> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(self.error(&format!("unexpected {} in {context}", describe(token)))),
        }
    }

    fn pipeline(&mut self, context: &str, is_range: bool) -> Result<Pipeline, String> {
        let (variables, is_assignment) = self.declarations(is_range)?;
        self.skip_space();
        let offset = self.offset();
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            let command = self.command()?;
            if command.operands.is_empty() {
                return Err(match self.peek() {
                    Some(Token::Pipe | Token::Close) | None if !commands.is_empty() => {
                        self.error(&format!("missing value for {context}"))
                    }
                    None => self.error(&format!("missing value for {context}")),
                    Some(token) => {
                        self.error(&format!("unexpected {} in {context}", describe(token)))
                    }
                });
            }
            if let (false, Some(first)) = (commands.is_empty(), command.operands.first())
                && matches!(
                    first.kind,
                    OperandKind::Literal(_) | OperandKind::Nil | OperandKind::Dot
                )
                && first.fields.is_empty()
            {
                let message = format!(
                    "non executable command in pipeline stage {}",
                    commands.len() + 1
                );
                return Err(error_at(self.source, first.offset, &message));
            }
            commands.push(command);
            self.skip_space();
            if self.peek() == Some(&Token::Pipe) {
                self.at += 1;
            } else {
                break;
            }
        }
        if !is_assignment {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline {
            variables,
            is_assignment,
            commands,
            offset,
        })
    }

    fn declarations(&mut self, is_range: bool) -> Result<(Vec<String>, bool), String> {
        self.skip_space();
        let start = self.at;
        let mut variables = Vec::new();
        while let Some(Token::Variable(name)) = self.peek() {
            variables.push(name.clone());
            self.at += 1;
            self.skip_space();
            match self.peek() {
                Some(Token::Declare) => {
                    self.at += 1;
                    return Ok((variables, false));
                }
                Some(Token::Assign) => {
                    self.at += 1;
                    return Ok((variables, true));
                }
                Some(Token::Comma) if is_range && variables.len() == 1 => {
                    self.at += 1;
                    self.skip_space();
                }
                Some(Token::Comma) => return Err(self.error("too many declarations in command")),
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            let Some(operand) = self.operand()? else {
                break;
            };
            operands.push(operand);
            match self.peek() {
                Some(Token::Space) => {}
                _ => break,
            }
        }
        Ok(Command { operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let offset = self.offset();
        let Some(token) = self.peek().cloned() else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let kind = match token {
            Token::Dot => OperandKind::Dot,
            Token::Field(name) => {
                fields.push(name);
                OperandKind::Dot
            }
            Token::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(&format!("undefined variable {name:?}")));
                }
                OperandKind::Variable(name)
            }
            Token::Text(text) => OperandKind::Literal(Value::from(text)),
            Token::Number(text) => OperandKind::Literal(
                number(&text).ok_or_else(|| self.error(&format!("bad number syntax: {text:?}")))?,
            ),
            Token::Identifier(word) => match word.as_str() {
                "true" => OperandKind::Literal(Value::Bool(true)),
                "false" => OperandKind::Literal(Value::Bool(false)),
                "nil" => OperandKind::Nil,
                _ if (self.is_function)(&word) => OperandKind::Function(word),
                _ => return Err(self.error(&format!("function {word:?} not defined"))),
            },
            Token::Open => {
                self.at += 1;
                let pipeline = self.pipeline("parenthesized pipeline", false)?;
                self.skip_space();
                if self.peek() != Some(&Token::Close) {
                    return Err(self.error("unclosed left paren"));
                }
                OperandKind::Group(pipeline)
            }
            Token::Pipe
            | Token::Close
            | Token::Comma
            | Token::Declare
            | Token::Assign
            | Token::Space => {
                return Ok(None);
            }
        };
        self.at += 1;
        // Go reports a chain where its first further field stands.
        let position = if matches!(self.peek(), Some(Token::Field(_))) {
            self.offset()
        } else {
            offset
        };
        while let Some(Token::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.at += 1;
        }
        let text = self.source[offset..self.offset()].trim_end().to_owned();
        Ok(Some(Operand {
            kind,
            fields,
            offset: position,
            text,
        }))
    }
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    if !text.is_empty() {
        nodes.push(Node::Text(text.to_owned()));
    }
}
