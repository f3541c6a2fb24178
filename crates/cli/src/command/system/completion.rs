//! `gantry completion`: scripts that complete command lines in a shell.

use crate::command::{Arity, COMMANDS, Command, GROUPS, no_flags, of_group};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::output;
use crate::parse::clap_arg;
use crate::session::Session;
use clap_complete::Shell;

pub(crate) static COMMAND: Command = Command {
    group: "",
    names: &["completion"],
    top_level: Some("completion"),
    arguments: "bash|zsh|fish",
    about: "Print a script that completes command lines in a shell",
    arity: Arity::Exactly(1),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let shell = match given.arguments[0].as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => {
            return Err(Failure::new(format!(
                "unknown shell {other:?}: must be one of \"bash\", \"zsh\", \"fish\""
            )));
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut tree(session.program),
        session.program,
        &mut script,
    );
    output::write_bytes(output::Stream::Stdout, &script);
    Ok(())
}

/// All commands as one tree, which running a command never needs.
fn tree(program: &'static str) -> clap::Command {
    let globals = crate::global_flags();
    let mut tree = clap::Command::new(program)
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .args(
            globals
                .iter()
                .filter(|flag| flag.long != "help")
                .map(clap_arg),
        );
    for command in COMMANDS {
        if let Some(name) = command.top_level {
            tree = tree.subcommand(leaf(name, command));
        }
    }
    for group in GROUPS {
        let verbs = of_group(group.name).map(|command| leaf(command.names[0], command));
        let noun = clap::Command::new(group.name)
            .about(group.about)
            .disable_help_subcommand(true)
            .disable_help_flag(true);
        tree = tree.subcommand(noun.subcommands(verbs));
    }
    tree
}

fn leaf(name: &'static str, command: &Command) -> clap::Command {
    let flags = command.all_flags();
    clap::Command::new(name)
        .about(command.about)
        .disable_help_flag(true)
        .args(flags.iter().map(clap_arg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_know_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut tree("gantry"), "gantry", &mut script);
            let script = String::from_utf8(script).expect("is UTF-8");
            assert!(
                script.contains("container") && script.contains("network-alias"),
                "{shell}"
            );
        }
    }
}
