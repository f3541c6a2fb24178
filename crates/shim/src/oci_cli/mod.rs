//! The OCI runtime's command line, in runc's words: what containerd, podman or a person calls.
//!
//! `flags` parses, `store` remembers containers, `report` reports; `create`, `exec`, `lifecycle`, `list`, `events`, `update` and
//! `documents` are the commands. Containers of the daemon are not seen here. Start reading at [`main`].

mod create;
mod documents;
mod events;
mod exec;
mod flags;
mod foreground;
mod lifecycle;
mod list;
mod report;
mod store;
mod update;

use flags::{Flag, Matches, switch, value};
use gantry_runtime::{Error, Result};
use gantry_sys::memfd;
use report::Log;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command as Process;
use store::Store;

/// Where containers are remembered unless told otherwise.
const DEFAULT_ROOT: &str = "/run/gantry-runtime";

/// What every command gets.
pub(super) struct Context {
    store: Store,
    log: Log,
}

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy)]
enum Arity {
    Exactly(usize),
    AtLeast(usize),
}

struct Command {
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    arity: Arity,
    flags: &'static [Flag],
    /// Gives the exit status.
    run: fn(&Context, &Matches) -> Result<i32>,
    /// Whether it has to run from memory that a container cannot change.
    sealed: bool,
    /// What runc puts before an error.
    prefix: &'static str,
}

static GLOBAL_FLAGS: [Flag; 9] = [
    switch(&["debug"], "accepted for compatibility"),
    value(&["log"], "file for errors and warnings (default: stderr)"),
    value(&["log-format"], "\"text\" (default) or \"json\""),
    value(
        &["root"],
        "directory for the state of containers (default: \"/run/gantry-runtime\")",
    ),
    value(&["criu"], "ignored"),
    switch(
        &["systemd-cgroup"],
        "not supported: cgroups are made directly",
    ),
    value(&["rootless"], "ignored: found out by itself"),
    switch(&["help", "h"], "show help"),
    switch(&["version", "v"], "print the version"),
];

const PRESERVE: Flag = value(
    &["preserve-fds"],
    "pass this many descriptors from 3 on to the container",
);
const CONSOLE: Flag = value(
    &["console-socket"],
    "path of a socket that gets the master of the container's terminal",
);
const PID_FILE: Flag = value(&["pid-file"], "file for the process id");
const BUNDLE: Flag = value(
    &["bundle", "b"],
    "path of the bundle, by default the current directory",
);
const NO_PIVOT: Flag = switch(
    &["no-pivot"],
    "change only the root directory, for roots on a ramdisk",
);
const NO_KEYRING: Flag = switch(&["no-new-keyring"], "keep the caller's session keyring");

