//! Command lines as Docker's flag library reads them, on top of clap: `-itd`, `--rm=false`, `-p8080:80`.

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, value_parser};
use std::ffi::OsString;

const ARGUMENTS: &str = "ARGUMENTS";

/// What a command line asks for.
pub(crate) enum Request {
    /// Show the help of the command.
    Help,
    /// Run the command.
    Run(Given),
}

/// Reads what stands behind the name of a command. `invoked` is that name, with the program's.
///
/// # Errors
/// Docker's texts and statuses: 125 for flags, 1 for arguments.
pub(crate) fn parse(command: &Command, invoked: &str, arguments: &[OsString]) -> Outcome<Request> {
    let flags = command.all_flags();
    let usage = Usage {
        invoked,
        usage: command.usage_arguments(),
    };
    let mut given = read_flags(&flags, command.is_interspersed, arguments, &usage)?;
    if given.bool("help") {
        return Ok(Request::Help);
    }
    invoked.clone_into(&mut given.invoked);
    check_arity(command.arity, given.arguments.len(), &usage)?;
    Ok(Request::Run(given))
}

/// How errors describe a command.
pub(crate) struct Usage<'a> {
    pub(crate) invoked: &'a str,
    pub(crate) usage: &'a str,
}

impl Usage<'_> {
    fn program(&self) -> &str {
        self.invoked.split(' ').next().unwrap_or_default()
    }
    fn line(&self) -> String {
        if self.usage.is_empty() {
            self.invoked.to_owned()
        } else {
            format!("{} {}", self.invoked, self.usage)
        }
    }
    fn flag_failure(&self, text: &str) -> Failure {
        let (line, invoked) = (self.line(), self.invoked);
        let message =
            format!("{text}\n\nUsage:  {line}\n\nRun '{invoked} --help' for more information");
        Failure {
            status: 125,
            message,
        }
    }
}

/// Reads flags and arguments. Without `is_interspersed`, flags end at the first argument.
///
/// # Errors
/// Unknown flags, missing and wrong values, with status 125.
pub(crate) fn read_flags(
    flags: &[Flag],
    is_interspersed: bool,
    arguments: &[OsString],
    usage: &Usage<'_>,
) -> Outcome<Given> {
    let matches = clap_command(flags, is_interspersed)
        .try_get_matches_from(arguments)
        .map_err(|error| usage.flag_failure(&clap_error(&error, flags, arguments)))?;
    let mut given = Given::default();
    let mut checks: Vec<(usize, &Flag, String)> = Vec::new();
    for flag in flags {
        let Some(values) = matches.get_many::<String>(flag.long) else {
            continue;
        };
        let values: Vec<String> = values.cloned().collect();
        if flag.check.is_some() {
            let indices = matches.indices_of(flag.long).into_iter().flatten();
            checks.extend(
                indices
                    .zip(&values)
                    .map(|(index, value)| (index, flag, value.clone())),
            );
        }
        given.insert(flag.long, values);
    }
    checks.sort_by_key(|(index, ..)| *index);
    for (_, flag, value) in checks {
        if let Some(Err(reason)) = flag.check.map(|check| check(&value)) {
            let text = format!(
                "invalid argument {value:?} for {:?} flag: {reason}",
                flag.display_name()
            );
            return Err(usage.flag_failure(&text));
        }
    }
    given.arguments = matches
        .get_many::<String>(ARGUMENTS)
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    Ok(given)
}

/// The clap command of some flags; also what completion scripts are made of.
pub(crate) fn clap_command(flags: &[Flag], is_interspersed: bool) -> clap::Command {
    let arguments = Arg::new(ARGUMENTS)
        .num_args(0..)
        .trailing_var_arg(!is_interspersed);
    clap::Command::new("command")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(flags.iter().map(clap_arg))
        .arg(arguments)
}

/// One flag for clap.
pub(crate) fn clap_arg(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.long)
        .long(flag.long)
        .aliases(flag.aliases)
        .action(ArgAction::Append)
        .value_parser(value_parser!(String))
        .hide(flag.is_hidden)
        .help(flag.about);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    if flag.is_boolean() {
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        arg.num_args(1).allow_hyphen_values(true)
    }
}

fn clap_error(error: &clap::Error, flags: &[Flag], arguments: &[OsString]) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let name = context(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with("--") => {
            format!("unknown flag: {}", name.split('=').next().unwrap_or(name))
        }
        ErrorKind::UnknownArgument => {
            let letter = name.chars().nth(1).unwrap_or('-');
            let cluster = arguments
                .iter()
                .filter_map(|argument| argument.to_str())
                .filter(|argument| argument.starts_with('-') && !argument.starts_with("--"))
                .find_map(|argument| argument.find(letter).map(|at| &argument[at..]));
            format!(
                "unknown shorthand flag: {letter:?} in -{}",
                cluster.unwrap_or_default()
            )
        }
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            let long = name
                .trim_start_matches('-')
                .split([' ', '='])
                .next()
                .unwrap_or_default();
            let last = arguments
                .last()
                .and_then(|argument| argument.to_str())
                .unwrap_or_default();
            match flags
                .iter()
                .find(|flag| flag.long == long)
                .and_then(|flag| flag.short)
            {
                Some(short) if !last.starts_with("--") => {
                    format!("flag needs an argument: {short:?} in {last}")
                }
                _ => format!("flag needs an argument: --{long}"),
            }
        }
        ErrorKind::InvalidUtf8 => "arguments must be valid UTF-8".into(),
        _ => error
            .render()
            .to_string()
            .trim_start_matches("error: ")
            .trim_end()
            .to_owned(),
    }
}

