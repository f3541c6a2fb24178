//! `container`: a verb a file. What several verbs share is here: the same request for each of several containers.

pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod unpause;
pub(crate) mod update;
pub(crate) mod wait;

pub(super) mod row;

use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::joined::joined;
use crate::output;
use crate::session::Session;
use gantry_api::client::{Client, Request};

/// Sends a request for each container at once, and prints the names of those for which it succeeded.
fn for_each(session: &Session, given: &Given, request: impl Fn(&str) -> Request) -> Outcome {
    let client = session.client()?;
    session.block_on(async {
        let names = &given.arguments;
        let answers = joined(names.iter().map(|name| send(client, request(name)))).await;
        let mut failures = Vec::new();
        for (name, answer) in names.iter().zip(answers) {
            match answer {
                Ok(()) => output::print_line(name),
                Err(error) => failures.push(error.message().to_owned()),
            }
        }
        Failure::joined(failures)
    })
}

/// Sends a request whose answer has no content.
async fn send(client: &Client, request: Request) -> gantry_base::Result<()> {
    client.send(request).await?.discard().await
}

/// Asks before something is removed for good. True for a yes.
pub(crate) fn confirm(question: &str) -> bool {
    use std::io::BufRead;
    output::print(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim().eq_ignore_ascii_case("y")
}
