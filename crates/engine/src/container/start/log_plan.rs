//! The log driver's options, read into what the shim is told to write. The option names and texts are dockerd's.

use crate::container::config::{Config, LogConfig};
use gantry_base::{Error, Result};
use gantry_shim_protocol::Log;
use regex_lite::Regex;

/// Whose log it is, for the attributes of its lines.
#[derive(Clone, Copy)]
pub(in crate::container) struct LogOwner<'a> {
    pub(in crate::container) id: &'a str,
    pub(in crate::container) name: &'a str,
    /// The image's id, `sha256:` included.
    pub(in crate::container) image: &'a str,
    pub(in crate::container) config: &'a Config,
}

/// Checks the options at create, when the container has no id yet.
pub(in crate::container) fn check_log(config: &Config) -> Result<()> {
    let owner = LogOwner {
        id: "",
        name: "",
        image: "",
        config,
    };
    log_plan(owner).map(drop)
}

/// What the shim is told to do with the output.
pub(in crate::container) fn log_plan(owner: LogOwner<'_>) -> Result<Log> {
    let log = &owner.config.log;
    match log.driver.as_str() {
        "none" => Ok(Log::None),
        "json-file" => json_file(owner, log),
        known @ ("local" | "journald" | "syslog" | "fluentd" | "gelf" | "awslogs" | "gcplogs"
        | "splunk") => Err(Error::not_implemented(format!(
            "log driver {known} is not supported yet"
        ))),
        other => Err(Error::invalid(format!(
            "logger: no log driver named '{other}' is registered"
        ))),
    }
}

fn json_file(owner: LogOwner<'_>, log: &LogConfig) -> Result<Log> {
    let (mut max_size, mut max_files) = (None, 1);
    check_mode(log)?;
    for (key, value) in &log.options {
        match key.as_str() {
            "max-size" => {
                let size = crate::settings::parse_size(value).filter(|&size| size > 0);
                max_size = Some(size.ok_or_else(|| invalid_size(value))?);
            }
            "max-file" => {
                let files = value.parse::<i64>().map_err(|_| {
                    Error::invalid(format!(
                        "failed to create task for container: failed to initialize logging driver: strconv.Atoi: parsing \"{value}\": invalid syntax"
                    ))
                })?;
                max_files = u32::try_from(files)
                    .ok()
                    .filter(|&files| files > 0)
                    .ok_or_else(|| {
                        Error::invalid(
                            "failed to create task for container: failed to initialize logging driver: max-file cannot be less than 1",
                        )
                    })?;
            }
            "compress" if value == "false" => {}
            "compress" => {
                return Err(Error::not_implemented(
                    "log option compress is not supported yet",
                ));
            }
            // See `attributes` and `check_mode`.
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "mode"
            | "max-buffer-size" => {}
            other => {
                return Err(Error::invalid(format!(
                    "unknown log opt '{other}' for json-file log driver"
                )));
            }
        }
    }
    Ok(Log::JsonFile {
        file: format!("{}-json.log", owner.id),
        max_size,
        max_files,
        attributes: attributes(owner, log)?,
    })
}

/// Both modes are the same here: writing a line to the file never makes the container wait, and no line is dropped.
fn check_mode(log: &LogConfig) -> Result<()> {
    let mode = log.options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!(
            "logger: logging mode not supported: {mode}"
        )));
    }
    let Some(size) = log.options.get("max-buffer-size") else {
        return Ok(());
    };
    if mode != "non-blocking" {
        return Err(Error::invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ));
    }
    match crate::settings::parse_size(size) {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!(
            "error parsing option max-buffer-size: invalid size: '{size}'"
        ))),
    }
}

/// What every line says of its container: chosen labels and variables, and the tag.
fn attributes(owner: LogOwner<'_>, log: &LogConfig) -> Result<Vec<(String, String)>> {
    let mut attributes = Vec::new();
    let labels = Choice::parse(log, "labels")?;
    for (name, value) in &owner.config.labels {
        if labels.contains(name) {
            attributes.push((name.clone(), value.clone()));
        }
    }
    let variables = Choice::parse(log, "env")?;
    for variable in &owner.config.process.env {
        if let Some((name, value)) = variable.split_once('=')
            && variables.contains(name)
        {
            attributes.push((name.to_owned(), value.to_owned()));
        }
    }
    if let Some(template) = log.options.get("tag").filter(|tag| !tag.is_empty()) {
        attributes.push(("tag".to_owned(), tag(template, owner)?));
    }
    Ok(attributes)
}

/// Names that an option lists, and names that match its expression.
struct Choice<'a> {
    names: Vec<&'a str>,
    pattern: Option<Regex>,
}

