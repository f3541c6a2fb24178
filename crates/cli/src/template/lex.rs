//! The words inside the actions of a template.

use super::value::Value;

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
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

/// Splits the inside of an action; returns the offset of the closing delimiter (or of the space before `-}}`).
pub(super) fn lex(source: &str, start: usize) -> Result<(Vec<(Token, usize)>, usize), String> {
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
                let message = unexpected(other);
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

fn unexpected(character: char) -> String {
    match character {
        '}' => "bad character U+007D '}'".to_owned(),
        other => format!("unexpected \"{other}\" in command"),
    }
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}

fn quoted(source: &str, at: usize) -> Result<(Token, usize), String> {
    let rest = &source[at..];
    if let Some(raw) = rest.strip_prefix('`') {
        let Some(end) = raw.find('`') else {
            return Err(error_at(source, at, "unterminated raw quoted string"));
        };
        return Ok((Token::Text(raw[..end].to_owned()), end + 2));
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

/// An error with the line on which it is.
pub(super) fn error_at(source: &str, offset: usize, message: &str) -> String {
    let line = source[..offset.min(source.len())].matches('\n').count() + 1;
    format!("template: :{line}: {message}")
}

/// A word as errors show it.
pub(super) fn describe(token: &Token) -> String {
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

/// A number as Go writes it.
pub(super) fn number(text: &str) -> Option<Value> {
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
