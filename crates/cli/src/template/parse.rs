//! From the text of a template to its syntax tree: Go's `text/template`, without `define` and `block`.

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

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Dot,
    Field(String),
    Variable(String),
    Identifier(String),
    Text(String),
    Number(String),
    Pipe,
    Open,
    Close,
    Comma,
    Declare,
    Assign,
    Space,
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
            "else" => self.else_branch(parser).map(Some),
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

    fn else_branch(&mut self, parser: &mut Parser<'_>) -> Result<Ending, String> {
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
                otherwise.push(self.branches("with", next)?)
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

fn error_at(source: &str, offset: usize, message: &str) -> String {
    let line = source[..offset.min(source.len())].matches('\n').count() + 1;
    format!("template: :{line}: {message}")
}

fn describe(token: &Token) -> String {
    match token {
        Token::Dot => "<.>".into(),
        Token::Field(name) => format!("<.{name}>"),
        Token::Variable(name) | Token::Identifier(name) | Token::Number(name) => {
            format!("<{name}>")
        }
        Token::Text(text) => format!("{text:?}"),
        Token::Pipe => "\"|\"".into(),
        Token::Open => "\"(\"".into(),
        Token::Close => "\")\"".into(),
        Token::Comma => "\",\"".into(),
        Token::Declare => "\":=\"".into(),
        Token::Assign => "\"=\"".into(),
        Token::Space => "space".into(),
    }
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = |prefix: &str, radix| {
        digits
            .strip_prefix(prefix)
            .and_then(|rest| i64::from_str_radix(rest, radix).ok())
    };
    let whole = radix("0x", 16)
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| digits.parse().ok());
    match whole {
        Some(number) => Some(Value::Integer(sign * number)),
        None if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            plain.parse().ok().map(Value::Float)
        }
        None => None,
    }
}

/// Splits the inside of an action; returns the offset of the closing delimiter (or of the space before `-}}`).
fn lex(source: &str, start: usize) -> Result<(Vec<(Token, usize)>, usize), String> {
    let mut tokens = Vec::new();
    let mut at = start;
    let mut parentheses = 0_usize;
    loop {
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else {
            return Err(error_at(source, start, "unclosed action"));
        };
        if rest.starts_with("}}") {
            break;
        }
        let (token, length) = match first {
            ' ' | '\t' | '\r' | '\n' => {
                let length = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
                if rest[length..].starts_with("-}}") {
                    break;
                }
                (Token::Space, length)
            }
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '(' => {
                parentheses += 1;
                (Token::Open, 1)
            }
            ')' if parentheses == 0 => return Err(error_at(source, at, "unexpected right paren")),
            ')' => {
                parentheses -= 1;
                (Token::Close, 1)
            }
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '"' | '`' | '\'' => quoted(source, at)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = word(&rest[1..]);
                if name.is_empty() {
                    (Token::Dot, 1)
                } else {
                    (Token::Field(name.into()), name.len() + 1)
                }
            }
            '$' => {
                let name = word(&rest[1..]);
                (Token::Variable(format!("${name}")), name.len() + 1)
            }
            '+' | '-' | '.' | '0'..='9' => {
                let length = rest[1..]
                    .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')));
                let length = length.map_or(rest.len(), |length| length + 1);
                (Token::Number(rest[..length].into()), length)
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let name = word(rest);
                (Token::Identifier(name.into()), name.len())
            }
            other => {
                let message = format!("unexpected {other:?} in command").replace('\'', "\"");
                return Err(error_at(source, at, &message));
            }
        };
        tokens.push((token, at));
        at += length;
    }
    if parentheses > 0 {
        return Err(error_at(source, at, "unclosed left paren"));
    }
    Ok((tokens, at))
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}

fn quoted(source: &str, at: usize) -> Result<(Token, usize), String> {
    let rest = &source[at..];
    if rest.starts_with('`') {
        let Some(end) = rest[1..].find('`') else {
            return Err(error_at(source, at, "unterminated raw quoted string"));
        };
        return Ok((Token::Text(rest[1..=end].to_owned()), end + 2));
    }
    let quote = if rest.starts_with('"') { '"' } else { '\'' };
    let unterminated = || {
        let what = if quote == '"' {
            "quoted string"
        } else {
            "character constant"
        };
        error_at(source, at, &format!("unterminated {what}"))
    };
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '\n' => return Err(unterminated()),
            _ if character == quote => {
                let length = index + 1;
                if quote == '"' {
                    return Ok((Token::Text(text), length));
                }
                let mut content = text.chars();
                return match (content.next(), content.next()) {
                    (Some(only), None) => Ok((Token::Number((only as u32).to_string()), length)),
                    _ => Err(error_at(source, at, "malformed character constant")),
                };
            }
            '\\' => {
                let (_, escaped) = characters.next().ok_or_else(unterminated)?;
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                if digits > 0 {
                    let code: String = characters.by_ref().take(digits).map(|(_, c)| c).collect();
                    let decoded = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                    text.push(decoded.ok_or_else(|| error_at(source, at, "invalid syntax"))?);
                    continue;
                }
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'v' => '\u{b}',
                    '\\' | '"' | '\'' => escaped,
                    _ => return Err(error_at(source, at, "invalid syntax")),
                });
            }
            _ => text.push(character),
        }
    }
    Err(unterminated())
}
