//! `docker tag`

use crate::command::{Arity, Command, no_flags};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::session::Session;
use gantry_api::client::{Request, path};
use gantry_oci::Reference;

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["tag"],
    top_level: Some("tag"),
    arguments: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    arity: Arity::Exactly(2),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let [source, target] = given.arguments.as_slice() else {
        unreachable!("the arity asks for two arguments")
    };
    let failure = |name: &str, error: gantry_base::Error| {
        Failure::new(format!(
            "Error parsing reference: {name:?} is not a valid repository/tag: {error}"
        ))
    };
    if source.len() != 64 {
        Reference::parse(source).map_err(|error| failure(source, error))?;
    }
    let reference = Reference::parse(target).map_err(|error| failure(target, error))?;
    if reference.digest.is_some() {
        return Err(Failure::new(
            "refusing to create a tag with a digest reference",
        ));
    }
    let reference = reference.with_default_tag();
    let client = session.client()?;
    session.block_on(async {
        let request = Request::post(path("images", source, "tag"))
            .query("repo", reference.full_name())
            .query("tag", reference.tag.as_deref().unwrap_or_default());
        Ok(client.send(request).await?.discard().await?)
    })
}
