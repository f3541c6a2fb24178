//! Command lines in the form that runc takes: Go's flags, which end at the first argument that is none.
//!
//! `-name`, `--name`, `--name=value` and `--name value` are the same for short and long names.

use gantry_runtime::{Error, Result};
use std::fmt::Write as _;

/// A flag of a command.
#[derive(Debug)]
pub(super) struct Flag {
    /// All names, the long one first.
    pub(super) names: &'static [&'static str],
    /// Whether it is followed by a value.
    pub(super) takes_value: bool,
    /// For the help text.
    pub(super) about: &'static str,
}

/// A flag with a value.
pub(super) const fn value(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag {
        names,
        takes_value: true,
        about,
    }
}

/// A flag without one.
pub(super) const fn switch(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag {
        names,
        takes_value: false,
        about,
    }
}

/// What was given.
#[derive(Debug, Default)]
pub(super) struct Matches {
    given: Vec<(&'static str, String)>,
    /// What follows the flags.
    pub(super) arguments: Vec<String>,
}

impl Matches {
    /// Whether a switch is on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value == "true")
    }
    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }
    /// All values of a flag, in order.
    pub(super) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_owned();
        self.given
            .iter()
            .filter(move |(other, _)| *other == name)
            .map(|(_, value)| value.as_str())
    }
    /// A number, if the flag was given.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let Some(text) = self.value(name) else {
            return Ok(None);
        };
        let parsed = text.parse().map_err(|_| {
            Error::invalid(format!(
                "invalid value \"{text}\" for flag -{name}: parse error"
            ))
        })?;
        Ok(Some(parsed))
    }
}

/// Parses the flags at the beginning of `arguments`.
pub(super) fn parse(flags: &'static [Flag], arguments: &[String]) -> Result<Matches> {
    let mut matches = Matches::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        }
        let Some(text) = argument.strip_prefix('-').filter(|text| !text.is_empty()) else {
            matches.arguments.push(argument.clone());
            break;
        };
        let text = text.strip_prefix('-').unwrap_or(text);
        let (name, given) = text
            .split_once('=')
            .map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        let flag = flags
            .iter()
            .find(|flag| flag.names.contains(&name))
            .ok_or_else(|| Error::invalid(format!("flag provided but not defined: -{name}")))?;
        let value = match (given, flag.takes_value) {
            (Some(value), true) => value,
            (Some(value), false) => boolean(name, &value)?,
            (None, false) => "true".to_owned(),
            (None, true) => rest
                .next()
                .cloned()
                .ok_or_else(|| Error::invalid(format!("flag needs an argument: -{name}")))?,
        };
        matches.given.push((flag.names[0], value));
    }
    matches.arguments.extend(rest.cloned());
    Ok(matches)
}

fn boolean(name: &str, value: &str) -> Result<String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".to_owned()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".to_owned()),
        _ => Err(Error::invalid(format!(
            "invalid boolean value \"{value}\" for -{name}: parse error"
        ))),
    }
}

/// The flags as a help text shows them.
pub(super) fn describe(flags: &[Flag]) -> String {
    let left = |flag: &Flag| {
        let names: Vec<String> = flag
            .names
            .iter()
            .map(|name| {
                let dashes = if name.len() > 1 { "--" } else { "-" };
                format!(
                    "{dashes}{name}{}",
                    if flag.takes_value { " value" } else { "" }
                )
            })
            .collect();
        names.join(", ")
    };
    let width = flags.iter().map(|flag| left(flag).len()).max().unwrap_or(0);
    let mut text = String::new();
    for flag in flags {
        let _ = writeln!(text, "   {:width$}  {}", left(flag), flag.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLAGS: [Flag; 3] = [
        value(&["bundle", "b"], ""),
        switch(&["detach", "d"], ""),
        value(&["env", "e"], ""),
    ];

    fn parsed(arguments: &str) -> Result<Matches> {
        parse(
            &FLAGS,
            &arguments.split(' ').map(str::to_owned).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn all_forms_of_flags() {
        let got = parsed("-b x --detach -env=A=1 -e B=2 id -d").expect("is valid");
        assert_eq!((got.value("bundle"), got.has("detach")), (Some("x"), true));
        assert_eq!(got.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(got.arguments, ["id", "-d"]);
        assert_eq!(parsed("-- -d").expect("is valid").arguments, ["-d"]);
        assert!(!parsed("--detach=false id").expect("is valid").has("detach"));
    }

    #[test]
    fn mistakes_are_told_in_gos_words() {
        let text = |arguments: &str| parsed(arguments).expect_err("is wrong").message;
        assert_eq!(text("--bogus x"), "flag provided but not defined: -bogus");
        assert_eq!(text("-b"), "flag needs an argument: -b");
        assert!(text("--detach=maybe").starts_with("invalid boolean value"));
    }
}
