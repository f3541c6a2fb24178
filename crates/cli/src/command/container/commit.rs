//! `docker commit`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use gantry_api::client::Request;
use gantry_api::types::IdResponse;
use gantry_oci::Reference;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["commit"],
    top_level: Some("commit"),
    arguments: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    arity: Arity::Between(1, 2),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text(
            "author",
            r#"Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")"#,
        )
        .short('a'),
        Flag::list("change", "Apply a Dockerfile instruction to the image").short('c'),
        Flag::text("message", "Commit message").short('m'),
        Flag::boolean("pause", "Pause the container during commit")
            .short('p')
            .default("true"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let name = given.arguments.get(1).map_or("", String::as_str);
    let (mut repository, mut tag) = (String::new(), String::new());
    if !name.is_empty() {
        let reference = Reference::parse(name)?;
        repository = reference.familiar_name();
        tag = reference.tag.unwrap_or_default();
    }
    let mut request = Request::post("/commit")
        .query("container", &given.arguments[0])
        .query_if(!repository.is_empty(), "repo", &repository)
        .query_if(!tag.is_empty(), "tag", &tag)
        .query_if(
            !given.text("author").is_empty(),
            "author",
            given.text("author"),
        )
        .query_if(
            !given.text("message").is_empty(),
            "comment",
            given.text("message"),
        )
        .query_if(!given.bool("pause"), "pause", "0");
    for change in given.list("change") {
        request = request.query("changes", change);
    }
    let client = session.client()?;
    session.block_on(async {
        let made: IdResponse = client.send(request).await?.json().await?;
        output::print_line(&made.id);
        Ok(())
    })
}