static COMMANDS: [Command; 15] = [
    Command {
        name: "create",
        about: "create a container",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[BUNDLE, CONSOLE, PID_FILE, NO_PIVOT, NO_KEYRING, PRESERVE],
        run: create::create,
        sealed: true,
        prefix: "runc create failed: ",
    },
    Command {
        name: "run",
        about: "create and run a container",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[
            BUNDLE,
            CONSOLE,
            switch(&["detach", "d"], "detach from the container's process"),
            switch(&["keep"], "do not delete the container after it exits"),
            PID_FILE,
            switch(&["no-subreaper"], "accepted for compatibility"),
            NO_PIVOT,
            NO_KEYRING,
            PRESERVE,
        ],
        run: create::run,
        sealed: true,
        prefix: "runc run failed: ",
    },
    Command {
        name: "start",
        about: "execute the program of a created container",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[],
        run: lifecycle::start,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "state",
        about: "output the state of a container",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[],
        run: list::state,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "kill",
        about: "send a signal (default: SIGTERM) to the container's init process",
        usage: "<container-id> [signal]",
        arity: Arity::AtLeast(1),
        flags: &[switch(
            &["all", "a"],
            "send it to all processes of the container",
        )],
        run: lifecycle::kill,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "delete",
        about: "delete what a container holds",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[switch(
            &["force", "f"],
            "kill the container if it still runs",
        )],
        run: lifecycle::delete,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "exec",
        about: "execute another process in a container",
        usage: "<container-id> <command> [command options] || -p process.json <container-id>",
        arity: Arity::AtLeast(1),
        flags: &[
            CONSOLE,
            value(&["cwd"], "working directory in the container"),
            value(&["env", "e"], "set environment variables"),
            switch(&["tty", "t"], "allocate a pseudo-terminal"),
            value(&["user", "u"], "UID (format: <uid>[:<gid>])"),
            value(&["additional-gids", "g"], "additional gids"),
            value(&["process", "p"], "path of a process document"),
            switch(&["detach", "d"], "detach from the process"),
            PID_FILE,
            value(&["process-label"], "SELinux label"),
            value(&["apparmor"], "AppArmor profile"),
            switch(&["no-new-privs"], "set no_new_privs"),
            value(&["cap", "c"], "add a capability"),
            PRESERVE,
            value(
                &["cgroup"],
                "run in an existing cgroup below the container's: [<controller>:]<cgroup>",
            ),
            switch(&["ignore-paused"], "allow exec in a paused container"),
        ],
        run: exec::exec,
        sealed: true,
        prefix: "exec failed: ",
    },
    Command {
        name: "pause",
        about: "suspend all processes of a container",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[],
        run: lifecycle::pause,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "resume",
        about: "resume all processes of a paused container",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[],
        run: lifecycle::resume,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "ps",
        about: "display the processes of a container",
        usage: "<container-id> [ps options]",
        arity: Arity::AtLeast(1),
        flags: &[value(
            &["format", "f"],
            "table or json (default: \"table\")",
        )],
        run: list::ps,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "list",
        about: "list containers started with the given root",
        usage: "",
        arity: Arity::Exactly(0),
        flags: &[
            value(&["format", "f"], "table or json (default: \"table\")"),
            switch(&["quiet", "q"], "display only container ids"),
        ],
        run: list::list,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "update",
        about: "update a container's limits",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &update::FLAGS,
        run: update::update,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "features",
        about: "show the supported features",
        usage: "",
        arity: Arity::Exactly(0),
        flags: &[],
        run: documents::features,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "spec",
        about: "create a new specification file",
        usage: "",
        arity: Arity::Exactly(0),
        flags: &[
            value(&["bundle", "b"], "path of the bundle"),
            switch(
                &["rootless"],
                "generate a configuration for a rootless container",
            ),
        ],
        run: documents::spec,
        sealed: false,
        prefix: "",
    },
    Command {
        name: "events",
        about: "display a container's statistics and out-of-memory events",
        usage: "<container-id>",
        arity: Arity::Exactly(1),
        flags: &[
            value(&["interval"], "time between statistics (default: 5s)"),
            switch(&["stats"], "display the statistics once and exit"),
        ],
        run: events::events,
        sealed: false,
        prefix: "",
    },
];

/// Runs one command line, without the program's name; gives the exit status.
pub(crate) fn main(arguments: &[OsString]) -> i32 {
    // A reader that goes away ends the command, as it ends any other.
    gantry_sys::supervise::default_signals(&[libc::SIGPIPE]);
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let globals = match flags::parse(&GLOBAL_FLAGS, &arguments) {
        Ok(globals) => globals,
        Err(error) => return refuse(&error.message),
    };
    let log = Log {
        file: globals
            .value("log")
            .filter(|path| !path.is_empty() && *path != "/dev/stderr")
            .map(str::to_owned),
        json: globals.value("log-format") == Some("json"),
    };
    if globals.has("version") {
        println!(
            "gantry-shim version {}\nspec: {}",
            env!("CARGO_PKG_VERSION"),
            gantry_oci::runtime::OCI_VERSION
        );
        return 0;
    }
    let Some(name) = globals.arguments.first().filter(|_| !globals.has("help")) else {
        print!("{}", help());
        return 0;
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return unknown(&log, name, globals.arguments.get(1).map(String::as_str));
    };
    if globals.has("systemd-cgroup") {
        log.error("systemd cgroup flag passed, but the systemd cgroup driver is not supported by gantry-shim");
        return 1;
    }
    let context = Context {
        store: Store {
            root: PathBuf::from(globals.value("root").unwrap_or(DEFAULT_ROOT)),
        },
        log,
    };
    run(command, &context, &globals.arguments[1..])
}

