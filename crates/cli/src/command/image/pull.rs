//! `docker pull`, and the pull of an image that a new container needs.

use super::named;
use crate::command::{Arity, Command};
use crate::credentials;
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::output;
use crate::progress::{self, Target};
use crate::session::{self, Session};
use gantry_api::client::{Request, Response};
use gantry_oci::Reference;

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["pull"],
    top_level: Some("pull"),
    arguments: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all-tags", "Download all tagged images in the repository").short('a'),
        Flag::boolean("disable-content-trust", "Skip the image's verification").default("true"),
        Flag::text(
            "platform",
            "Platform of the image, if the server has several",
        ),
        Flag::boolean("quiet", "Suppress the progress").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let (reference, quiet) = (named(given)?, given.bool("quiet"));
    session.block_on(async {
        let answer = begin(session, &reference, &session::platform(given)).await?;
        progress::show(answer, Target::Stdout.unless(quiet)).await?;
        output::print_line(&reference.to_string());
        Ok(())
    })
}

/// Pulls an image before a container is made of it; what is shown goes to standard error.
pub(crate) async fn pull_for_container(
    session: &Session,
    image: &str,
    platform: &str,
    quiet: bool,
) -> Outcome {
    let reference = Reference::parse(image)?.with_default_tag();
    let answer = begin(session, &reference, platform).await?;
    progress::show(answer, Target::Stderr.unless(quiet)).await
}

async fn begin<'a>(
    session: &'a Session,
    reference: &Reference,
    platform: &str,
) -> Outcome<Response<'a>> {
    let tag = reference
        .digest
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| reference.tag.clone())
        .unwrap_or_default();
    let request = Request::post("/images/create")
        .query("fromImage", reference.full_name())
        .query_if(!tag.is_empty(), "tag", &tag)
        .query_if(!platform.is_empty(), "platform", platform.to_lowercase());
    let server = credentials::server_of(&reference.domain);
    let credentials = credentials::get(session.config(), server)?;
    let request = if credentials.is_empty() {
        request
    } else {
        request.header("x-registry-auth", credentials.header())
    };
    Ok(session.client()?.send(request).await?)
}
