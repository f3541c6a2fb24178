//! `gantry`: command line, daemon and helpers in one executable.
//!
//! Called as `dockerd` or `gantryd`, or with `daemon` as its first argument, it is the daemon; with `registry` it is a registry;
//! else it is the command line, which answers to `docker` too.

mod config;
mod daemon;
mod notify;
mod registry;
mod remote;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let program = arguments
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_owned();
    let is_daemon = program == "dockerd" || program == "gantryd";
    if is_daemon {
        return daemon::main(&program.to_string_lossy(), arguments.split_off(1));
    }
    if arguments.get(1).is_some_and(|first| first == "daemon") {
        return daemon::main("gantry daemon", arguments.split_off(2));
    }
    if arguments.get(1).is_some_and(|first| first == "registry") {
        return registry::main(arguments.split_off(2));
    }
    ExitCode::from(u8::try_from(gantry_cli::main(arguments, Some(&remote::Direct))).unwrap_or(1))
}
