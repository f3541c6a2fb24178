//! What the container runs: command, environment, user, signals, restart policy, log driver, in dockerd's words.

use super::mounts::clean;
use gantry_api::types::{ContainerConfig, HealthConfig, HostConfig, LogConfig as WireLogConfig};
use gantry_base::{Error, Result};
use gantry_engine::container::config::{LogConfig, ProcessConfig, RestartCondition, RestartPolicy};
use gantry_oci::image::Healthcheck;

/// The least time that Docker takes for the times of a health check.
const DURATION_NS_MIN: i64 = 1_000_000;

/// The process of a request.
pub(super) fn convert(config: &ContainerConfig, host: &HostConfig) -> Result<ProcessConfig> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    check_stop_signal(&config.stop_signal)?;
    for variable in config.env.iter().flatten() {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(Error::invalid(format!(
                "invalid environment variable: {variable}"
            )));
        }
    }
    let working_dir = match config.working_dir.as_str() {
        "" => String::new(),
        path => clean(path),
    };
    Ok(ProcessConfig {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone().unwrap_or_default(),
        working_dir,
        user: config.user.clone(),
        group_add: host.group_add.clone().unwrap_or_default(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        stop_signal: config.stop_signal.clone(),
        stop_timeout_s: config.stop_timeout,
        shell: config.shell.clone(),
        on_build: config.on_build.clone().flatten(),
        args_escaped: config.args_escaped,
    })
}

/// Signals by number or by name, with or without `SIG`.
pub(in crate::route) fn check_stop_signal(text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let name = text.to_ascii_uppercase();
    let by_name = || signal_is_known(name.strip_prefix("SIG").unwrap_or(&name));
    if text
        .parse::<i64>()
        .map_or_else(|_| by_name(), |number| number != 0)
    {
        Ok(())
    } else {
        Err(Error::invalid(format!("invalid signal: {text}")))
    }
}

fn signal_is_known(name: &str) -> bool {
    const NAMES: [&str; 37] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "RTMIN", "RTMAX", "UNUSED",
    ];
    let offset = |prefix: &str, last: u32| {
        let number = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.parse::<u32>().ok());
        number.is_some_and(|number| (1..=last).contains(&number))
    };
    NAMES.contains(&name) || offset("RTMIN+", 15) || offset("RTMAX-", 14)
}

