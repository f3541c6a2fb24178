//! `docker push`

use super::{named, platform_query};
use crate::command::{Arity, Command};
use crate::credentials;
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::output;
use crate::progress::{self, Target};
use crate::session::Session;
use gantry_api::client::{Request, path};

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["push"],
    top_level: Some("push"),
    arguments: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all-tags", "Push all tags of an image to the repository").short('a'),
        Flag::boolean("disable-content-trust", "Skip image signing").default("true"),
        Flag::text(
            "platform",
            r#"Push only this platform of the image: "os[/arch[/variant]]" (e.g., "linux/amd64")"#,
        ),
        Flag::boolean("quiet", "Suppress verbose output").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let platform = match given.text("platform") {
        "" => String::new(),
        text => platform_query(text)?,
    };
    let (reference, quiet) = (named(given)?, given.bool("quiet"));
    let server = credentials::server_of(&reference.domain);
    let credentials = credentials::get(session.config(), server)?;
    let client = session.client()?;
    session.block_on(async {
        let tag = reference.tag.clone().unwrap_or_default();
        let request = Request::post(path("images", &reference.familiar_name(), "push"))
            .query_if(!tag.is_empty(), "tag", &tag)
            .query_if(!platform.is_empty(), "platform", &platform)
            .header("x-registry-auth", credentials.header());
        let answer = client.send(request).await?;
        progress::show(answer, Target::Stdout.unless(quiet)).await?;
        if quiet {
            output::print_line(&reference.to_string());
        }
        Ok(())
    })
}
