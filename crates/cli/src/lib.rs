//! The `docker` command line: a client of the Engine API and nothing else, so it also works against dockerd.
//!
//! Start reading at [`main`]; `command` is the table of commands, `container_options` maps the flags of `run` and `create`,
//! `template` is the language of `--format`. Does not touch containers, images or the host by any other way than the API;
//! `docker manifest` alone speaks to registries, through what [`remote`] asks for.

mod command;
mod config_file;
mod container_options;
mod credentials;
mod failure;
mod filter;
mod flag;
mod format;
mod help;
mod inspection;
mod joined;
mod json_text;
mod listing;
mod output;
mod parse;
mod progress;
mod prune;
pub mod remote;
mod session;
mod shape;
mod stream;
mod template;
mod terminal;
mod timestamp;

use command::{Command, Found};
use failure::{Failure, Outcome};
use flag::{Flag, Given};
use session::Session;
use std::ffi::OsString;
use std::path::Path;

/// Runs one command line, the program's name included, and returns the exit status.
///
/// Called as `docker` it speaks of itself as `docker`; under any other name, as `gantry`.
/// Without `registries`, what speaks to them without the daemon is refused.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    registries: Option<&'static dyn remote::Registries>,
) -> i32 {
    let mut arguments = arguments.into_iter();
    let program = program_name(arguments.next());
    let arguments: Vec<OsString> = arguments.collect();
    let outcome = dispatch(program, &arguments, registries);
    terminal::restore();
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::print_error_line(&failure.message);
            }
            failure.status
        }
    }
}

fn program_name(first: Option<OsString>) -> &'static str {
    let first = first.unwrap_or_default();
    let name = Path::new(&first)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if name == "docker" { "docker" } else { "gantry" }
}

fn dispatch(
    program: &'static str,
    arguments: &[OsString],
    registries: Option<&'static dyn remote::Registries>,
) -> Outcome {
    let globals = global_flags();
    let starts_with_flag = arguments
        .first()
        .is_some_and(|first| first.as_encoded_bytes().starts_with(b"-"));
    let given = if starts_with_flag {
        let usage = parse::Usage {
            invoked: program,
            usage: "[OPTIONS] COMMAND [ARG...]",
        };
        parse::read_flags(&globals, false, arguments, &usage)?
    } else {
        Given::default()
    };
    // Global flags stop at the command, so what they left over is the end of the line.
    let rest = if starts_with_flag {
        &arguments[arguments.len() - given.arguments.len()..]
    } else {
        arguments
    };
    if given.bool("version") {
        output::print_line(&format!(
            "{} version {}",
            program_title(program),
            env!("CARGO_PKG_VERSION")
        ));
        return Ok(());
    }
    let Some(name) = rest.first().map(|name| name.to_string_lossy().into_owned()) else {
        output::print(&help::of_program(program, &globals));
        return Ok(());
    };
    if name == "help" {
        return show_help(program, &rest[1..]);
    }
    if given.bool("help") {
        return show_help(program, rest);
    }
    let session = Session::new(program, given, registries);
    match command::find(&name) {
        Found::Command(command) => run(&session, command, &format!("{program} {name}"), &rest[1..]),
        Found::Group(group) => run_in_group(&session, group, &rest[1..]),
        Found::Unsupported => Err(Failure::new(format!(
            "{program}: '{name}' is not supported yet"
        ))),
        Found::Unknown => Err(unknown_command(program, &name)),
    }
}

fn unknown_command(program: &str, name: &str) -> Failure {
    Failure::new(format!(
        "{program}: unknown command: {program} {name}\n\nRun '{program} --help' for more information"
    ))
}

fn run(session: &Session, command: &Command, invoked: &str, arguments: &[OsString]) -> Outcome {
    match parse::parse(command, invoked, arguments)? {
        parse::Request::Help => {
            output::print(&help::of_command(command, session.program, invoked));
            Ok(())
        }
        parse::Request::Run(given) => (command.run)(session, &given),
    }
}

fn run_in_group(session: &Session, group: &command::Group, arguments: &[OsString]) -> Outcome {
    let program = session.program;
    let name = arguments
        .first()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if matches!(name.as_str(), "" | "--help" | "-h" | "help") {
        output::print(&help::of_group(group, program));
        return Ok(());
    }
    let path = format!("{program} {}", group.name);
    match command::find_in(group, &name) {
        Found::Command(command) => {
            run(session, command, &format!("{path} {name}"), &arguments[1..])
        }
        Found::Unsupported => Err(Failure::new(format!(
            "{program}: '{} {name}' is not supported yet",
            group.name
        ))),
        _ if name.starts_with('-') => {
            let flag = if name.starts_with("--") {
                format!("unknown flag: {name}")
            } else {
                format!(
                    "unknown shorthand flag: {:?} in {name}",
                    name.chars().nth(1).unwrap_or('-')
                )
            };
            let message = format!(
                "{flag}\n\nUsage:  {path} COMMAND\n\nRun '{path} --help' for more information"
            );
            Err(Failure::new(message).with_status(125))
        }
        _ => Err(Failure::new(format!(
            "{program}: unknown command: {path} {name}\n\nUsage:  {path}\n\nRun '{path} --help' for more information"
        ))),
    }
}

fn show_help(program: &'static str, path: &[OsString]) -> Outcome {
    let words: Vec<String> = path
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let text = match words.as_slice() {
        [] => help::of_program(program, &global_flags()),
        [name, rest @ ..] => match command::find(name) {
            Found::Command(command) => {
                help::of_command(command, program, &format!("{program} {name}"))
            }
            Found::Group(group) => match rest
                .first()
                .map(|verb| (verb, command::find_in(group, verb)))
            {
                Some((verb, Found::Command(command))) => {
                    help::of_command(command, program, &format!("{program} {name} {verb}"))
                }
                _ => help::of_group(group, program),
            },
            Found::Unsupported => {
                return Err(Failure::new(format!(
                    "{program}: '{name}' is not supported yet"
                )));
            }
            Found::Unknown => return Err(unknown_command(program, name)),
        },
    };
    output::print(&text);
    Ok(())
}

fn program_title(program: &str) -> &'static str {
    if program == "docker" {
        "Docker"
    } else {
        "Gantry"
    }
}

/// The flags before the command.
pub(crate) fn global_flags() -> Vec<Flag> {
    vec![
        Flag::text("config", "Directory of the configuration file").default("~/.docker"),
        Flag::text("context", "Name of the context that leads to the daemon").short('c'),
        Flag::boolean("debug", "Enable debug mode").short('D'),
        Flag::boolean("help", "Print usage").short('h').hidden(),
        Flag::list("host", "Daemon socket to connect to").short('H'),
        Flag::text(
            "log-level",
            r#"Set the logging level ("debug", "info", "warn", "error", "fatal")"#,
        )
        .short('l')
        .default("info"),
        Flag::boolean("tls", "Use TLS; implied by --tlsverify"),
        Flag::text("tlscacert", "Trust only certificates signed by this CA"),
        Flag::text("tlscert", "Path to the TLS certificate"),
        Flag::text("tlskey", "Path to the TLS key"),
        Flag::boolean("tlsverify", "Use TLS and verify the remote"),
        Flag::boolean("version", "Print version information and quit").short('v'),
    ]
}