/// The health check of a request: the words of its errors, and `NONE`.
pub(super) fn healthcheck(given: Option<&HealthConfig>) -> Result<Option<Healthcheck>> {
    let Some(given) = given else { return Ok(None) };
    let times = [
        ("Interval", given.interval),
        ("Timeout", given.timeout),
        ("StartPeriod", given.start_period),
        ("StartInterval", given.start_interval),
    ];
    for (index, (name, time)) in times.into_iter().enumerate() {
        if index == 2 && given.retries < 0 {
            return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
        }
        if time != 0 && time < DURATION_NS_MIN {
            return Err(Error::invalid(format!(
                "{name} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    Ok(Some(Healthcheck {
        test: given.test.clone(),
        interval: given.interval,
        timeout: given.timeout,
        start_period: given.start_period,
        start_interval: given.start_interval,
        retries: given.retries,
    }))
}

/// When the container is started again.
pub(super) fn restart_policy(host: &HostConfig) -> Result<RestartPolicy> {
    let given = &host.restart_policy;
    let count = given.maximum_retry_count;
    let name = match given.name.as_str() {
        "" | "no" => RestartCondition::No,
        "always" => RestartCondition::Always,
        "unless-stopped" => RestartCondition::UnlessStopped,
        "on-failure" => RestartCondition::OnFailure,
        other => {
            return Err(Error::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if name == RestartCondition::OnFailure && count < 0 {
        return Err(Error::invalid(
            "invalid restart policy: maximum retry count cannot be negative",
        ));
    }
    if name != RestartCondition::OnFailure && count != 0 {
        let negative = if count < 0 {
            " and cannot be negative"
        } else {
            ""
        };
        return Err(Error::invalid(format!(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'{negative}"
        )));
    }
    let maximum_retry_count = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(RestartPolicy {
        name,
        maximum_retry_count,
    })
}

/// Log drivers of dockerd that we do not have.
const OTHER_LOG_DRIVERS: [&str; 9] = [
    "awslogs", "fluentd", "gcplogs", "gelf", "journald", "local", "splunk", "syslog", "etwlogs",
];
/// Options that dockerd's json-file driver knows.
const JSON_FILE_OPTIONS: [&str; 10] = [
    "max-file",
    "max-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// Log driver and options.
pub(super) fn log_config(given: &WireLogConfig) -> Result<LogConfig> {
    let driver = given.kind.as_str();
    match driver {
        "" | "json-file" | "none" => {}
        other if OTHER_LOG_DRIVERS.contains(&other) => {
            return Err(Error::not_implemented(format!(
                "log driver {other} is not supported yet"
            )));
        }
        other => {
            return Err(Error::invalid(format!(
                "error looking up logging plugin {other}: plugin {} not found",
                crate::request::quoted(other)
            )));
        }
    }
    let options = given.config.iter().flatten();
    if driver != "none"
        && let Some((name, _)) = options
            .clone()
            .find(|(name, _)| !JSON_FILE_OPTIONS.contains(&name.as_str()))
    {
        return Err(Error::invalid(format!(
            "unknown log opt '{name}' for json-file log driver"
        )));
    }
    let options = options
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(LogConfig {
        driver: driver.to_owned(),
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_refused_in_dockers_words() {
        let text = |config: ContainerConfig| {
            convert(&config, &HostConfig::default())
                .expect_err("is invalid")
                .to_string()
        };
        let base = ContainerConfig::default;
        assert_eq!(
            text(ContainerConfig {
                env: Some(vec!["=x".into()]),
                ..base()
            }),
            "invalid environment variable: =x"
        );
        assert_eq!(
            text(ContainerConfig {
                working_dir: "a".into(),
                ..base()
            }),
            "the working directory 'a' is invalid, it needs to be an absolute path"
        );
        assert_eq!(
            text(ContainerConfig {
                stop_signal: "x".into(),
                ..base()
            }),
            "invalid signal: x"
        );
        for good in ["9", "SIGTERM", "term", "SIGRTMIN+3", "RTMAX-14"] {
            assert!(check_stop_signal(good).is_ok(), "{good}");
        }
        for bad in ["0", "SIG", "RTMIN+16", "RTMIN+", "SIGSIGTERM"] {
            assert!(check_stop_signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn restart_policies_are_refused_in_dockers_words() {
        let text = |name: &str, maximum_retry_count| {
            let restart_policy = gantry_api::types::RestartPolicy {
                name: name.into(),
                maximum_retry_count,
            };
            restart_policy_text(HostConfig {
                restart_policy,
                ..HostConfig::default()
            })
        };
        assert!(
            text("x", 0)
                .contains("unknown policy 'x'; use one of 'no', 'always', 'on-failure', or")
        );
        let only = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
        assert_eq!(text("always", 1), only);
        assert_eq!(text("no", -1), format!("{only} and cannot be negative"));
        assert_eq!(
            text("on-failure", -1),
            "invalid restart policy: maximum retry count cannot be negative"
        );
        assert_eq!(text("on-failure", 3), "");
    }

    fn restart_policy_text(host: HostConfig) -> String {
        restart_policy(&host)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn log_drivers_are_refused_in_dockers_words() {
        let text = |kind: &str, option: &str| {
            let config = Some([(option.to_owned(), "y".to_owned())].into());
            log_config(&WireLogConfig {
                kind: kind.into(),
                config,
            })
            .expect_err("is invalid")
            .to_string()
        };
        assert_eq!(
            text("x", "y"),
            "error looking up logging plugin x: plugin \"x\" not found"
        );
        assert_eq!(
            text("json-file", "x"),
            "unknown log opt 'x' for json-file log driver"
        );
        assert_eq!(
            text("syslog", "tag"),
            "log driver syslog is not supported yet"
        );
    }

    #[test]
    fn health_checks_are_refused_in_dockers_words() {
        let given = HealthConfig {
            interval: 5,
            ..HealthConfig::default()
        };
        let error = healthcheck(Some(&given))
            .expect_err("is too short")
            .to_string();
        assert_eq!(error, "Interval in Healthcheck cannot be less than 1ms");
    }
}