impl<'a> Choice<'a> {
    fn parse(log: &'a LogConfig, option: &str) -> Result<Self> {
        let names = log
            .options
            .get(option)
            .map_or("", String::as_str)
            .split(',')
            .collect();
        let pattern = log.options.get(&format!("{option}-regex"));
        let pattern = pattern
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| {
                Regex::new(pattern).map_err(|error| {
                    Error::invalid(format!(
                        "failed to initialize logging driver: error parsing regexp: {error}"
                    ))
                })
            });
        Ok(Self {
            names,
            pattern: pattern.transpose()?,
        })
    }

    fn contains(&self, name: &str) -> bool {
        self.names.contains(&name)
            || self
                .pattern
                .as_ref()
                .is_some_and(|pattern| pattern.is_match(name))
    }
}

/// Fills in a tag: text with fields such as `{{.Name}}`. Other actions of Go's templates are refused.
fn tag(template: &str, owner: LogOwner<'_>) -> Result<String> {
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let image = owner.image.strip_prefix("sha256:").unwrap_or(owner.image);
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, after)) = after.split_once("}}") else {
            return Err(Error::invalid(format!(
                "failed to initialize logging driver: template: log-tag: unclosed action in {template}"
            )));
        };
        text.push_str(before);
        match action.trim() {
            ".ID" => text.push_str(&short(owner.id)),
            ".FullID" => text.push_str(owner.id),
            ".Name" => text.push_str(owner.name),
            ".ImageID" => text.push_str(&short(image)),
            ".ImageFullID" => text.push_str(owner.image),
            ".ImageName" => text.push_str(&owner.config.image_reference),
            ".DaemonName" => text.push_str("docker"),
            other => {
                return Err(Error::not_implemented(format!(
                    "{{{{{other}}}}} in the log option tag is not supported yet"
                )));
            }
        }
        rest = after;
    }
    Ok(text + rest)
}

fn invalid_size(value: &str) -> Error {
    Error::invalid(format!(
        "failed to create task for container: failed to initialize logging driver: invalid size: '{value}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(driver: &str, options: &[(&str, &str)]) -> Config {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut config = Config {
            image_reference: "busybox:1".into(),
            labels: [("a", "1"), ("b", "2"), ("zone", "3")]
                .iter()
                .map(text)
                .collect(),
            log: LogConfig {
                driver: driver.into(),
                options: options.iter().map(text).collect(),
            },
            ..Config::default()
        };
        config.process.env = vec!["E=x".into(), "F=y=z".into(), "G".into()];
        config
    }

    fn plan(config: &Config) -> Result<Log> {
        log_plan(LogOwner {
            id: "0123456789abcdef",
            name: "web",
            image: "sha256:fedcba9876543210",
            config,
        })
    }

    #[test]
    fn log_options_are_checked_by_name() {
        let valid = config("json-file", &[("max-size", "10m"), ("max-file", "3")]);
        let expected = Log::JsonFile {
            file: "0123456789abcdef-json.log".into(),
            max_size: Some(10 << 20),
            max_files: 3,
            attributes: vec![],
        };
        assert_eq!(plan(&valid).expect("is valid"), expected);
        for (driver, options) in [
            ("json-file", &[("max-size", "x")][..]),
            ("json-file", &[("nope", "1")]),
            ("json-file", &[("max-file", "0")]),
            ("json-file", &[("max-file", "x")]),
            ("json-file", &[("mode", "x")]),
            ("json-file", &[("max-buffer-size", "1m")]),
            (
                "json-file",
                &[("mode", "non-blocking"), ("max-buffer-size", "x")],
            ),
            ("json-file", &[("labels-regex", "[")]),
            ("json-file", &[("tag", "{{.Name")]),
            ("json-file", &[("tag", "{{json .}}")]),
            ("json-file", &[("compress", "true")]),
            ("journald", &[]),
            ("whatever", &[]),
        ] {
            assert!(
                plan(&config(driver, options)).is_err(),
                "{driver} {options:?}"
            );
        }
    }

    #[test]
    fn lines_are_given_the_chosen_labels_variables_and_the_tag() {
        let options = [
            ("labels", "b,nope"),
            ("labels-regex", "^z"),
            ("env", "F,G"),
            ("tag", "{{.Name}}/{{ .ID }}/{{.ImageID}} {{.ImageName}}"),
            ("mode", "non-blocking"),
            ("max-buffer-size", "4m"),
        ];
        let Ok(Log::JsonFile { attributes, .. }) = plan(&config("json-file", &options)) else {
            panic!("is valid");
        };
        let attributes: Vec<(&str, &str)> = attributes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("b", "2"),
            ("zone", "3"),
            ("F", "y=z"),
            ("tag", "web/0123456789ab/fedcba987654 busybox:1"),
        ];
        assert_eq!(attributes, expected);
    }
}
