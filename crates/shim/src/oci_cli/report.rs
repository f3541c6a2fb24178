//! Errors and warnings as runc reports them: to stderr in logrus' form, or to a log file that the caller reads.

use crate::log::Timestamp;
use std::fs::OpenOptions;
use std::io::Write;

/// Where and how to report.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// None: stderr.
    pub(super) file: Option<String>,
    /// JSON instead of text.
    pub(super) json: bool,
}

impl Log {
    /// An error that ends the command; on stderr too if there is a log file, for a user who looks.
    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            eprintln!("{message}");
        }
    }

    /// Something that was approximated.
    pub(super) fn warning(&self, message: &str) {
        self.write("warning", message);
    }

    fn write(&self, level: &str, message: &str) {
        let line = self.line(level, message);
        let file = self
            .file
            .as_ref()
            .map(|path| OpenOptions::new().append(true).create(true).open(path));
        match file {
            Some(Ok(mut file)) => {
                let _ = writeln!(file, "{line}");
            }
            _ => eprintln!("{line}"),
        }
    }

    fn line(&self, level: &str, message: &str) -> String {
        let time = now();
        if self.json {
            return serde_json::json!({ "level": level, "msg": message, "time": time }).to_string();
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
        let message = if message.chars().all(is_plain) {
            message.to_owned()
        } else {
            format!("{message:?}")
        };
        format!("time=\"{time}\" level={level} msg={message}")
    }
}

/// The time to the second, as logrus has it.
fn now() -> String {
    let mut text = Vec::new();
    let seconds = Timestamp::now().0.div_euclid(1_000_000_000);
    Timestamp(seconds * 1_000_000_000).write_to(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The time to the nanosecond.
pub(super) fn now_exactly() -> String {
    let mut text = Vec::new();
    Timestamp::now().write_to(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_logrus() {
        let text = Log::default().line("error", "container \"x\" failed");
        assert!(
            text.starts_with("time=\"2")
                && text.ends_with("level=error msg=\"container \\\"x\\\" failed\""),
            "{text}"
        );
        let json = Log {
            json: true,
            file: None,
        }
        .line("error", "a\nb");
        let value: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
        assert_eq!(
            (value["level"].as_str(), value["msg"].as_str()),
            (Some("error"), Some("a\nb"))
        );
    }
}
