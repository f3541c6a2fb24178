//! `docker import`

use super::load::open;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::progress::{self, Target};
use crate::session::{self, Session};
use gantry_api::client::{Body, Request};
use gantry_oci::Reference;

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["import"],
    top_level: Some("import"),
    arguments: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a file system image",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::list("change", "Apply a Dockerfile instruction to the image").short('c'),
        Flag::text("message", "Message of the image's history").short('m'),
        Flag::text(
            "platform",
            "Platform of the image, if the server has several",
        ),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let source = given.arguments[0].as_str();
    let name = given.arguments.get(1).map_or("", String::as_str);
    if !name.is_empty() {
        Reference::parse(name).map_err(|error| Failure::new(error.message()))?;
    }
    let client = session.client()?;
    session.block_on(async {
        let is_remote = source.starts_with("http://") || source.starts_with("https://");
        let body = match source {
            _ if is_remote => Body::Empty,
            "-" => open("").await?,
            file => open(file).await?,
        };
        let mut request = Request::post("/images/create")
            .query("fromSrc", if is_remote { source } else { "-" })
            .query_if(!name.is_empty(), "repo", name)
            .query_if(
                !given.text("message").is_empty(),
                "message",
                given.text("message"),
            )
            .query_if(
                !session::platform(given).is_empty(),
                "platform",
                session::platform(given).to_lowercase(),
            );
        for change in given.list("change") {
            request = request.query("changes", change);
        }
        let answer = client.send(request.body("text/plain", body)).await?;
        progress::show(answer, Target::Stdout).await
    })
}
