//! The log driver's options, read into what the shim is told to write.

use crate::container::config::LogConfig;
use gantry_base::{Error, Result};
use gantry_shim_protocol::Log;

/// The log driver's options, parsed; also the check at create.
pub(in crate::container) fn log_plan(id: &str, log: &LogConfig) -> Result<Log> {
    match log.driver.as_str() {
        "none" => Ok(Log::None),
        "json-file" => {
            let (mut max_size, mut max_files) = (None, 1);
            for (key, value) in &log.options {
                match key.as_str() {
                    "max-size" => {
                        max_size = Some(
                            crate::settings::parse_size(value)
                                .filter(|&size| size > 0)
                                .ok_or_else(|| bad_option(key, value))?,
                        );
                    }
                    "max-file" => {
                        max_files = value
                            .parse()
                            .ok()
                            .filter(|&files| files > 0)
                            .ok_or_else(|| Error::invalid("max-file cannot be less than 1"))?;
                    }
                    "compress" | "labels" | "labels-regex" | "env" | "env-regex" | "tag"
                    | "mode" | "max-buffer-size" => {
                        let harmless = (key == "compress" && value == "false")
                            || (key == "mode" && value == "blocking");
                        if !harmless {
                            return Err(Error::not_implemented(format!(
                                "log option {key} is not supported yet"
                            )));
                        }
                    }
                    other => {
                        return Err(Error::invalid(format!(
                            "unknown log opt '{other}' for json-file log driver"
                        )));
                    }
                }
            }
            if max_files > 1 && max_size.is_none() {
                return Err(Error::invalid("max-file requires max-size to be set"));
            }
            Ok(Log::JsonFile {
                file: format!("{id}-json.log"),
                max_size,
                max_files,
                attributes: Vec::new(),
            })
        }
        known @ ("local" | "journald" | "syslog" | "fluentd" | "gelf" | "awslogs" | "gcplogs"
        | "splunk") => Err(Error::not_implemented(format!(
            "log driver {known} is not supported yet"
        ))),
        other => Err(Error::invalid(format!(
            "logger: no log driver named '{other}' is registered"
        ))),
    }
}

fn bad_option(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for {key}: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_options_are_checked_by_name() {
        let log = |driver: &str, options: &[(&str, &str)]| LogConfig {
            driver: driver.into(),
            options: options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        let plan = log_plan(
            "x",
            &log("json-file", &[("max-size", "10m"), ("max-file", "3")]),
        )
        .expect("is valid");
        let expected = Log::JsonFile {
            file: "x-json.log".into(),
            max_size: Some(10 << 20),
            max_files: 3,
            attributes: vec![],
        };
        assert_eq!(plan, expected);
        for (driver, options) in [
            ("json-file", &[("max-size", "x")][..]),
            ("json-file", &[("nope", "1")]),
            ("json-file", &[("max-file", "2")]),
            ("journald", &[]),
            ("whatever", &[]),
        ] {
            assert!(
                log_plan("x", &log(driver, options)).is_err(),
                "{driver} {options:?}"
            );
        }
    }
}
