//! JSON as text: spaced for people, or packed, without changing its order or its numbers.

/// JSON without the space between its tokens.
pub(crate) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for token in tokens(json) {
        text.push_str(token);
    }
    text
}

/// JSON with a line for each member and element, indented by four spaces a level.
pub(crate) fn indent(json: &str) -> String {
    indent_with(json, "    ")
}

/// As [`indent`], with another step.
pub(crate) fn indent_with(json: &str, step: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut is_fresh = false;
    for token in tokens(json) {
        let closes = matches!(token, "}" | "]");
        if is_fresh && !closes {
            new_line(&mut text, step, depth);
        }
        match token {
            "{" | "[" => {
                text.push_str(token);
                depth += 1;
                is_fresh = true;
                continue;
            }
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                if !is_fresh {
                    new_line(&mut text, step, depth);
                }
                text.push_str(token);
            }
            "," => {
                text.push(',');
                new_line(&mut text, step, depth);
            }
            ":" => text.push_str(": "),
            _ => text.push_str(token),
        }
        is_fresh = false;
    }
    text
}

fn new_line(text: &mut String, step: &str, depth: usize) {
    text.push('\n');
    for _ in 0..depth {
        text.push_str(step);
    }
}

/// Strings with their quotes, single punctuation marks, and runs of everything else.
fn tokens(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let first = rest.bytes().next()?;
        let length = match first {
            b'"' => string_length(rest),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => rest
                .find(|c: char| {
                    c.is_ascii_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '"')
                })
                .unwrap_or(rest.len()),
        };
        let (token, next) = rest.split_at(length);
        rest = next;
        Some(token)
    })
}

fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_changes_and_nothing_else() {
        let json = r#"[ {"b":1.0e5,"a":{},"c":[], "d":["x \" {",null]} ]"#;
        assert_eq!(
            compact(json),
            r#"[{"b":1.0e5,"a":{},"c":[],"d":["x \" {",null]}]"#
        );
        let expected = "[\n    {\n        \"b\": 1.0e5,\n        \"a\": {},\n        \"c\": [],\n        \"d\": [\n            \"x \\\" {\",\n            null\n        ]\n    }\n]";
        assert_eq!(indent(json), expected);
    }
}
