//! `WWW-Authenticate`: how a registry says who may come in, and where tokens are to be had.
//!
//! Source: RFC 9110, 11.6.1; the parameters `realm`, `service` and `scope` of the `distribution` project's token protocol.

use std::fmt;

/// Challenges that one header may hold.
const CHALLENGES_MAX: usize = 8;
/// Parameters that one challenge may hold.
const PARAMETERS_MAX: usize = 16;

/// One challenge: a scheme and its parameters. [`fmt::Display`] gives the header's form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `bearer` or `basic`, in lower case.
    pub scheme: String,
    /// Names in lower case, values without quotation marks, in their order.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// All challenges of a header's value; what is not understood is left out.
    pub fn parse(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let (word, after) = token(rest);
            if word.is_empty() || challenges.len() > CHALLENGES_MAX {
                return challenges;
            }
            let after_blank = after.trim_start_matches([' ', '\t']);
            if let (Some(value), Some(challenge)) =
                (after_blank.strip_prefix('='), challenges.last_mut())
            {
                let (value, after) = value_of(value.trim_start_matches([' ', '\t']));
                if challenge.parameters.len() < PARAMETERS_MAX {
                    challenge
                        .parameters
                        .push((word.to_ascii_lowercase(), value));
                }
                rest = after;
            } else {
                challenges.push(Self {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
                rest = after_blank;
            }
        }
    }

    /// The parameter of this name; empty where there is none.
    pub fn parameter(&self, name: &str) -> &str {
        let mut found = self.parameters.iter().filter(|(known, _)| known == name);
        found.next().map_or("", |(_, value)| value)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme.as_str() {
            "bearer" => "Bearer",
            "basic" => "Basic",
            other => other,
        })?;
        for (position, (name, value)) in self.parameters.iter().enumerate() {
            let separator = if position == 0 { ' ' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "{separator}{name}=\"{value}\"")?;
        }
        Ok(())
    }
}

/// The token at the beginning, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string or a token, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_challenges_with_commas_inside_quotes() {
        let header = r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push", Basic realm="x \"y\"""#;
        let parsed = Challenge::parse(header);
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0].scheme, "bearer");
        assert_eq!(parsed[0].parameter("realm"), "https://auth.example/token");
        assert_eq!(parsed[0].parameter("scope"), "repository:a/b:pull,push");
        assert_eq!(parsed[0].parameter("error"), "");
        assert_eq!(parsed[1].parameter("realm"), "x \"y\"");
        assert_eq!(Challenge::parse(&parsed[0].to_string()), parsed[..1]);
    }

    #[test]
    fn odd_headers_end() {
        for odd in [
            "",
            ",,,",
            "=",
            "Bearer realm=",
            "Bearer realm=\"open",
            "Basic",
            "\"",
            "a=b",
        ] {
            assert!(Challenge::parse(odd).len() <= 1, "{odd:?}");
        }
        assert!(Challenge::parse(&"a ".repeat(1000)).len() <= CHALLENGES_MAX + 1);
    }
}
