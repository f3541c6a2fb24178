//! Progress messages of pulls, loads and imports: bars on a terminal, plain lines elsewhere.

use crate::failure::{Failure, Outcome};
use crate::format::{float, human_size};
use crate::output::{self, Stream};
use crate::terminal;
use gantry_api::client::Response;
use serde::Deserialize;
use std::fmt::Write as _;

const DEFAULT_WIDTH: u16 = 200;
const BAR_WIDTH: usize = 50;

/// One message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    stream: String,
    status: String,
    id: String,
    #[serde(rename = "progressDetail")]
    detail: Option<Detail>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: i64,
    total: i64,
    units: String,
    #[serde(rename = "hidecounts")]
    hides_counts: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    message: String,
    code: i32,
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
    Nowhere,
}

impl Target {
    /// This one, or with `--quiet` none.
    pub(crate) const fn unless(self, quiet: bool) -> Self {
        if quiet { Self::Nowhere } else { self }
    }
}

/// Shows the messages of an answer until its end.
///
/// # Errors
/// An error message among them, or a broken connection.
pub(crate) async fn show(mut answer: Response<'_>, target: Target) -> Outcome {
    let stream = if target == Target::Stderr {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    let mut display = Display::new(stream.is_terminal() && target != Target::Nowhere);
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        buffer.extend_from_slice(&chunk);
        let mut messages = serde_json::Deserializer::from_slice(&buffer).into_iter::<Message>();
        let mut text = String::new();
        let mut failure = None;
        let mut used = 0;
        while let Some(message) = messages.next() {
            match message {
                Ok(message) => {
                    used = messages.byte_offset();
                    failure = display.message(&message, &mut text).err();
                    if failure.is_some() {
                        break;
                    }
                }
                Err(error) if error.is_eof() => break,
                Err(error) => {
                    return Err(Failure::new(format!(
                        "cannot read the daemon's answer: {error}"
                    )));
                }
            }
        }
        if target != Target::Nowhere && !text.is_empty() {
            output::write_bytes(stream, text.as_bytes());
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        buffer.drain(..used);
    }
    Ok(())
}

/// Which lines stand on the terminal.
struct Display {
    is_terminal: bool,
    width: u16,
    lines: Vec<String>,
}

impl Display {
    fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            width: terminal::size().map_or(DEFAULT_WIDTH, |(_, columns)| columns),
            lines: Vec::new(),
        }
    }

    fn message(&mut self, message: &Message, text: &mut String) -> Outcome {
        if let Some(error) = &message.error_detail {
            let said = if error.code == 401 {
                "authentication is required"
            } else {
                &error.message
            };
            return Err(Failure::new(if said.is_empty() {
                message.error.clone()
            } else {
                said.to_owned()
            }));
        }
        if !message.error.is_empty() {
            return Err(Failure::new(&message.error));
        }
        let bar = message.detail.as_ref().map(|detail| self.bar(detail));
        if !self.is_terminal {
            if bar.as_ref().is_none_or(String::is_empty) {
                self.line(message, bar.as_deref(), text);
            }
            return Ok(());
        }
        let mut above = 0;
        if message.id.is_empty() || bar.is_none() {
            self.lines.clear();
        } else {
            let known = self.lines.iter().position(|id| *id == message.id);
            let line = known.unwrap_or_else(|| {
                self.lines.push(message.id.clone());
                text.push('\n');
                self.lines.len() - 1
            });
            above = self.lines.len() - line;
            let _ = write!(text, "\x1b[{above}A");
        }
        self.line(message, bar.as_deref(), text);
        if above > 0 {
            let _ = write!(text, "\x1b[{above}B");
        }
        Ok(())
    }

    fn line(&self, message: &Message, bar: Option<&str>, text: &mut String) {
        let overwrites = self.is_terminal && message.stream.is_empty() && bar.is_some();
        if overwrites {
            text.push_str("\x1b[2K\r");
        }
        if !message.id.is_empty() {
            let _ = write!(text, "{}: ", message.id);
        }
        match bar {
            Some(bar) if self.is_terminal => {
                let _ = write!(text, "{} {bar}", message.status);
                if overwrites {
                    text.push('\r');
                }
            }
            _ if !message.stream.is_empty() => text.push_str(&message.stream),
            _ => {
                text.push_str(&message.status);
                text.push('\n');
            }
        }
    }

    fn bar(&self, detail: &Detail) -> String {
        if detail.current <= 0 && detail.total <= 0 {
            return String::new();
        }
        let (current, total) = (float(detail.current), float(detail.total));
        let has_units = !detail.units.is_empty();
        if detail.total <= 0 {
            return if has_units {
                format!("{} {}", detail.current, detail.units)
            } else {
                format!("{:>8}", human_size(current))
            };
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the bar"
        )]
        let filled = ((current / total * 100.0).clamp(0.0, 100.0) as usize / 2).min(BAR_WIDTH);
        let mut bar = String::new();
        if self.width > 110 {
            let _ = write!(
                bar,
                "[{}>{}] ",
                "=".repeat(filled),
                " ".repeat(BAR_WIDTH - filled)
            );
        }
        let is_over = detail.current > detail.total;
        let numbers = match (has_units, is_over) {
            _ if detail.hides_counts => String::new(),
            (false, false) => format!("{:>8}/{}", human_size(current), human_size(total)),
            (false, true) => format!("{:>8}", human_size(current)),
            (true, false) => format!("{}/{} {}", detail.current, detail.total, detail.units),
            (true, true) => format!("{} {}", detail.current, detail.units),
        };
        bar + &numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(is_terminal: bool, messages: &[&str]) -> (String, Outcome) {
        let mut display = Display {
            is_terminal,
            width: 120,
            lines: Vec::new(),
        };
        let mut text = String::new();
        for message in messages {
            let message: Message = serde_json::from_str(message).expect("is a message");
            if let Err(failure) = display.message(&message, &mut text) {
                return (text, Err(failure));
            }
        }
        (text, Ok(()))
    }

    #[test]
    fn without_a_terminal_only_lines_remain() {
        let (text, end) = display(
            false,
            &[
                r#"{"status":"Pulling from library/x","id":"latest"}"#,
                r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"a"}"#,
                r#"{"status":"Pull complete","progressDetail":{},"id":"a"}"#,
                r#"{"stream":"Loaded image: x\n"}"#,
            ],
        );
        assert_eq!(
            text,
            "latest: Pulling from library/x\na: Pull complete\nLoaded image: x\n"
        );
        assert!(end.is_ok());
    }

    #[test]
    fn on_a_terminal_lines_are_overwritten() {
        let (text, _) = display(
            true,
            &[
                r#"{"status":"Downloading","progressDetail":{"current":1000,"total":2000},"id":"a"}"#,
            ],
        );
        let bar = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            text,
            format!("\n\x1b[1A\x1b[2K\ra: Downloading {bar}      1kB/2kB\r\x1b[1B")
        );
    }

    #[test]
    fn errors_end_the_stream() {
        let (_, end) = display(
            false,
            &[r#"{"errorDetail":{"message":"no such thing"},"error":"no such thing"}"#],
        );
        assert_eq!(end, Err(Failure::new("no such thing")));
    }
}