fn check_arity(arity: Arity, count: usize, usage: &Usage<'_>) -> Outcome {
    let plural = |number: usize| if number == 1 { "argument" } else { "arguments" };
    let (is_fine, text, hint) = match arity {
        Arity::None => (count == 0, "accepts no arguments".to_owned(), "Run"),
        Arity::Exactly(n) => (count == n, format!("requires {n} {}", plural(n)), "Run"),
        Arity::AtLeast(n) => (
            count >= n,
            format!("requires at least {n} {}", plural(n)),
            "See",
        ),
        Arity::AtMost(n) => (
            count <= n,
            format!("requires at most {n} {}", plural(n)),
            "Run",
        ),
        Arity::Between(least, most) => (
            (least..=most).contains(&count),
            format!(
                "requires at least {least} and at most {most} {}",
                plural(most)
            ),
            "Run",
        ),
    };
    if is_fine {
        return Ok(());
    }
    let (program, invoked, line) = (usage.program(), usage.invoked, usage.line());
    let run = if matches!(arity, Arity::AtMost(_)) {
        "Run"
    } else {
        hint
    };
    Err(Failure::new(format!(
        "{program}: '{invoked}' {text}\n\nUsage:  {line}\n\n{run} '{invoked} --help' for more information"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Vec<Flag> {
        vec![
            Flag::boolean("tty", "").short('t'),
            Flag::boolean("interactive", "").short('i'),
            Flag::boolean("rm", ""),
            Flag::list("publish", "").short('p'),
            Flag::text("name", ""),
            Flag::text("network", "").alias(&["net"]),
            Flag::integer("pids-limit", ""),
        ]
    }

    fn read(is_interspersed: bool, line: &[&str]) -> Result<Given, String> {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        let usage = Usage {
            invoked: "docker x",
            usage: "A",
        };
        read_flags(&flags(), is_interspersed, &arguments, &usage).map_err(|failure| {
            failure
                .message
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
    }

    #[test]
    fn flags_stop_at_the_image() {
        let line = [
            "-it",
            "--rm=false",
            "-p8080:80",
            "-p",
            "1:1",
            "-p=2:2",
            "--name=",
            "--net",
            "host",
            "img",
            "-t=false",
            "--name",
            "x",
        ];
        let given = read(false, &line).expect("is valid");
        assert!(
            given.bool("tty")
                && given.bool("interactive")
                && !given.bool("rm")
                && given.is_given("rm")
        );
        assert_eq!(given.list("publish"), ["8080:80", "1:1", "2:2"]);
        assert_eq!((given.text("name"), given.is_given("name")), ("", true));
        assert_eq!(given.text("network"), "host");
        assert_eq!(given.arguments, ["img", "-t=false", "--name", "x"]);
    }

    #[test]
    fn interspersed_flags_and_double_dash() {
        let given = read(true, &["a", "-t", "b", "--name", "-x", "--", "-c"]).expect("is valid");
        assert_eq!(given.arguments, ["a", "b", "-c"]);
        assert_eq!(given.text("name"), "-x");
        let given = read(false, &["--", "img", "--rm"]).expect("is valid");
        assert_eq!(given.arguments, ["img", "--rm"]);
    }

    #[test]
    fn the_last_value_counts_and_clusters_take_values() {
        let given = read(
            false,
            &[
                "--name",
                "a",
                "--name",
                "b",
                "-tip",
                "3:3",
                "-t",
                "--tty=false",
            ],
        )
        .expect("is valid");
        assert_eq!(given.text("name"), "b");
        assert_eq!(given.list("publish"), ["3:3"]);
        assert!(!given.bool("tty"));
        assert_eq!(
            read(false, &["--pids-limit", "-1"])
                .expect("is valid")
                .integer("pids-limit"),
            -1
        );
    }

    #[test]
    fn errors_are_dockers() {
        let cases: [(&[&str], &str); 8] = [
            (&["--nosuch=1"], "unknown flag: --nosuch"),
            (&["-Z"], "unknown shorthand flag: 'Z' in -Z"),
            (&["-itZ", "x"], "unknown shorthand flag: 'Z' in -Z"),
            (&["-Zt"], "unknown shorthand flag: 'Z' in -Zt"),
            (&["--name"], "flag needs an argument: --name"),
            (&["-p"], "flag needs an argument: 'p' in -p"),
            (
                &["--rm=maybe"],
                "invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                &["-t=x"],
                "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(read(false, line).expect_err("is wrong"), expected);
        }
    }
}
