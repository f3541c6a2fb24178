//! Health of a container: what to run, when, and what its results mean. Pure; the actor keeps the time, `probe.rs` runs the check.
//!
//! The rules are dockerd's: failures in the start period do not count, `retries` failures in a row make it unhealthy, one success
//! makes it healthy, and a container whose checks have ended (stopped or paused) is unhealthy until the next result.

pub(super) mod probe;

use super::config::Config;
use gantry_oci::image::Healthcheck;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Results that are kept.
const LOG_MAX: usize = 5;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
/// Exit code of a check that could not be run or took too long.
pub(super) const NO_EXIT_CODE: i32 = -1;

/// How a container with a health check is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// What the last results mean.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, oldest first.
    pub log: Vec<HealthResult>,
}

/// Docker's words for health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No result counts yet.
    #[default]
    Starting,
    /// The last check succeeded.
    Healthy,
    /// Too many checks failed, or none is run any more.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One run of the check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthResult {
    /// Nanoseconds since the epoch.
    pub start_ns: i64,
    /// Nanoseconds since the epoch.
    pub end_ns: i64,
    /// 0 is healthy; -1: it could not be run, or took too long.
    pub exit_code: i32,
    /// The beginning of what it printed, or why it could not be run.
    pub output: String,
}

impl Health {
    /// A container with a check was started: results of earlier runs stay in the log only.
    pub(super) fn begin(&mut self) {
        (self.status, self.failing_streak) = (HealthStatus::Starting, 0);
    }

    /// Takes a result in; gives the status if it changed.
    pub(super) fn record(
        &mut self,
        check: &Healthcheck,
        result: HealthResult,
        started_ns: i64,
    ) -> Option<HealthStatus> {
        let before = self.status;
        if result.exit_code == 0 {
            (self.status, self.failing_streak) = (HealthStatus::Healthy, 0);
        } else {
            let run_for_ns = result.start_ns.saturating_sub(started_ns);
            let forgiven =
                self.status == HealthStatus::Starting && run_for_ns < check.start_period.max(0);
            if !forgiven {
                self.failing_streak += 1;
                let retries = Some(check.retries).filter(|&retries| retries > 0);
                if i64::from(self.failing_streak) >= retries.unwrap_or(RETRIES) {
                    self.status = HealthStatus::Unhealthy;
                }
            }
        }
        if self.log.len() >= LOG_MAX {
            self.log.drain(..=self.log.len() - LOG_MAX);
        }
        self.log.push(result);
        (self.status != before).then_some(self.status)
    }
}

/// Program and arguments of the check; none if there is no check to run.
pub(super) fn command(config: &Config) -> Option<Vec<String>> {
    let test = config.healthcheck.as_ref()?.test.as_ref()?;
    let (kind, rest) = test.split_first()?;
    match kind.as_str() {
        "CMD" => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let shell = config
                .process
                .shell
                .clone()
                .filter(|shell| !shell.is_empty());
            let mut line = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
            line.extend(rest.iter().cloned());
            Some(line)
        }
        _ => None,
    }
}

/// How long until the next check.
pub(super) fn interval(check: &Healthcheck, status: HealthStatus, run_for: Duration) -> Duration {
    let in_start_period = run_for < or_default(check.start_period, Duration::ZERO);
    if in_start_period && status == HealthStatus::Starting {
        or_default(check.start_interval, START_INTERVAL)
    } else {
        or_default(check.interval, INTERVAL)
    }
}

/// How long a check may take.
pub(super) fn timeout(check: &Healthcheck) -> Duration {
    or_default(check.timeout, TIMEOUT)
}

fn or_default(time_ns: i64, default: Duration) -> Duration {
    match u64::try_from(time_ns) {
        Ok(0) | Err(_) => default,
        Ok(time_ns) => Duration::from_nanos(time_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(at_s: i64, exit_code: i32) -> HealthResult {
        HealthResult {
            start_ns: at_s * 1_000_000_000,
            exit_code,
            ..HealthResult::default()
        }
    }

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let check = Healthcheck {
            start_period: 10_000_000_000,
            retries: 2,
            ..Healthcheck::default()
        };
        let mut health = Health::default();
        assert_eq!(health.record(&check, result(1, 1), 0), None);
        assert_eq!(health.failing_streak, 0);
        assert_eq!(health.record(&check, result(11, 1), 0), None);
        let unhealthy = health.record(&check, result(12, 1), 0);
        assert_eq!(unhealthy, Some(HealthStatus::Unhealthy));
        let healthy = health.record(&check, result(13, 0), 0);
        assert_eq!(healthy, Some(HealthStatus::Healthy));
        assert_eq!(health.failing_streak, 0);
        // Within the start period, but it had been healthy.
        health.record(&check, result(2, 1), 0);
        assert_eq!(health.failing_streak, 1);
        for at_s in 20..30 {
            health.record(&check, result(at_s, 0), 0);
        }
        let kept: Vec<i64> = health
            .log
            .iter()
            .map(|r| r.start_ns / 1_000_000_000)
            .collect();
        assert_eq!(kept, [25, 26, 27, 28, 29]);
    }

    #[test]
    fn the_check_is_a_command_or_a_line_for_the_shell() {
        let with = |test: &[&str], shell: Option<&[&str]>| {
            let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
            let mut config = Config::default();
            config.process.shell = shell.map(words);
            config.healthcheck = Some(Healthcheck {
                test: Some(words(test)),
                ..Healthcheck::default()
            });
            command(&config).map(|line| line.join(" "))
        };
        assert_eq!(with(&["CMD", "a", "b"], None).as_deref(), Some("a b"));
        let line = with(&["CMD-SHELL", "a b"], None);
        assert_eq!(line.as_deref(), Some("/bin/sh -c a b"));
        let line = with(&["CMD-SHELL", "a"], Some(&["/bin/bash", "-ec"]));
        assert_eq!(line.as_deref(), Some("/bin/bash -ec a"));
        assert_eq!(with(&["NONE"], None), None);
        assert_eq!(with(&[], None), None);
    }

    #[test]
    fn the_start_interval_holds_while_it_starts() {
        let check = Healthcheck {
            start_period: 60_000_000_000,
            start_interval: 1_000_000_000,
            interval: 7_000_000_000,
            ..Healthcheck::default()
        };
        let s = Duration::from_secs;
        assert_eq!(interval(&check, HealthStatus::Starting, s(3)), s(1));
        assert_eq!(interval(&check, HealthStatus::Healthy, s(3)), s(7));
        assert_eq!(interval(&check, HealthStatus::Starting, s(61)), s(7));
        assert_eq!(
            interval(&Healthcheck::default(), HealthStatus::Starting, s(0)),
            s(30)
        );
    }
}
