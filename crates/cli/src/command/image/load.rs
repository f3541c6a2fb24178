//! `docker load`

use super::platform_query;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output::{self, Stream};
use crate::progress::{self, Target};
use crate::session::Session;
use crate::terminal;
use gantry_api::client::{Body, Request};
use gantry_base::Error;

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["load"],
    top_level: Some("load"),
    arguments: "[OPTIONS]",
    about: "Load an image from a tar archive or STDIN",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text("input", "Read from a tar archive, instead of STDIN").short('i'),
        Flag::text(
            "platform",
            r#"Load only this platform: "os[/arch[/variant]]" (e.g., "linux/amd64")"#,
        ),
        Flag::boolean("quiet", "Suppress the progress").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let quiet = given.bool("quiet") || !terminal::stdout_is_terminal();
    let platform = match given.text("platform") {
        "" => String::new(),
        text => platform_query(text)?,
    };
    let input = given.text("input");
    if input.is_empty() && terminal::stdin_is_terminal() {
        return Err(Failure::new(
            "requested load from stdin, but stdin is empty",
        ));
    }
    let client = session.client()?;
    session.block_on(async {
        let body = open(input).await?;
        let request = Request::post("/images/load")
            .query("quiet", if quiet { "1" } else { "0" })
            .query_if(!platform.is_empty(), "platform", &platform)
            .body("application/x-tar", body);
        let mut answer = client.send(request).await?;
        if answer.header("content-type") == Some("application/json") {
            return progress::show(answer, Target::Stdout).await;
        }
        while let Some(chunk) = answer.chunk().await? {
            output::write_bytes(Stream::Stdout, &chunk);
        }
        Ok(())
    })
}

/// A file, or standard input where there is no name.
pub(super) async fn open(name: &str) -> Outcome<Body> {
    if name.is_empty() {
        return Ok(Body::from_reader(tokio::io::stdin()));
    }
    let file = tokio::fs::File::open(name)
        .await
        .map_err(|error| Failure::new(format!("open {name}: {}", Error::from(error))))?;
    Ok(Body::from_reader(file))
}
