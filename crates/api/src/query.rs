//! Query strings: percent decoding, and values as Docker reads them.

/// The parameters of a query, in order, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d%20e`. Badly encoded parameters are left out, as Go leaves them out; what is not UTF-8 in the others is
    /// replaced, so that whoever reads such a value refuses it instead of taking its default.
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|part| !part.is_empty() && !part.contains(';'));
        let decoded = pairs.filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Some((
                text(decode_bytes(name, true)?),
                text(decode_bytes(value, true)?),
            ))
        });
        Self(decoded.collect())
    }
    /// The first value of `name`; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
    /// Whether `name` occurs, with whatever value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
    /// Docker's idea of a boolean: `""`, `0`, `no`, `false` and `none` are false, all else is true.
    pub fn flag(&self, name: &str) -> bool {
        is_true(self.get(name))
    }
    /// Like [`Query::flag`], with `default` where the parameter is missing.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) {
            self.flag(name)
        } else {
            default
        }
    }
}

/// Docker's idea of a boolean.
pub fn is_true(text: &str) -> bool {
    !matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "" | "0" | "no" | "false" | "none"
    )
}

/// Decodes `%2F`; in queries also `+`. None where an escape is broken or the result is not UTF-8.
pub fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    String::from_utf8(decode_bytes(text, plus_is_space)?).ok()
}

fn decode_bytes(text: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    if !text.contains(['%', '+']) {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || {
                    rest.next()
                        .and_then(|b| char::from(b).to_digit(16))
                        .and_then(|d| u8::try_from(d).ok())
                };
                let high = digit()?;
                high << 4 | digit()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(bytes)
}

/// Encodes what is not plain in a query value or a path segment.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(
                    char::from_digit(u32::from(digit), 16)
                        .expect("is below 16")
                        .to_ascii_uppercase(),
                );
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("name=a%2Fb&t=1&name=c&empty&plus=a+b&bad=%zz&force=None");
        assert_eq!(query.get("name"), "a/b");
        assert_eq!(query.all("name").collect::<Vec<_>>(), ["a/b", "c"]);
        assert_eq!(query.get("plus"), "a b");
        assert!(
            query.has("empty")
                && !query.has("bad")
                && !query.flag("empty")
                && !query.flag("force")
                && query.flag("t")
        );
        assert_eq!(Query::parse("name=%ff").get("name"), "\u{fffd}");
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let text = "/päth with \"all\"&=+%";
        assert_eq!(decode(&encode(text), true).as_deref(), Some(text));
        assert_eq!(decode("a%", false), None);
        assert_eq!(decode("%ff", false), None);
    }
}
