//! `docker logout`

use crate::command::{Arity, Command, no_flags};
use crate::credentials;
use crate::failure::Outcome;
use crate::flag::Given;
use crate::output;
use crate::session::Session;

pub(crate) static COMMAND: Command = Command {
    group: "",
    names: &["logout"],
    top_level: Some("logout"),
    arguments: "[SERVER]",
    about: "Log out from a registry",
    arity: Arity::AtMost(1),
    flags: no_flags,
    is_interspersed: true,
    run,
};

#[expect(clippy::unnecessary_wraps, reason = "all commands have one signature")]
fn run(session: &Session, given: &Given) -> Outcome {
    let server = given.arguments.first().map_or("", String::as_str);
    // Names under which older programs kept the same registry.
    let (shown, names) = if server.is_empty() {
        (
            credentials::HUB.to_owned(),
            vec![credentials::HUB.to_owned()],
        )
    } else {
        let host = credentials::host_of(server).to_owned();
        let names = vec![
            server.to_owned(),
            host.clone(),
            format!("http://{host}"),
            format!("https://{host}"),
        ];
        (host, names)
    };
    output::print_line(&format!("Removing login credentials for {shown}"));
    let (config, directory) = (session.config(), session.config_directory());
    let mut failures = Vec::new();
    for name in &names {
        if let Err(failure) = credentials::erase(config, &directory, name) {
            failures.push(format!("{name}: {}", failure.message));
        }
    }
    if failures.len() == names.len() {
        output::print_error_line("WARNING: could not erase credentials:");
        for failure in &failures {
            output::print_error_line(failure);
        }
    }
    Ok(())
}
