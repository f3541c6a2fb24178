//! `docker rmi`

use super::platform_query;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::{Client, Request, path};
use gantry_base::ErrorKind;

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["rm", "remove"],
    top_level: Some("rmi"),
    arguments: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("force", "Remove images that are in use").short('f'),
        Flag::boolean("no-prune", "Keep parents that have no name"),
        Flag::list(
            "platform",
            r#"Remove only this platform: "os[/arch[/variant]]" (e.g., "linux/amd64")"#,
        )
        .type_name("strings"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let platforms = given
        .list("platform")
        .iter()
        .flat_map(|text| text.split(','))
        .map(platform_query);
    let platforms = platforms.collect::<Outcome<Vec<_>>>()?;
    let client = session.client()?;
    session.block_on(async {
        let mut errors = Vec::new();
        let mut is_fatal = false;
        for name in &given.arguments {
            match remove(client, given, name, &platforms).await {
                Ok(report) => print_report(&report),
                Err(error) => {
                    is_fatal |= error.kind() != ErrorKind::NotFound;
                    errors.push(error.message().to_owned());
                }
            }
        }
        if given.bool("force") && !is_fatal && !errors.is_empty() {
            output::print_error_line(&errors.join("\n"));
            return Ok(());
        }
        Failure::joined(errors)
    })
}

async fn remove(
    client: &Client,
    given: &Given,
    name: &str,
    platforms: &[String],
) -> gantry_base::Result<Value> {
    let mut request = Request::delete(path("images", name, ""))
        .query_if(given.bool("force"), "force", "1")
        .query_if(given.bool("no-prune"), "noprune", "1");
    for platform in platforms {
        request = request.query("platforms", platform);
    }
    Value::from_json(&client.send(request).await?.bytes().await?)
}

fn print_report(report: &Value) {
    let lines = report
        .list()
        .iter()
        .map(|one| match one.get("Deleted").str() {
            "" => format!("Untagged: {}\n", one.get("Untagged").str()),
            id => format!("Deleted: {id}\n"),
        });
    output::print(&lines.collect::<String>());
}
