//! `docker volume create`

use crate::command::{Arity, Command};
use crate::failure::Outcome;
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use crate::template::Value;
use gantry_api::client::Request;
use gantry_api::types::VolumeCreateRequest;
use std::collections::BTreeMap;

pub(crate) static COMMAND: Command = Command {
    group: "volume",
    names: &["create"],
    top_level: None,
    arguments: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    arity: Arity::AtMost(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text("driver", "The driver that keeps the volume")
            .short('d')
            .default("local"),
        Flag::list("label", "Set metadata on the volume"),
        Flag::list("opt", "Set an option of the driver")
            .short('o')
            .type_name("map"),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let body = VolumeCreateRequest {
        name: given.arguments.first().cloned().unwrap_or_default(),
        driver: given.text("driver").to_owned(),
        driver_opts: Some(pairs(given.list("opt"))),
        labels: Some(pairs(given.list("label"))),
        cluster_volume_spec: None,
    };
    let client = session.client()?;
    session.block_on(async {
        let request = Request::post("/volumes/create").json(&body)?;
        let volume = Value::from_json(&client.send(request).await?.bytes().await?)?;
        output::print_line(volume.get("Name").str());
        Ok(())
    })
}

/// `key=value` each; a key alone has the empty value.
fn pairs(list: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}
