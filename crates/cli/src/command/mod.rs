//! The table of commands: what each is called, what it takes, what runs it.
//!
//! A noun is a folder, a verb a file. Top-level names (`docker ps`) are other names of the same commands.

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod manifest;
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod system;
pub(crate) mod volume;

use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::session::Session;

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arity {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// One command.
pub(crate) struct Command {
    /// The noun it belongs to; empty for commands that have none.
    pub(crate) group: &'static str,
    /// Its names under the noun, the canonical one first.
    pub(crate) names: &'static [&'static str],
    /// Its name without the noun.
    pub(crate) top_level: Option<&'static str>,
    /// What follows its name in usage lines.
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    pub(crate) arity: Arity,
    pub(crate) flags: fn() -> Vec<Flag>,
    /// Whether flags may follow arguments.
    pub(crate) is_interspersed: bool,
    pub(crate) run: fn(&Session, &Given) -> Outcome,
}

impl Command {
    /// What follows the name in usage lines.
    pub(crate) fn usage_arguments(&self) -> &'static str {
        self.arguments
    }
    /// Its own flags, and that for help.
    pub(crate) fn all_flags(&self) -> Vec<Flag> {
        let mut flags = (self.flags)();
        if !flags.iter().any(|flag| flag.long == "help") {
            flags.push(Flag::boolean("help", "Print usage").short('h').hidden());
        }
        flags
    }
    /// Every way to call it, as help lists them.
    pub(crate) fn all_names(&self, program: &str) -> Vec<String> {
        let mut names = Vec::new();
        if !self.group.is_empty() {
            names.extend(
                self.names
                    .iter()
                    .map(|name| format!("{program} {} {name}", self.group)),
            );
        }
        names.extend(self.top_level.map(|name| format!("{program} {name}")));
        names
    }
}

/// A noun.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Docker's verbs that are refused by name.
    unsupported: &'static [&'static str],
}

/// All nouns.
pub(crate) static GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        unsupported: &["cp"],
    },
    Group {
        name: "image",
        about: "Manage images",
        unsupported: &["build"],
    },
    Group {
        name: "manifest",
        about: "Manage image manifests and manifest lists",
        unsupported: &[],
    },
    Group {
        name: "network",
        about: "Manage networks",
        unsupported: &[],
    },
    Group {
        name: "system",
        about: "Manage the daemon",
        unsupported: &["dial-stdio"],
    },
    Group {
        name: "volume",
        about: "Manage volumes",
        unsupported: &["update"],
    },
];

/// Docker's other commands and nouns, refused by name.
static UNSUPPORTED: &[&str] = &[
    "bake",
    "build",
    "builder",
    "buildx",
    "checkpoint",
    "compose",
    "config",
    "context",
    "cp",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

/// All commands.
pub(crate) static COMMANDS: &[&Command] = &[
    &container::attach::COMMAND,
    &container::create::COMMAND,
    &container::exec::COMMAND,
    &container::commit::COMMAND,
    &container::diff::COMMAND,
    &container::export::COMMAND,
    &container::inspect::COMMAND,
    &container::kill::COMMAND,
    &container::logs::COMMAND,
    &container::list::COMMAND,
    &container::pause::COMMAND,
    &container::port::COMMAND,
    &container::prune::COMMAND,
    &container::rename::COMMAND,
    &container::restart::COMMAND,
    &container::remove::COMMAND,
    &container::run::COMMAND,
    &container::start::COMMAND,
    &container::stats::COMMAND,
    &container::stop::COMMAND,
    &container::top::COMMAND,
    &container::unpause::COMMAND,
    &container::update::COMMAND,
    &container::wait::COMMAND,
    &image::history::COMMAND,
    &image::import::COMMAND,
    &image::inspect::COMMAND,
    &image::list::COMMAND,
    &image::load::COMMAND,
    &image::prune::COMMAND,
    &image::pull::COMMAND,
    &image::push::COMMAND,
    &image::remove::COMMAND,
    &image::save::COMMAND,
    &image::tag::COMMAND,
    &manifest::annotate::COMMAND,
    &manifest::create::COMMAND,
    &manifest::inspect::COMMAND,
    &manifest::push::COMMAND,
    &manifest::remove::COMMAND,
    &network::connect::COMMAND,
    &network::create::COMMAND,
    &network::disconnect::COMMAND,
    &network::inspect::COMMAND,
    &network::list::COMMAND,
    &network::prune::COMMAND,
    &network::remove::COMMAND,
    &registry::login::COMMAND,
    &registry::logout::COMMAND,
    &registry::search::COMMAND,
    &system::completion::COMMAND,
    &system::df::COMMAND,
    &system::events::COMMAND,
    &system::info::COMMAND,
    &system::inspect::COMMAND,
    &system::prune::COMMAND,
    &system::version::COMMAND,
    &volume::create::COMMAND,
    &volume::inspect::COMMAND,
    &volume::list::COMMAND,
    &volume::prune::COMMAND,
    &volume::remove::COMMAND,
];

/// The flags of a command that has none.
pub(crate) fn no_flags() -> Vec<Flag> {
    Vec::new()
}

/// What a name at the start of a command line means.
pub(crate) enum Found {
    Command(&'static Command),
    Group(&'static Group),
    Unsupported,
    Unknown,
}

/// Looks up a name without a noun.
pub(crate) fn find(name: &str) -> Found {
    if let Some(command) = COMMANDS
        .iter()
        .find(|command| command.top_level == Some(name))
    {
        return Found::Command(command);
    }
    if let Some(group) = GROUPS.iter().find(|group| group.name == name) {
        return Found::Group(group);
    }
    if UNSUPPORTED.contains(&name) {
        Found::Unsupported
    } else {
        Found::Unknown
    }
}

/// Looks up a verb of a noun.
pub(crate) fn find_in(group: &Group, name: &str) -> Found {
    match of_group(group.name).find(|command| command.names.contains(&name)) {
        Some(command) => Found::Command(command),
        None if group.unsupported.contains(&name) => Found::Unsupported,
        None => Found::Unknown,
    }
}

/// The commands of a noun.
pub(crate) fn of_group(name: &str) -> impl Iterator<Item = &'static Command> {
    COMMANDS
        .iter()
        .copied()
        .filter(move |command| command.group == name && !name.is_empty())
}
