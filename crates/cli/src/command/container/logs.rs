//! `docker logs`

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output::{self, Stream};
use crate::session::Session;
use crate::stream::Demultiplexer;
use crate::template::Value;
use crate::timestamp;
use gantry_api::client::{Client, Request, path};
use gantry_api::frame::{MULTIPLEXED_STREAM, RAW_STREAM};

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["logs"],
    top_level: Some("logs"),
    arguments: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean(
            "details",
            "Show attributes that the logging driver was given",
        ),
        Flag::boolean("follow", "Follow the output").short('f'),
        Flag::text(
            "since",
            r#"Show lines since a time (e.g. "2013-01-02T13:23:37Z") or for a while (e.g. "42m")"#,
        ),
        Flag::text("tail", "Number of lines from the end")
            .short('n')
            .default("all"),
        Flag::boolean("timestamps", "Show timestamps").short('t'),
        Flag::text(
            "until",
            r#"Show lines before a time (e.g. "2013-01-02T13:23:37Z") or before a while (e.g. "42m")"#,
        ),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let name = &given.arguments[0];
    let now = timestamp::now_ns();
    let time = |flag: &str| match given.text(flag) {
        "" => Ok(String::new()),
        text => timestamp::to_query(text, now)
            .map_err(|error| Failure::new(format!("invalid value for {flag:?}: {error}"))),
    };
    let (since, until) = (time("since")?, time("until")?);
    let tail = if given.is_given("tail") {
        given.text("tail")
    } else {
        "all"
    };
    let request = Request::get(path("containers", name, "logs"))
        .query("stdout", "1")
        .query("stderr", "1")
        .query_if(!since.is_empty(), "since", &since)
        .query_if(!until.is_empty(), "until", &until)
        .query_if(given.bool("timestamps"), "timestamps", "1")
        .query_if(given.bool("details"), "details", "1")
        .query_if(given.bool("follow"), "follow", "1")
        .query("tail", tail);
    session.block_on(async {
        let mut answer = client.send(request).await?;
        let is_framed = match answer.header("content-type") {
            Some(MULTIPLEXED_STREAM) => true,
            // Before version 1.42 this type was sent for both.
            Some(RAW_STREAM) if !gantry_api::client::is_older(&client.version(), "1.42") => false,
            _ => !has_terminal(client, name).await?,
        };
        let mut demultiplexer = Demultiplexer::default();
        while let Some(chunk) = answer.chunk().await? {
            if is_framed {
                demultiplexer.feed(&chunk, output::write_bytes)?;
            } else {
                output::write_bytes(Stream::Stdout, &chunk);
            }
        }
        Ok(())
    })
}

async fn has_terminal(client: &Client, name: &str) -> Outcome<bool> {
    let answer = client
        .send(Request::get(path("containers", name, "json")))
        .await?
        .bytes()
        .await?;
    Ok(Value::from_json(&answer)?.at(&["Config", "Tty"]).bool())
}