fn run(command: &Command, context: &Context, arguments: &[String]) -> i32 {
    if arguments
        .first()
        .is_some_and(|argument| matches!(argument.as_str(), "-h" | "--help" | "-help"))
    {
        print!("{}", command_help(command));
        return 0;
    }
    let matches = match flags::parse(command.flags, arguments) {
        Ok(matches) => matches,
        Err(error) => {
            println!("Incorrect Usage: {error}\n\n{}", command_help(command));
            context.log.error(&error.message);
            return 1;
        }
    };
    if let Some(complaint) = complaint(command, matches.arguments.len()) {
        println!("Incorrect Usage.\n\n{}", command_help(command));
        context.log.error(&complaint);
        return 1;
    }
    if command.sealed
        && let Err(error) = seal()
    {
        context
            .log
            .error(&format!("cannot run from sealed memory: {error}"));
        return 1;
    }
    match (command.run)(context, &matches) {
        Ok(code) => code,
        Err(error) => {
            context.log.error(&format!("{}{error}", command.prefix));
            if command.name == "exec" { 255 } else { 1 }
        }
    }
}

fn complaint(command: &Command, count: usize) -> Option<String> {
    let name = command.name;
    match command.arity {
        Arity::Exactly(expected) if count != expected => Some(format!(
            "gantry-shim: \"{name}\" requires exactly {expected} argument(s)"
        )),
        Arity::AtLeast(least) if count < least => Some(format!(
            "gantry-shim: \"{name}\" requires a minimum of {least} argument(s)"
        )),
        Arity::Exactly(_) | Arity::AtLeast(_) => None,
    }
}

/// Goes on as a sealed copy in memory, unless this is one: a process in a container can reach what `/proc/PID/exe` of a
/// process that enters it refers to, and nobody must be able to write the program of the next one.
fn seal() -> Result<()> {
    let own = std::fs::File::open("/proc/self/exe")?;
    if memfd::is_sealed(&own) {
        return Ok(());
    }
    let copy = memfd::sealed_executable("gantry-shim", &own)?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "gantry-shim".into());
    Err(Process::new(memfd::path(&copy))
        .arg0(name)
        .args(arguments)
        .exec()
        .into())
}

fn unknown(log: &Log, name: &str, topic: Option<&str>) -> i32 {
    match name {
        "help" | "h" => {
            let command =
                topic.and_then(|topic| COMMANDS.iter().find(|command| command.name == topic));
            print!("{}", command.map_or_else(help, command_help));
            0
        }
        "checkpoint" | "restore" => {
            log.error(&format!("{name} is not supported"));
            1
        }
        _ => {
            log.error(&format!("No help topic for '{name}'"));
            3
        }
    }
}

fn refuse(message: &str) -> i32 {
    println!("Incorrect Usage. {message}\n\n{}", help());
    eprintln!("{message}");
    1
}

fn help() -> String {
    let mut text = String::from(
        "NAME:\n   gantry-shim - Open Container Initiative runtime\n\nUSAGE:\n   gantry-shim [global options] command [command options] [arguments...]\n\nCOMMANDS:\n",
    );
    for command in &COMMANDS {
        let _ = writeln!(text, "   {:10}  {}", command.name, command.about);
    }
    let _ = write!(
        text,
        "\nGLOBAL OPTIONS:\n{}",
        flags::describe(&GLOBAL_FLAGS)
    );
    text
}

fn command_help(command: &Command) -> String {
    let options = if command.flags.is_empty() {
        ""
    } else {
        " [command options]"
    };
    let mut text = format!(
        "NAME:\n   gantry-shim {name} - {}\n\nUSAGE:\n   gantry-shim {name}{options} {}\n",
        command.about,
        command.usage,
        name = command.name
    );
    if !command.flags.is_empty() {
        let _ = write!(text, "\nOPTIONS:\n{}", flags::describe(command.flags));
    }
    text
}

/// Adds runc's words to what went wrong once the container's process existed.
fn in_container_process(error: Error) -> Error {
    error.prefixed("unable to start container process")
}
