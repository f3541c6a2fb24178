//! Chores of this repository: `cargo xtask COMMAND`.
//!
//! `tidy` checks what the compiler cannot: the crate table, sizes, names, frozen files.
//! `commands` generates `docs/commands.md`; `freeze` records what a release must never change again.
//! Nothing here ships.

mod bench;
mod commands;
mod protocol;
mod tidy;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

commands:
  tidy                 check the crate table, sizes, names, module docs, frozen and dead files
  bench                measure Gantry and another daemon in turn; `bench --help` says more
  bench images         measure images and pulls on fresh file systems; `bench images --help` says more
  bench syscalls       count and check the system calls of one start
  commands             generate docs/commands.md
  protocol             generate docs/shim-protocol.md
  vm                   run the runtime's kernel tests in virtual machines (cgroup v2, v1); `vm --help` says more
  freeze               record migrations and the shim protocol as released (see docs/testing.md)";

/// What every chore answers; the text is for the person at the terminal.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["tidy"] => tidy::run(&root()),
        ["bench", "syscalls"] => bench::syscalls::run(&root()),
        ["bench", "images", "--help"] => {
            println!("{}", bench::image::USAGE);
            Ok(())
        }
        ["bench", "images", ref options @ ..] => bench::image::run(&root(), options),
        ["bench", "--help"] => {
            println!("{}", bench::USAGE);
            Ok(())
        }
        ["bench", ref options @ ..] => bench::run(&root(), options),
        ["commands"] => commands::write(&root()),
        ["protocol"] => protocol::write(&root()),
        ["freeze"] => tidy::frozen::record(&root()),
        ["vm", "--help"] => {
            println!("{}", vm::USAGE);
            Ok(())
        }
        ["vm", ref filters @ ..] => vm::run(&root(), filters),
        ["help" | "--help" | "-h"] | [] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown command: {}\n\n{USAGE}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository: this package lies directly under it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is a folder of the repository")
        .to_owned()
}
