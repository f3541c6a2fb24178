//! One Rust file, and a reading of it in which comments and the contents of literals are blanked.
//!
//! The rules look for words and braces; blanking keeps them from seeing any in strings and comments. This is a scanner,
//! not a parser: it knows the lexical grammar (nested comments, raw strings, lifetimes) and nothing above it.
//! Follows the Rust reference, chapters "Comments" and "Tokens".

use std::path::Path;

/// A file.
pub(super) struct Source {
    /// Relative to the repository's root, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Of the same length in bytes and lines, with blanks for comments and for what stands between quotes.
    pub(super) code: String,
}

/// A function found in a file.
pub(super) struct Function {
    pub(super) name: String,
    /// Line of the opening brace, from 1.
    pub(super) line: usize,
    /// Lines between the braces.
    pub(super) body_lines: usize,
}

impl Source {
    pub(super) fn read(root: &Path, path: &Path) -> Result<Self, String> {
        let text = super::read(path)?;
        let path = path
            .strip_prefix(root)
            .map_err(|_| format!("{} is not under {}", path.display(), root.display()))?;
        Ok(Self {
            path: path.display().to_string(),
            code: blank(&text),
            text,
        })
    }

    /// Whether the whole file is test code: an integration test, or a module named `tests`.
    pub(super) fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/")
            || path.contains("/tests/")
            || path.contains("/src/tests")
            || path.ends_with("/tests.rs")
            || path.ends_with("_tests.rs")
            || path.starts_with("crates/testkit/")
    }

    /// Lines before the module of unit tests, or all.
    pub(super) fn lines_without_tests(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod tests {")
        });
        tests.unwrap_or(lines.len())
    }

    /// The words of the code with their lines.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().flat_map(|(number, line)| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .filter(|w| !w.is_empty())
                .map(move |word| (number + 1, word))
        })
    }

    /// Every function with a body, nested ones too.
    pub(super) fn functions(&self) -> Vec<Function> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(offset) = self.code[at..].find("fn ") {
            let start = at + offset;
            at = start + 3;
            if start > 0 && is_word(bytes[start - 1]) {
                continue;
            }
            let name: String = self.code[at..]
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if name.is_empty() {
                continue;
            }
            if let Some((open, close)) = body(&bytes[at..]) {
                let line_of = |i: usize| self.code[..i].matches('\n').count() + 1;
                let (open, close) = (line_of(at + open), line_of(at + close));
                found.push(Function {
                    name,
                    line: open,
                    body_lines: close.saturating_sub(open + 1),
                });
            }
        }
        found
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The braces of the body that follows a function's name; none for a declaration, which ends in `;`.
fn body(code: &[u8]) -> Option<(usize, usize)> {
    let mut depth = 0_usize;
    let mut open = None;
    let mut brackets = 0_usize;
    for (i, byte) in code.iter().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b';' if brackets == 0 && open.is_none() => return None,
            b'{' => {
                if open.is_none() && brackets == 0 {
                    open = Some(i);
                }
                depth += 1;
            }
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0
                    && let Some(open) = open
                {
                    return Some((open, i));
                }
            }
            _ => {}
        }
    }
    None
}

/// Replaces comments and the contents of string and character literals by blanks, byte by byte.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = at
            + match rest {
                [b'/', b'/', ..] => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
                [b'/', b'*', ..] => comment_length(rest),
                [b'"', ..] => string_length(rest),
                [b'r' | b'b' | b'c', ..] if at == 0 || !is_word(bytes[at - 1]) => {
                    prefixed_length(rest)
                }
                [b'\'', ..] => character_length(rest),
                _ => 0,
            };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole literals and comments were replaced by ASCII")
}

fn comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'…'`; 0 for a word that only begins like one.
fn prefixed_length(rest: &[u8]) -> usize {
    let letters = rest
        .iter()
        .take(2)
        .take_while(|b| matches!(b, b'r' | b'b' | b'c'))
        .count();
    let raw = rest[..letters].contains(&b'r');
    let hashes = rest[letters..].iter().take_while(|&&b| b == b'#').count();
    match rest.get(letters + hashes) {
        Some(b'"') if raw => {
            let mut close = vec![b'"'];
            close.resize(hashes + 1, b'#');
            let body = letters + hashes + 1;
            rest[body..]
                .windows(close.len())
                .position(|w| w == close)
                .map_or(rest.len(), |i| body + i + close.len())
        }
        Some(b'"') if hashes == 0 => letters + string_length(&rest[letters..]),
        Some(b'\'') if hashes == 0 && rest[..letters] == *b"b" => {
            letters + character_length(&rest[letters..])
        }
        _ => 0,
    }
}

/// The length of a character literal; 0 for a lifetime.
fn character_length(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => rest[3.min(rest.len())..]
            .iter()
            .position(|&b| b == b'\'')
            .map_or(0, |i| i + 4),
        [_, first, ..] => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if rest.get(1 + width) == Some(&b'\'') {
                2 + width
            } else {
                0
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            path: "crates/x/src/lib.rs".to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    #[test]
    fn comments_and_literals_are_blank() {
        for (text, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* /* b */ c */ d", "a                 d"),
            ("f(\"{ \\\" }\", 1)", "f(        , 1)"),
            ("r#\"{\"}\"#;", "        ;"),
            ("b\"{\" br\"{\" c\"{\"", "               "),
            ("'{' b'{' '\\'' '\\u{7b}' x", "                       x"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("brr = 1; crab", "brr = 1; crab"),
            ("'é' y", "     y"),
        ] {
            assert_eq!(blank(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_are_measured_between_their_braces() {
        let found = source("trait T { fn a(&self);\n fn b(&self) {\n 1\n }\n}\nfn c<const N: usize>() -> [u8; 3]\nwhere X: Y {\n\n\n}\nlet fnx = 1;\n").functions();
        let found: Vec<(&str, usize, usize)> = found
            .iter()
            .map(|f| (f.name.as_str(), f.line, f.body_lines))
            .collect();
        assert_eq!(found, [("b", 2, 1), ("c", 7, 2)]);
    }

    #[test]
    fn unit_tests_are_not_counted() {
        assert_eq!(
            source("a\nb\n#[cfg(test)]\nmod tests {\n}\n").lines_without_tests(),
            2
        );
        assert_eq!(source("a\nb\n").lines_without_tests(), 2);
    }
}
