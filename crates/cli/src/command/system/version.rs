//! `docker version`

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::format::tabulate_with;
use crate::listing::record;
use crate::output;
use crate::session::Session;
use crate::template::{Rules, Template, Value};
use gantry_api::client::{Client, NEWEST_VERSION, Request};
use indexmap::IndexMap;
use std::fmt::Write as _;
use std::rc::Rc;

const WRONG_TEMPLATE_STATUS: i32 = 64;

pub(crate) static COMMAND: Command = Command {
    group: "",
    names: &["version"],
    top_level: Some("version"),
    arguments: "[OPTIONS]",
    about: "Show the version information",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::format_without_table().short('f')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let format = given.text("format");
    let template = match format {
        "" => None,
        "json" => Some("{{json .}}"),
        format => Some(format),
    };
    let wrong = |error: String| Failure {
        status: WRONG_TEMPLATE_STATUS,
        message: format!("template parsing error: {}", name_template(&error)),
    };
    let template = template.map(Template::parse).transpose().map_err(wrong)?;
    let client = session.client()?;
    session.block_on(async {
        let answer = server(client).await;
        let (server, error) = match answer {
            Ok(server) => (server, None),
            Err(error) => (Value::Nil, Some(error)),
        };
        let ours = client_version(client);
        let text = match template {
            Some(template) => {
                let both = vec![("Client", ours), ("Server", server)];
                template
                    .execute(&record("system.versionInfo", both), Rules::default())
                    .map_err(Failure::new)?
                    + "\n"
            }
            None => plain(session, &ours, &server),
        };
        output::print(&text);
        error.map_or(Ok(()), |error| Err(error.into()))
    })
}

/// The template of this command has a name in Docker's errors.
fn name_template(error: &str) -> String {
    error.replacen("template: :", "template: version:", 1)
}

async fn server(client: &Client) -> gantry_base::Result<Value> {
    Value::from_json(&client.send(Request::get("/version")).await?.bytes().await?)
}

/// What this program says of itself; used by `info` too.
pub(super) fn client_version(client: &Client) -> Value {
    let architecture = gantry_oci::Platform::host().architecture;
    let fields = [
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("ApiVersion", client.version()),
        ("DefaultAPIVersion", NEWEST_VERSION.to_owned()),
        ("Os", std::env::consts::OS.to_owned()),
        ("Arch", architecture),
        ("Context", "default".to_owned()),
    ];
    let mut map: IndexMap<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    // Templates know the field by Go's name as well.
    map.insert("APIVersion".to_owned(), Value::from(client.version()));
    Value::Map(Rc::new(map))
}

fn plain(session: &Session, client: &Value, server: &Value) -> String {
    let mut text = String::from(if session.program == "gantry" {
        "Client: Gantry\n"
    } else {
        "Client:\n"
    });
    let api = client.get("ApiVersion").str();
    let newest = client.get("DefaultAPIVersion").str();
    let downgraded = if api == newest {
        String::new()
    } else {
        format!(" (downgraded from {newest})")
    };
    let _ = writeln!(text, " Version:\t{}", client.get("Version"));
    let _ = writeln!(text, " API version:\t{api}{downgraded}");
    let _ = writeln!(
        text,
        " OS/Arch:\t{}/{}",
        client.get("Os"),
        client.get("Arch")
    );
    let _ = writeln!(text, " Context:\t{}", client.get("Context"));
    if !server.is_nil() {
        push_server(&mut text, server);
    }
    tabulate_with(&text, 20, 1)
}

fn push_server(text: &mut String, server: &Value) {
    let platform = server.at(&["Platform", "Name"]).str();
    let space = if platform.is_empty() { "" } else { " " };
    let _ = writeln!(text, "\nServer:{space}{platform}");
    let components = server.get("Components").list();
    if !components
        .iter()
        .any(|component| component.get("Name").str() == "Engine")
    {
        push_engine(text, server.get("Version"), server);
    }
    for component in components {
        let (name, details) = (component.get("Name").str(), component.get("Details"));
        if name == "Engine" {
            push_engine(text, component.get("Version"), details);
            continue;
        }
        let _ = writeln!(text, " {name}:\n  Version:\t{}", component.get("Version"));
        let mut entries: Vec<_> = details.entries().collect();
        entries.sort_by_key(|(key, _)| *key);
        for (key, value) in entries {
            let _ = writeln!(text, "  {key}:\t{value}");
        }
    }
}

fn push_engine(text: &mut String, version: &Value, details: &Value) {
    let built = details.get("BuildTime").str();
    let experimental = match details.get("Experimental") {
        Value::Nil => Value::text("false"),
        other => other.clone(),
    };
    let _ = writeln!(text, " Engine:\n  Version:\t{version}");
    let _ = writeln!(
        text,
        "  API version:\t{} (minimum version {})",
        details.get("ApiVersion"),
        details.get("MinAPIVersion")
    );
    for (label, key) in [("Go version", "GoVersion"), ("Git commit", "GitCommit")] {
        let value = details.get(key);
        if !value.is_nil() {
            let _ = writeln!(text, "  {label}:\t{value}");
        }
    }
    if !built.is_empty() {
        let _ = writeln!(text, "  Built:\t{}", reformat_date(built));
    }
    let _ = writeln!(
        text,
        "  OS/Arch:\t{}/{}",
        details.get("Os"),
        details.get("Arch")
    );
    let _ = writeln!(text, "  Experimental:\t{experimental}");
}

/// RFC 3339 in the form of C's `asctime`; other texts stay.
fn reformat_date(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time
            .to_zoned(jiff::tz::TimeZone::UTC)
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string(),
        Err(_) => text.to_owned(),
    }
}
