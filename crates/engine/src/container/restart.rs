//! Restart policy: pure. Whether a container that ended is started again, and after how long.
//!
//! Docker's rules: 100 ms doubled at each quick failure up to a minute, back to 100 ms after a run of ten seconds;
//! never after a stop by hand; `on-failure` counts and looks at the code.

use super::config::{RestartCondition, RestartPolicy};
use std::time::Duration;

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_mins(1);
const RUN_THAT_RESETS: Duration = Duration::from_secs(10);

/// What is known when a container ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) exit_code: i32,
    /// Whether a stop or kill by hand ended it.
    pub(crate) by_hand: bool,
    pub(crate) restarts_so_far: u32,
    pub(crate) ran_for: Duration,
    /// The delay before the run that ended; zero for the first.
    pub(crate) last_delay: Duration,
}

/// The delay until the next start; none: the container stays down.
pub(crate) fn after_exit(policy: &RestartPolicy, ended: Ended) -> Option<Duration> {
    let wanted = match policy.name {
        RestartCondition::No => false,
        RestartCondition::Always | RestartCondition::UnlessStopped => true,
        RestartCondition::OnFailure => {
            let left = policy.maximum_retry_count == 0
                || ended.restarts_so_far < policy.maximum_retry_count;
            ended.exit_code != 0 && left
        }
    };
    if !wanted || ended.by_hand {
        return None;
    }
    if ended.ran_for >= RUN_THAT_RESETS || ended.last_delay.is_zero() {
        return Some(DELAY_MIN);
    }
    Some((ended.last_delay * 2).min(DELAY_MAX))
}

/// Whether a container that was down or whose machine was restarted is started when the daemon boots.
pub(crate) fn at_boot(policy: &RestartPolicy, stopped_by_hand: bool, exit_code: i32) -> bool {
    match policy.name {
        RestartCondition::No => false,
        RestartCondition::Always => true,
        RestartCondition::UnlessStopped => !stopped_by_hand,
        RestartCondition::OnFailure => !stopped_by_hand && exit_code != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: RestartCondition, maximum_retry_count: u32) -> RestartPolicy {
        RestartPolicy {
            name,
            maximum_retry_count,
        }
    }

    fn ended(exit_code: i32, restarts_so_far: u32) -> Ended {
        Ended {
            exit_code,
            by_hand: false,
            restarts_so_far,
            ran_for: Duration::ZERO,
            last_delay: Duration::ZERO,
        }
    }

    #[test]
    fn conditions() {
        let always = policy(RestartCondition::Always, 0);
        let on_failure = policy(RestartCondition::OnFailure, 2);
        assert_eq!(after_exit(&always, ended(0, 9)), Some(DELAY_MIN));
        assert_eq!(
            after_exit(
                &always,
                Ended {
                    by_hand: true,
                    ..ended(0, 0)
                }
            ),
            None
        );
        assert_eq!(after_exit(&on_failure, ended(0, 0)), None);
        assert_eq!(after_exit(&on_failure, ended(1, 1)), Some(DELAY_MIN));
        assert_eq!(after_exit(&on_failure, ended(1, 2)), None);
        assert_eq!(
            after_exit(&policy(RestartCondition::No, 0), ended(1, 0)),
            None
        );
    }

    #[test]
    fn delays_double_to_a_minute_and_a_long_run_resets_them() {
        let always = policy(RestartCondition::Always, 0);
        let mut delay = Duration::ZERO;
        for _ in 0..12 {
            delay = after_exit(
                &always,
                Ended {
                    last_delay: delay,
                    ..ended(1, 0)
                },
            )
            .expect("restarts");
        }
        assert_eq!(delay, DELAY_MAX);
        let long = Ended {
            last_delay: delay,
            ran_for: RUN_THAT_RESETS,
            ..ended(1, 0)
        };
        assert_eq!(after_exit(&always, long), Some(DELAY_MIN));
    }

    #[test]
    fn boot_honours_a_stop_by_hand_only_for_unless_stopped() {
        assert!(at_boot(&policy(RestartCondition::Always, 0), true, 0));
        assert!(!at_boot(
            &policy(RestartCondition::UnlessStopped, 0),
            true,
            0
        ));
        assert!(at_boot(
            &policy(RestartCondition::UnlessStopped, 0),
            false,
            0
        ));
        assert!(!at_boot(&policy(RestartCondition::No, 0), false, 0));
    }
}
