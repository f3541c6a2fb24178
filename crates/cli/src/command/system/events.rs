//! `docker events`

use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::filter;
use crate::flag::{Flag, Given};
use crate::listing::{Fields, record};
use crate::output;
use crate::session::Session;
use crate::template::{Rules, Template, Value};
use crate::timestamp;
use gantry_api::client::Request;
use std::fmt::Write as _;

const WRONG_TEMPLATE_STATUS: i32 = 64;

pub(crate) static COMMAND: Command = Command {
    group: "system",
    names: &["events"],
    top_level: Some("events"),
    arguments: "[OPTIONS]",
    about: "Get real time events from the server",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::filter("Show only events that meet these conditions").short('f'),
        Flag::format_without_table(),
        Flag::text("since", "Show all events since this time"),
        Flag::text("until", "Show events until this time"),
    ]
}

/// How an event is shown.
enum Form {
    Line,
    Json,
    Template(Template),
}

fn run(session: &Session, given: &Given) -> Outcome {
    let form = form(given.text("format"))?;
    let now = timestamp::now_ns();
    let time = |flag: &str| match given.text(flag) {
        "" => Ok(String::new()),
        text => timestamp::to_query(text, now).map_err(Failure::new),
    };
    let (since, until) = (time("since")?, time("until")?);
    let filters = filter::to_query(given.list("filter"));
    let request = Request::get("/events")
        .query_if(!since.is_empty(), "since", &since)
        .query_if(!until.is_empty(), "until", &until)
        .query_if(!filters.is_empty(), "filters", &filters);
    let client = session.client()?;
    session.block_on(async {
        let mut answer = client.send(request).await?;
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            buffer.extend_from_slice(&chunk);
            let mut events = serde_json::Deserializer::from_slice(&buffer).into_iter::<Value>();
            let mut text = String::new();
            while let Some(Ok(event)) = events.next() {
                show(&form, &event, &mut text)?;
            }
            let used = events.byte_offset();
            buffer.drain(..used);
            output::print(&text);
        }
        Ok(())
    })
}

fn form(format: &str) -> Outcome<Form> {
    let wrong = |error: String| Failure {
        status: WRONG_TEMPLATE_STATUS,
        message: format!("Error parsing format: {error}"),
    };
    match format {
        "" => Ok(Form::Line),
        "json" | "{{json .}}" => Ok(Form::Json),
        source => {
            let template = Template::parse(source).map_err(wrong)?;
            template
                .execute(&message(&Value::Nil), Rules::default())
                .map_err(wrong)?;
            Ok(Form::Template(template))
        }
    }
}

fn show(form: &Form, event: &Value, text: &mut String) -> Outcome {
    match form {
        Form::Line => line(event, text),
        Form::Json => text.push_str(&event.to_json()),
        Form::Template(template) => {
            text.push_str(
                &template
                    .execute(&message(event), Rules::default())
                    .map_err(Failure::new)?,
            );
        }
    }
    text.push('\n');
    Ok(())
}

/// An event with every field that templates may name.
fn message(event: &Value) -> Value {
    let actor = event.get("Actor");
    let attributes = match actor.get("Attributes") {
        Value::Nil => Value::Map(std::rc::Rc::default()),
        attributes => attributes.clone(),
    };
    let actor: Fields = vec![("ID", actor.get("ID").clone()), ("Attributes", attributes)];
    let text = |key: &str| Value::text(event.get(key).str());
    let fields: Fields = vec![
        ("Status", text("status")),
        ("ID", text("id")),
        ("From", text("from")),
        ("Type", text("Type")),
        ("Action", text("Action")),
        ("Actor", record("events.Actor", actor)),
        ("Scope", text("scope")),
        ("Time", Value::Integer(event.get("time").integer())),
        ("TimeNano", Value::Integer(event.get("timeNano").integer())),
    ];
    record("*events.Message", fields)
}

fn line(event: &Value, text: &mut String) {
    let nanoseconds = match event.get("timeNano").integer() {
        0 => i128::from(event.get("time").integer()) * 1_000_000_000,
        nanoseconds => i128::from(nanoseconds),
    };
    if nanoseconds != 0 {
        let _ = write!(text, "{} ", timestamp::rfc3339_nano_local(nanoseconds));
    }
    let actor = event.get("Actor");
    let (kind, action) = (event.get("Type").str(), event.get("Action").str());
    let _ = write!(text, "{kind} {action} {}", actor.get("ID").str());
    let mut attributes: Vec<String> = actor
        .get("Attributes")
        .entries()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !attributes.is_empty() {
        attributes.sort_unstable();
        let _ = write!(text, " ({})", attributes.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = br#"{"status":"start","id":"abc","from":"x","Type":"container","Action":"start",
        "Actor":{"ID":"abc","Attributes":{"name":"n","image":"x"}},"scope":"local","time":1700000000,"timeNano":1700000000123456789}"#;

    #[test]
    fn events_are_lines_or_templates() {
        let event = Value::from_json(EVENT).expect("is JSON");
        let mut text = String::new();
        line(&event, &mut text);
        assert!(
            text.ends_with("container start abc (image=x, name=n)"),
            "{text}"
        );
        assert!(text.contains(".123456789"));
        let form = form("{{.Action}} {{.Actor.Attributes.name}} {{.ID}}").expect("is valid");
        let mut text = String::new();
        show(&form, &event, &mut text).expect("is valid");
        assert_eq!(text, "start n abc\n");
    }

    #[test]
    fn wrong_fields_are_found_before_the_first_event() {
        let failure = form("{{.Nope}}").err().expect("is wrong");
        assert_eq!(failure.status, 64);
        assert!(
            failure
                .message
                .contains("can't evaluate field Nope in type *events.Message"),
            "{}",
            failure.message
        );
    }
}
